"""The names in pickles: which classes and functions a `.pt` file asks for, found without running anything of it."""

import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any


def named(file: Path) -> list[str]:
    """The full names of all classes and functions that a `.pt` file names, in the order of the file; runs nothing."""
    names: dict[str, None] = {}
    with open(file, "rb") as stream:
        if zipfile.is_zipfile(stream):
            _collect_zipped(stream, names)
        else:
            stream.seek(0)
            while _collect(stream, names):  # the format before zip files is several pickles after one another
                pass
    return list(names)


def _collect_zipped(stream: IO[bytes], names: dict[str, None]) -> None:
    """Add the names of all pickles in a zip file."""
    with zipfile.ZipFile(stream) as archive:
        for member in archive.namelist():
            if member.endswith(".pkl"):
                with archive.open(member) as part:
                    _collect(part, names)


def _collect(stream: IO[bytes], names: dict[str, None]) -> bool:
    """Add the names of one pickle; False at the end or where there is none."""
    texts: list[str] = []
    memo: dict[Any, str] = {}
    try:
        for op, value, _ in pickletools.genops(stream):
            if op.name in ("GLOBAL", "INST"):
                names[str(value).replace(" ", ".")] = None
            elif op.name == "STACK_GLOBAL":
                names[".".join(texts[-2:])] = None
            elif isinstance(value, str):
                texts.append(value)
            elif op.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif "PUT" in op.name:
                memo[value] = texts[-1] if texts else ""
            elif "GET" in op.name:
                texts.append(memo.get(value, ""))
    except Exception:  # no pickle from here on
        return False
    return True
