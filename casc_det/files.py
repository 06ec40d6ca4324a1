"""Files that appear whole or not at all."""

import json
import os
from pathlib import Path


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
    return write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
