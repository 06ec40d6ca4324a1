"""What Ultralytics' trainer writes, whole or not at all: a kill while a checkpoint is written must not cost the run."""

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import os
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import strip_optimizer

from casc_det.base.files import temporary_beside, write_bytes, write_text

PLAIN: Any = type(Path())  # of this system


class WholePath(PLAIN):
    """A path, like all that are made of it with `/`, whose `write_bytes` replaces the file at once."""

    def write_bytes(self, data: Any) -> int:
        """Replace the file; the number of bytes."""
        write_bytes(Path(self), bytes(data))
        return len(data)


def strip_whole(file: str | Path, s: str = "", updates: dict | None = None) -> dict:
    """Ultralytics' `strip_optimizer`; where the result cannot be written, the file stays as it is."""
    file = Path(file)
    temporary = temporary_beside(file)
    try:
        stripped = strip_optimizer(file, str(temporary), updates)
        if stripped:
            os.replace(temporary, s or file)
        return stripped
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        LOGGER.warning(f"'{file}' keeps the state of its optimizer: without, it cannot be written ({error})")
        return {}
    finally:
        temporary.unlink(missing_ok=True)


def trim_results(csv: Path, epochs: int) -> None:
    """Drop the lines of `results.csv` after so many epochs: those that a kill cut off from their checkpoint."""
    if not csv.is_file():
        return
    head, *lines = csv.read_text(errors="replace").splitlines(keepends=True) or [""]
    kept, last = [head], 0
    for line in lines:
        number = line.split(",")[0].strip()
        if line.endswith("\n") and number.isdigit() and last < int(number) <= epochs:
            kept.append(line)
            last = int(number)
    write_text(csv, "".join(kept))
