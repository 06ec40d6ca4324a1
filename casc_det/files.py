"""Files that appear whole or not at all, and run folders."""

import json
import math
import os
from pathlib import Path

PROJECT = "runs/detect"


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file under another name and rename it; its folder is made. OSError leaves no trace."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: str | Path, content) -> Path:
    """Write JSON as the standard has it: NaN, which it does not know, becomes null."""
    return write_bytes(path, (json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n").encode())


def without_nan(value):
    """JSON values with None in place of NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def run_folder(project: str | None, name: str, exist_ok: bool = False) -> Path:
    """A fresh folder `project/name`, `name-2`, `name-3`, ... as Ultralytics numbers them; not yet created."""
    base = Path(project or PROJECT).absolute() / name
    if exist_ok or not base.exists():
        return base
    return next(p for i in range(2, 10**6) if not (p := base.with_name(f"{base.name}-{i}")).exists())
