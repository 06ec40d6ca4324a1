"""Files that appear whole or not at all, and run folders."""

import hashlib
import json
import math
import os
import re
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
