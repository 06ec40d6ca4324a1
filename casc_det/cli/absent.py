"""Arguments of Ultralytics that its users may type and that are not here, and what to do instead."""

DRAWN = "boxes are drawn with name and score; for others, draw what is in predictions.json"
ABSENT = {
    "model": "give weights=",
    "show": "no window is opened; look at what is written into the run folder",
    "half": "give precision=float32 or float64, the precisions in which the answer is exact",
    "int8": "casc-det convert makes 8-bit graphs, which are found out by themselves",
    "line_width": DRAWN,
    "show_labels": DRAWN,
    "show_conf": DRAWN,
    "show_boxes": DRAWN,
    "save_frames": "videos are written as videos, and the boxes of each frame in predictions.json",
    "save_json": "the boxes are written as JSON in any case",
    "plots": "what there is to draw is drawn in any case",
    "visualize": "see casc-det study for what the layers do over time",
    "augment": "each image is looked at once, as it is",
    "agnostic_nms": "boxes of different classes never replace each other",
    "stream_buffer": "no frame of a stream is left out but those that vid_stride= says",
    "workers": "give threads=",
    "verbose": "redirect the output, or give json=true where the verb has it",
    "task": "every verb detects objects",
    "mode": "the verb says it: casc-det predict, val, train",
}
