"""Folders for what only saves time: compiled loops, settings of libraries, font lists."""

import os
import stat
import tempfile
from pathlib import Path


def usable(folder: str | Path) -> bool:
    """Whether a file can be written in a folder, which is made if need be; nobody means a relative one."""
    if not os.path.isabs(folder):
        return False
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def temporary_folder(name: str) -> str | None:
    """A folder in the temporary one, the same in every process and of this user alone; None where there cannot be one.

    Others may write in the temporary folder, too: what they put there under this name is not used.
    """
    try:
        own = os.path.join(tempfile.gettempdir(), f"casc_det-{os.getuid()}")
        os.makedirs(own, 0o700, exist_ok=True)
        found = os.lstat(own)
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    folder = os.path.join(own, name)
    return folder if private and usable(folder) else None


def set_config_folders() -> None:
    """Give Ultralytics settings of its own here, and it and matplotlib a folder elsewhere if the user's is read-only.

    A service or a container often has no home, or one that cannot be written. Folders that are named already stay.
    """
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    at_home = lambda name: os.path.join(config, name) if usable(os.path.join(config, name)) else None
    settings = at_home("casc_det") or temporary_folder("casc_det")
    fonts = None if at_home("matplotlib") else temporary_folder("matplotlib")  # None: matplotlib finds its own
    for variable, folder in (("YOLO_CONFIG_DIR", settings), ("MPLCONFIGDIR", fonts)):
        if folder:
            os.environ.setdefault(variable, folder)
