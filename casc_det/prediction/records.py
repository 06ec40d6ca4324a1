"""Results as JSON values, and in words."""

from casc_det.yolo.results import SpikingResults


def record(result: SpikingResults) -> dict:
    """One result as JSON values; boxes are xyxy pixels of the original image.

    `frame` counts all frames of a video from 1, `time` is in seconds from its start; both are null for an image.
    `spiking` is what the answer cost in all, without its layers.
    """
    found = result.boxes
    assert found is not None, "a detector's results have boxes"
    columns = zip(found.xyxy.tolist(), found.conf.tolist(), found.cls.tolist(), strict=True)
    boxes = [
        {"name": result.names[int(label)], "class": int(label), "confidence": score, "box": xyxy}
        for xyxy, score, label in columns
    ]
    height, width = result.orig_shape
    info = result.spiking
    spiking = info and {key: value for key, value in vars(info).items() if not isinstance(value, dict)}
    place = {"path": result.path, "frame": result.frame, "time": result.time, "width": width, "height": height}
    summary = result.verbose().strip().rstrip(",") if len(result) else "no boxes"
    return {**place, "summary": summary, "boxes": boxes, "spiking": spiking}


def count_boxes(number: int) -> str:
    """`1 box`, `2 boxes`."""
    return f"{number} box" if number == 1 else f"{number} boxes"
