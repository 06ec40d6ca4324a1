"""The files of each result of `casc-det predict`: the annotated image or video, labels, and the inside of each box."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from casc_det.base.arguments import check_flags
from casc_det.base.files import safe_name, write_bytes
from casc_det.errors import SourceError
from casc_det.show.images import write_image
from casc_det.show.video import VideoFile
from casc_det.yolo.results import SpikingResults, crops, label_lines

OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)  # after other errors nothing can be written any more
What = TypeVar("What")


@dataclass(frozen=True)
class Saving:
    """What is written for each result beside the JSON, as in Ultralytics.

    Attributes:
        save: annotated images and videos. save_txt: boxes as YOLO label files; save_conf: with their scores.
        save_crop: the inside of each box as an image.

    Raises:
        ArgumentError: a value is not True or False.
    """

    save: bool = True
    save_txt: bool = False
    save_conf: bool = False
    save_crop: bool = False

    def __post_init__(self) -> None:
        check_flags(**vars(self))


@dataclass
class Outputs:
    """Writes what belongs to each result into a run folder, under names that no two inputs share.

    Attributes:
        one_by_one: a video is finished when the next input begins; streams come in turn.
        unwritten: (file, reason) of what could not be written.
        taken: names of files, relative to the folder, that must not be written (again).
    """

    folder: Path
    saving: Saving
    one_by_one: bool
    unwritten: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    stems: dict[int, str] = field(default_factory=dict)
    videos: dict[int, VideoFile | None] = field(default_factory=dict)

    def free(self, stem: str, suffix: str) -> str:
        """A name that was not given before in this run: `stem.suffix`, `stem2.suffix`, ..."""
        names = (f"{stem}{number if number > 1 else ''}{suffix}" for number in count(1))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name

    def write(self, result: SpikingResults) -> dict[str, str | None]:
        """Write the files of one result; {"saved": ..., "labels": ...}, paths in the run folder or None.

        Raises:
            OSError: nothing can be written any more.
        """
        suffix = ".jpg" if result.frame is None else ".mp4"
        stem = self._stem(result, suffix)
        written: dict[str, str | None] = {"saved": None, "labels": None}
        name = stem if result.frame is None else f"{stem}_{result.frame}"
        if self.saving.save:
            written["saved"] = self._try(f"{stem}{suffix}", self._video if result.frame else self._image, result)
        if self.saving.save_txt:
            written["labels"] = self._try(self.free(f"labels/{name}", ".txt"), self._labels, result)
        if self.saving.save_crop:
            for label, crop in crops(result):
                self._try(self.free(f"crops/{safe_name(label)}/{name}", ".jpg"), write_image, crop)
        return written

    def _stem(self, result: SpikingResults, suffix: str) -> str:
        """The name of the files of a result's input; a new input ends the video of the one before."""
        if result.number not in self.stems:
            if self.one_by_one:
                self.close()
            stem = Path(result.path).stem or "stream"
            safe = safe_name(stem)
            self.stems[result.number] = self.free(stem if safe.startswith(stem) else safe, suffix).removesuffix(suffix)
        return self.stems[result.number]

    def _try(self, name: str, write: Callable[[Path, What], object], what: What) -> str | None:
        """The name, where it could be written; a fault of this one file is noted."""
        try:
            return name if write(self.folder / name, what) else None
        except (SourceError, OSError) as error:
            number = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
            if isinstance(error, OSError) and number not in OF_ONE_FILE:
                raise
            self.unwritten.append((name, str(error)))
            return None

    def _image(self, path: Path, result: SpikingResults) -> Path:
        return write_image(path, result.plot())

    def _video(self, path: Path, result: SpikingResults) -> bool:
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

    def _labels(self, path: Path, result: SpikingResults) -> bool:
        lines = label_lines(result, self.saving.save_conf)
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
