"""Run folders: `runs/detect/name`, `name-2`, ..., each used by one run at a time."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from casc_det.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # the type of a module that is not there

PROJECT = "runs/detect"


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
