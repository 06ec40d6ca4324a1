"""Run folders and the work of `casc-det predict` and `casc-det demo`: annotated pictures, videos, JSON of boxes."""

from dataclasses import dataclass
from pathlib import Path

from casc_det.arguments import check_flags
from casc_det.draw import VideoFile, board, panel, write_picture
from casc_det.files import write_json
from casc_det.model import SpikingYOLO
from casc_det.yolo.sources import Source

EQUAL = 1e-6  # pixels, or score: what float64 may differ by at quiescence


def record(result) -> dict:
    """One result as JSON values; boxes are xyxy pixels of the original picture, `frame` counts from 1 in a video."""
    height, width = result.orig_shape
    boxes = [
        {"name": result.names[int(label)], "class": int(label), "confidence": score, "box": xyxy}
        for xyxy, score, label in zip(
            result.boxes.xyxy.tolist(), result.boxes.conf.tolist(), result.boxes.cls.tolist(), strict=True
        )
    ]
    spiking = None if result.spiking is None else vars(result.spiking)
    size = {"width": width, "height": height}
    summary = result.verbose().strip().rstrip(",") if len(result) else "no boxes"
    return {"path": result.path, "frame": result.frame, **size, "summary": summary, "boxes": boxes, "spiking": spiking}


def predict_to_folder(
    model: SpikingYOLO,
    source,
    folder: Path,
    progress,
    settings: dict,
    save: bool = True,
    save_txt: bool = False,
    save_conf: bool = False,
    save_crop: bool = False,
    **options,
) -> dict:
    """Run `model.predict` over a source and write what it finds.

    Args:
        folder: annotated pictures and videos and `predictions.json` go there; made with the first result.
        progress: called with (result, total number of frames or None) after each frame.
        settings: how the model was made; noted in the JSON.
        save, save_txt, save_conf, save_crop: as in Ultralytics (the JSON is always written).
        options: those of `SpikingYOLO.predict`.

    Returns:
        The content of `predictions.json`: `{"settings", "results", "skipped", "interrupted"}`. After Ctrl-C it holds
        what was done until then.
    """
    check_flags(save=save, save_txt=save_txt, save_conf=save_conf, save_crop=save_crop)
    frames = Source(source, options.pop("vid_stride", 1))
    records, video, taken, interrupted = [], None, set(), False
    try:
        for result in model.predict(frames, stream=True, **options):
            folder.mkdir(parents=True, exist_ok=True)
            records.append(record(result))
            name = _free_name(result.path, ".jpg", taken) if result.frame is None else f"{Path(result.path).stem}.jpg"
            if save_txt:
                label = f"{Path(name).stem}{'' if result.frame is None else f'_{result.frame}'}.txt"
                result.save_txt(folder / "labels" / label, save_conf=save_conf)
            if save_crop:
                result.save_crop(folder / "crops", Path(name))
            if save and result.frame is None:
                write_picture(folder / name, result.plot())
            elif save:
                if video is None or result.frame == 1:
                    if video is not None:
                        video.close()
                    video = VideoFile(folder / _free_name(result.path, ".mp4", taken), result.fps)
                video.write(result.plot())
            progress(result, frames.total)
    except KeyboardInterrupt:
        interrupted = True
        if not records:
            raise
    finally:
        if video is not None:
            video.close()
    skipped = [{"path": path, "reason": reason} for path, reason in frames.skipped]
    content = {"settings": {"source": str(source), **settings, **options}, "results": records, "skipped": skipped}
    content["interrupted"] = interrupted
    write_json(folder / "predictions.json", content)
    return content


def _free_name(path: str, suffix: str, taken: set[str]) -> str:
    """A file name for the annotated copy: the source's stem, numbered where two sources share it."""
    stem = Path(path).stem or "stream"
    name = next(n for i in range(1, 10**6) if (n := f"{stem}{i if i > 1 else ''}{suffix}") not in taken)
    taken.add(name)
    return name


@dataclass(frozen=True)
class DemoReport:
    """steps: one record (see `record`) for each time step. ann: the ANN's. difference: the largest absolute
    difference of box corners (pixels) and scores between the last step and the ANN, None where the boxes are not
    the same objects. picture: the board that was written."""

    steps: list[dict]
    ann: dict
    difference: float | None
    picture: Path


def demo_to_folder(model: SpikingYOLO, source, folder: Path, progress, timesteps="auto", **options) -> DemoReport:
    """The boxes of the ANN and of the spiking network at chosen time steps, side by side in one picture.

    Args:
        progress: called with (result) after each time step.
        options: conf, iou, imgsz.
    """
    levels = model.graph.levels
    shown = {max(levels // 2, 1), levels, levels + max(levels // 4, 1), levels + levels // 2}
    ann = model.ann(source, **options)
    steps, drawn, result = [], [], ann
    for result in model.anytime(source, timesteps, **options):
        steps.append(record(result))
        if result.spiking.timesteps in shown:
            drawn.append(result)
        progress(result)
    if result not in drawn:
        drawn.append(result)
    expected = record(ann)
    difference = box_difference(steps[-1], expected)
    panels = [panel(ann.plot(), "ANN (CQReLU)", count_boxes(len(ann)))]
    for result in drawn:
        info, last = result.spiking, result is drawn[-1]
        phase = "wake" if info.timesteps <= levels else "quiescent" if info.quiescent else "sleep"
        note = f"{count_boxes(len(result))}, {info.spikes / 1e6:.1f} M spikes"
        note += f": {verdict(difference)}" if last else ""
        good = last and difference is not None and difference <= EQUAL
        panels.append(panel(result.plot(), f"SNN  T = {info.timesteps}  ({phase})", note, good))
    picture = write_picture(folder / "demo.png", board(panels))
    content = {"settings": {"source": str(source), "timesteps": timesteps, **options}, "ann": expected, "steps": steps}
    write_json(folder / "demo.json", content)
    return DemoReport(steps, expected, difference, picture)


def count_boxes(number: int) -> str:
    return f"{number} box" if number == 1 else f"{number} boxes"


def verdict(difference: float | None) -> str:
    """How boxes compare with the ANN's, from their `box_difference`."""
    if difference is None:
        return "not the ANN's objects"
    return "equal to the ANN's" if difference <= EQUAL else f"the ANN's objects, off by up to {difference:.2g}"


def box_difference(first: dict, second: dict) -> float | None:
    """The largest absolute difference of corners and scores of two records, None where number or classes differ."""
    pairs = list(zip(first["boxes"], second["boxes"], strict=False))
    if len(first["boxes"]) != len(second["boxes"]) or any(a["class"] != b["class"] for a, b in pairs):
        return None
    values = [
        (x, y)
        for a, b in pairs
        for x, y in zip([*a["box"], a["confidence"]], [*b["box"], b["confidence"]], strict=True)
    ]
    return max((abs(x - y) for x, y in values), default=0.0)
