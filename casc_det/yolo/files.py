"""From a path, folder, glob or list file to the image and video files that it stands for."""

import csv
import glob
import os
from pathlib import Path

from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

from casc_det.base.arguments import shown
from casc_det.errors import SourceError

LISTS = (".txt", ".csv")
WEB, LIVE = ("http://", "https://"), ("rtsp://", "rtmp://", "tcp://", "udp://")


def is_address(text: str) -> bool:
    """Whether a text is a camera's index or a URL."""
    if text.isdecimal():  # a camera, unless a file or folder is called so
        return not os.path.exists(text)
    return text.lower().startswith(WEB + LIVE)


def is_video(file: str) -> bool:
    """Whether a file is a video by its suffix."""
    return Path(file).suffix[1:].lower() in VID_FORMATS


def lines_of(path: Path) -> list[str]:
    """The file names or addresses of a list: one a line, in a .csv one a cell, perhaps below the word source."""
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").replace("\0", "").splitlines()
    if path.suffix.lower() == ".csv":
        rows = list(csv.reader(lines))
        lines = [cell for row in (rows[1:] if rows[:1] == [["source"]] else rows) for cell in row]
    return [line for text in lines if (line := text.strip())]


def expand(source: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The image and video files of a path, folder, glob or list file, and what was left out with reasons.

    Raises:
        SourceError: it does not exist, or it stands for no file at all.
    """
    listed = Path(source).suffix.lower() in LISTS
    files, skipped = [], []
    for file in _found(source, listed):
        if reason := _unusable(file):
            named = f" (named in '{source}')" if listed and not os.path.isfile(file) else ""
            skipped.append((file, reason + named))
        else:
            files.append(file)
    return files, skipped


def _found(source: str, listed: bool) -> list[str]:
    """The names that a source stands for, whether there are such files or not."""
    path = Path(source)
    if "\0" in source:
        raise SourceError(f"source: {shown(source)} does not exist (a name has no zero byte)")
    if os.path.isdir(source):
        found = sorted(str(f) for f in path.iterdir() if not f.is_dir() and not f.name.startswith("."))
        if not found:
            raise SourceError(f"source: the folder '{source}' holds no files")
    elif listed and os.path.isfile(source):
        found = [line if os.path.exists(line) else str(path.parent / line) for line in lines_of(path)]
        if not found:
            raise SourceError(f"source: the list '{source}' is empty; write one file name a line")
    elif os.path.exists(source):
        found = [source]
    else:
        found = sorted(glob.glob(source, recursive=True))
        if not found:
            hint = "the pattern matches no file" if any(c in source for c in "*?[") else "no such file or folder"
            raise SourceError(f"source: {shown(source)} does not exist ({hint})")
    return found


def _unusable(file: str) -> str | None:
    """Why a file is left out; None: it is an image or video as far as its name and size tell."""
    if not os.path.isfile(file):
        return "is no file" if os.path.exists(file) else "does not exist"
    if Path(file).suffix[1:].lower() not in IMG_FORMATS | VID_FORMATS:
        return f"is no picture or video (suffix '{Path(file).suffix}')"
    if os.path.getsize(file) == 0:
        return "is empty (zero bytes)"
    return None
