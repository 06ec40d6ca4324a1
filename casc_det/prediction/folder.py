"""Run folders and the work of `casc-det predict` and `casc-det demo`: annotated pictures, videos, JSON of boxes."""

import errno
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from casc_det.api import SpikingYOLO
from casc_det.base.arguments import check_flags, shown
from casc_det.base.files import safe_name, write_bytes, write_json
from casc_det.errors import OutputError, SourceError
from casc_det.show.images import board, panel, write_picture
from casc_det.show.video import VideoFile
from casc_det.yolo.results import crops, label_lines
from casc_det.yolo.sources import Source

EQUAL = 1e-6  # pixels, or score: what float64 may differ by at quiescence
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)  # after other errors nothing can be written any more


def record(result) -> dict:
    """One result as JSON values; boxes are xyxy pixels of the original picture.

    `frame` counts all frames of a video from 1, `time` is in seconds from its start; both are null for a picture.
    """
    height, width = result.orig_shape
    boxes = [
        {"name": result.names[int(label)], "class": int(label), "confidence": score, "box": xyxy}
        for xyxy, score, label in zip(
            result.boxes.xyxy.tolist(), result.boxes.conf.tolist(), result.boxes.cls.tolist(), strict=True
        )
    ]
    spiking = None if result.spiking is None else vars(result.spiking)
    place = {"path": result.path, "frame": result.frame, "time": result.time, "width": width, "height": height}
    summary = result.verbose().strip().rstrip(",") if len(result) else "no boxes"
    return {**place, "summary": summary, "boxes": boxes, "spiking": spiking}


@dataclass
class Outputs:
    """Writes what belongs to each result into a run folder, under names that no two inputs share.

    Attributes:
        save, save_txt, save_conf, save_crop: as in Ultralytics.
        one_by_one: a video is finished when the next input begins; streams come in turn.
        unwritten: (file, reason) of what could not be written.
        taken: names of files, relative to the folder, that must not be written (again).
    """

    folder: Path
    save: bool
    save_txt: bool
    save_conf: bool
    save_crop: bool
    one_by_one: bool
    unwritten: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    stems: dict[int, str] = field(default_factory=dict)
    videos: dict[int, VideoFile | None] = field(default_factory=dict)

    def free(self, stem: str, suffix: str) -> str:
        """A name that was not given before in this run: `stem.suffix`, `stem2.suffix`, ..."""
        name = next(n for i in range(1, 10**9) if (n := f"{stem}{i if i > 1 else ''}{suffix}") not in self.taken)
        self.taken.add(name)
        return name

    def write(self, result) -> dict:
        """Write the files of one result; {"saved": ..., "labels": ...}, paths in the run folder or None.

        Raises:
            OSError: nothing can be written any more.
        """
        suffix = ".jpg" if result.frame is None else ".mp4"
        if result.number not in self.stems:
            if self.one_by_one:
                self.close()
            stem = Path(result.path).stem or "stream"
            safe = safe_name(stem)
            self.stems[result.number] = self.free(stem if safe.startswith(stem) else safe, suffix).removesuffix(suffix)
        stem = self.stems[result.number]
        written = {"saved": None, "labels": None}
        name = stem if result.frame is None else f"{stem}_{result.frame}"
        if self.save:
            written["saved"] = self._try(f"{stem}{suffix}", self._video if result.frame else self._picture, result)
        if self.save_txt:
            written["labels"] = self._try(self.free(f"labels/{name}", ".txt"), self._labels, result)
        if self.save_crop:
            for label, crop in crops(result):
                file = self.free(f"crops/{safe_name(label)}/{name}", ".jpg")
                self._try(file, lambda path, image: write_picture(path, image), crop)
        return written

    def _try(self, name: str, write, what) -> str | None:
        """The name, where it could be written; a fault of this one file is noted."""
        try:
            return name if write(self.folder / name, what) else None
        except (SourceError, OSError) as error:
            number = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
            if isinstance(error, OSError) and number not in OF_ONE_FILE:
                raise
            self.unwritten.append((name, str(error)))
            return None

    def _picture(self, path: Path, result) -> bool:
        return bool(write_picture(path, result.plot()))

    def _video(self, path: Path, result) -> bool:
        if result.number not in self.videos:
            self.videos[result.number] = VideoFile(path, result.fps)
        video = self.videos[result.number]
        if video is None:
            return False
        try:
            video.write(result.plot())
        except SourceError:
            self.videos[result.number] = None
            raise
        return True

    def _labels(self, path: Path, result) -> bool:
        lines = label_lines(result, self.save_conf)
        if not lines:
            path.unlink(missing_ok=True)  # of an earlier run
            return False
        return bool(write_bytes(path, "".join(f"{line}\n" for line in lines).encode()))

    def close(self) -> None:
        """Finish all videos."""
        for number, video in self.videos.items():
            if video is not None:
                self._try(video.path.name, lambda path, video: video.close(), video)
                self.videos[number] = None


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
        The content of `predictions.json`: `{"settings", "results", "skipped", "incomplete", "unwritten",
        "interrupted"}`. After Ctrl-C, and after an error that ends the run, which is raised again, it holds what was
        done until then.
    """
    check_flags(save=save, save_txt=save_txt, save_conf=save_conf, save_crop=save_crop)
    vid_stride = options.pop("vid_stride", 1)
    frames = Source(source, vid_stride)
    outputs = Outputs(folder, save, save_txt, save_conf, save_crop, frames.is_path)
    outputs.taken |= inside(folder, frames.files)
    records, ended = [], None
    try:
        for result in model.predict(frames, stream=True, **options):
            records.append({**record(result), "saved": None, "labels": None})
            records[-1] |= outputs.write(result)
            progress(result, frames.total)
        outputs.close()
    except BaseException as error:  # also what ends the process: what was done is written first
        ended = error
        if not records and not isinstance(error, KeyboardInterrupt):
            raise
        try:
            outputs.close()
        except OSError as second:
            outputs.unwritten.append((str(folder), str(second)))
    given = str(source) if isinstance(source, str | Path | int) else shown(source)
    content = {
        "settings": {"source": given, **settings, **options, "vid_stride": vid_stride},
        "results": records,
        "skipped": [{"path": path, "reason": reason} for path, reason in frames.skipped],
        "incomplete": frames.incomplete,
        "unwritten": [{"file": file, "reason": reason} for file, reason in outputs.unwritten],
        "interrupted": ended is not None,
    }
    write_results(folder / "predictions.json", content)
    if ended is not None and not isinstance(ended, KeyboardInterrupt):
        raise ended
    return content


def inside(folder: Path, files: list[str]) -> set[str]:
    """Those of the files that lie in a folder, as paths in it: the inputs of a run are no place for its results."""
    real = os.path.realpath(folder)
    paths = (Path(os.path.realpath(file)) for file in files)
    return {path.relative_to(real).as_posix() for path in paths if path.is_relative_to(real)}


def write_results(path: Path, content: dict) -> None:
    """Write JSON; where the disk is full, into the temporary folder, which the error then names."""
    try:
        write_json(path, content)
    except OSError as error:
        spare = write_json(Path(tempfile.gettempdir()) / f"casc_det-{os.getpid()}-{path.name}", content)
        raise OutputError(f"{error}; the results are in '{spare}'") from error


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
    image = Source(source).single("demo")
    ann = model.ann(image, **options)
    steps, drawn, result = [], [], ann
    for result in model.anytime(image, timesteps, **options):
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
