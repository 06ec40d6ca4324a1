"""Files that appear whole or not at all, lines that can be trusted, and run folders."""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from casc_det.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PROJECT = "runs/detect"
CHECK = "sha256"  # the last key of each line of `append_lines`


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file under another name and rename it; its folder is made. Whatever goes wrong leaves no trace.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # the name itself may be as long as names can be
    temporary = path.with_name(f".{short}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError.of(path, error) from error
        raise
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8; what has no place in it (half of a surrogate pair, from an undecodable file name) is escaped."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def safe_name(text, most: int = 150) -> str:
    """One file name for any text: no folders, no control characters, at most `most` bytes.

    A text that is such a name already stays as it is; another one gets a hash: different texts never share a name.
    """
    text = str(text)
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in text).strip(" .-")
    marked = re.search(r"(^|-)[0-9a-f]{16}$", text)  # looks like one with a hash
    if name == text and len(name.encode()) <= most and not marked:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name.encode()[: most - 17].decode(errors='ignore')}-{digest}".lstrip("-")


def write_json(path: str | Path, content) -> Path:
    """Write JSON as the standard has it: NaN, which it does not know, becomes null."""
    return write_text(path, json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n")


def without_nan(value):
    """JSON values with None in place of NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _digest(record: dict) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to one run at a time, by a lock of the system, which ends with the process at the latest.

    File systems that lock no folders (some of networks) and Windows go without.

    Raises:
        OutputError: another run has it.
    """
    with ExitStack() as stack:
        try:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            user = _holder(handle)
            raise OutputError(
                f"'{folder}' is in use by {f'process {user}' if user else 'another process'}; wait until it has "
                "ended, or give another name="
            ) from None
        except (OSError, AttributeError):  # no locks here
            pass
        yield


def _holder(handle: int) -> int | None:
    """The process that has a file locked, where the system tells (Linux)."""
    with suppress(OSError, ValueError, IndexError):
        inode = str(os.fstat(handle).st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE <process> <device>:<inode> 0 EOF
            if fields[1] == "FLOCK" and fields[5].split(":")[-1] == inode and int(fields[4]) > 0:
                return int(fields[4])
    return None


@contextmanager
def run_folder(project: str | Path | None, name: str, exist_ok: bool = False) -> Iterator[Path]:
    """A fresh folder `project/name`, `name-2`, `name-3`, ... as Ultralytics numbers them, made at once.

    Two processes never get the same one. If nothing was written into it, it is removed at the end, with the folders
    above it that were made for it.

    Raises:
        OutputError: it cannot be made, or is in use by another run.
    """
    base = Path(project or PROJECT).absolute() / str(name)
    above = [parent for parent in base.parents if not parent.exists()]
    folder, fresh = _make_folder(base, exist_ok)
    try:
        with locked(folder):
            yield folder
    finally:
        with suppress(OSError):  # not empty
            for made in (folder, *above) if fresh else ():
                made.rmdir()


def _make_folder(base: Path, exist_ok: bool) -> tuple[Path, bool]:
    """The folder, and whether it was not there before."""
    for number in range(1, 10**6):
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder, True
        except FileExistsError as error:
            if exist_ok and folder.is_dir():
                return folder, False
            if exist_ok or not os.path.lexists(folder):
                raise OutputError.of(folder, error) from error
        except RecursionError:
            raise OutputError(f"'{folder}' cannot be written (too many folders in folders)") from None
        except OSError as error:
            raise OutputError.of(folder, error) from error
    raise OutputError(f"'{base}' cannot be written (all numbers are taken)")
