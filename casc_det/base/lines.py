"""Records as lines of JSON, each with a checksum: what was written before a kill or a full disk can be trusted."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from casc_det.base.files import hash_of
from casc_det.errors import OutputError

CHECK = "sha256"  # the last key of each line of `append_lines`


def _digest(record: dict) -> str:
    return hash_of([json.dumps(record)])


def append_lines(file: Path, records: list[dict]) -> None:
    """Append records as lines of JSON, each with a checksum as its last key, and force them to the disk.

    Raises:
        OutputError: they cannot be written.
    """
    try:
        with file.open("a") as stream:
            stream.write("".join(json.dumps({**record, CHECK: _digest(record)}) + "\n" for record in records))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError.of(file, error) from error


def read_lines(file: Path, damaged: Callable[[str], None] = lambda message: None) -> list[dict]:
    """The records of a file of `append_lines` that are as they were written.

    The last line without its end, cut short by a kill or a full disk, is cut off, so that more can be appended.

    Args:
        damaged: called with a message for each other line that is not as it was written; such a line is left out.
    """
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(file, len(whole))
    records = []
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            if record.pop(CHECK) != _digest(record):
                raise ValueError("checksum")
            records.append(record)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            damaged(f"'{file}': line {number} is damaged and left out; what it held is done again")
    return records
