"""Progress bars (Ultralytics') and the demo's image."""

import sys
import time
from pathlib import Path

from ultralytics.utils import ASSETS, TQDM

from casc_det.base.terminal import printable
from casc_det.errors import SourceError


class Progress:
    """A bar on stderr over frames or time steps; a context manager."""

    def __init__(self, title: str):
        self.title, self.bar, self.began = title, None, time.time()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def _advance(self, total: int | None, text: str = "", done: int | None = None):
        """Draw the bar with `done` steps, or one more than before; the first took its time since the beginning."""
        if self.bar is None:
            self.bar = TQDM(total=total, desc=self.title, file=sys.stderr)
            self.bar.start_t = self.bar.last_print_t = self.began
            self.bar.last_rate = (done or 1) / max(time.time() - self.began, 1e-3)  # else it begins at 0
        self.bar.desc = printable(f"{self.title}: {text}" if text else self.title)
        self.bar.update(1 if done is None else done - self.bar.n)

    def frame(self, result, total: int | None):
        """After a frame of `predict`."""
        self._advance(total, f"{Path(result.path).name}, T = {result.spiking.timesteps}, boxes: {len(result)}")

    def images(self, done: int, total: int):
        """After a batch of `val`."""
        self._advance(total, done=done)

    def cells(self, done: int, total: int, text: str):
        """After an image of `study`."""
        self._advance(total, text, done)

    def step(self, result):
        """After a time step of `demo`."""
        self._advance(None, f"T = {result.spiking.timesteps}, boxes: {len(result)}")


def demo_image() -> Path:
    """The street image that ships inside the Ultralytics package."""
    image = ASSETS / "bus.jpg"
    if not image.is_file():
        raise SourceError(f"source: '{image}' of the Ultralytics package is missing; give source=<picture>")
    return image
