"""Progress bars (Ultralytics') and the demo's image."""

import sys
import time
from pathlib import Path
from typing import Any

from ultralytics.utils import ASSETS, TQDM

from casc_det.base.terminal import printable
from casc_det.errors import SourceError
from casc_det.yolo.results import SpikingResults


class Progress:
    """A bar on stderr over frames or time steps; a context manager."""

    def __init__(self, title: str) -> None:
        self.title, self.began = title, time.time()
        self.bar: Any = None  # of Ultralytics, made with the first step

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def _advance(self, total: int | None, text: str = "", done: int | None = None) -> None:
        """Draw the bar with `done` steps, or one more than before; the first took its time since the beginning."""
        if self.bar is None:
            self.bar = TQDM(total=total, desc=self.title, file=sys.stderr)
            self.bar.start_t = self.bar.last_print_t = self.began
            self.bar.last_rate = (done or 1) / max(time.time() - self.began, 1e-3)  # else it begins at 0
        self.bar.desc = printable(f"{self.title}: {text}" if text else self.title)
        self.bar.update(1 if done is None else done - self.bar.n)

    def frame(self, result: SpikingResults, total: int | None) -> None:
        """After a frame of `predict`."""
        self._advance(total, f"{Path(result.path).name}, {_found(result)}")

    def images(self, done: int, total: int) -> None:
        """After a batch of `val`."""
        self._advance(total, done=done)

    def cells(self, done: int, total: int, text: str) -> None:
        """After an image of `study`."""
        self._advance(total, text, done)

    def step(self, result: SpikingResults) -> None:
        """After a time step of `demo`."""
        self._advance(None, _found(result))


def _found(result: SpikingResults) -> str:
    steps = result.spiking.timesteps if result.spiking else None
    return f"T = {steps}, boxes: {len(result)}"


def demo_image() -> Path:
    """The street image that ships inside the Ultralytics package."""
    image = ASSETS / "bus.jpg"
    if not image.is_file():
        raise SourceError(f"source: '{image}' of the Ultralytics package is missing; give source=<image>")
    return image
