"""Files that appear whole or not at all, and names for them."""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from casc_det.errors import OutputError


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Another name in the folder of a file, for as long as it is written; its own may be as long as names can be."""
    return path.with_name(f".{hash_of([os.fsencode(path.name)])[:16]}.{os.getpid()}.tmp{suffix}")


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file under another name and rename it; its folder is made. Whatever goes wrong leaves no trace.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    temporary = temporary_beside(path)
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


def hash_of(parts: Iterable[str | bytes]) -> str:
    """SHA-256 of texts and bytes, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
    return digest.hexdigest()


def safe_name(text: object, most: int = 150) -> str:
    """One file name for any text: no folders, no control characters, at most `most` bytes.

    A text that is such a name already stays as it is; another one gets a hash: different texts never share a name.
    """
    text = str(text)
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in text).strip(" .-")
    marked = re.search(r"(^|-)[0-9a-f]{16}$", text)  # looks like one with a hash
    if name == text and len(name.encode()) <= most and not marked:
        return name
    digest = hash_of([text.encode("utf-8", "surrogatepass")])[:16]
    return f"{name.encode()[: most - 17].decode(errors='ignore')}-{digest}".lstrip("-")


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[dict]) -> Path:
    """Write what rows have of the columns, below their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def write_json(path: str | Path, content: object) -> Path:
    """Write JSON as the standard has it: NaN, which it does not know, becomes null."""
    return write_text(path, json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """JSON values with None in place of NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
