"""Figures from records, with matplotlib; the only place that uses it. Nothing touches its global state."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes as Axes  # for those who draw
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from casc_det.base.files import write_bytes
from casc_det.errors import OutputError, in_words

WIDE_FONTS = (
    "NotoSansCJK",
    "NotoSerifCJK",
    "SourceHanSans",
    "wqy-",
    "DroidSansFallback",
    "unifont",
    "PingFang",
    "msyh",
)


@cache
def font_file(font: str = "Arial.ttf") -> str:
    """A font file of this machine: the one asked for, or else one with many letters, at last matplotlib's own."""
    files = [entry.fname for entry in font_manager.fontManager.ttflist if os.path.exists(entry.fname)]
    for name in (Path(font).name, *WIDE_FONTS):
        for file in files:
            if name in os.path.basename(file):
                return file
    return font_manager.findfont("DejaVu Sans")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure whole or not at all; the suffix, .png or .pdf, says how."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format=Path(path).suffix[1:], dpi=150)
    return write_bytes(path, stream.getvalue())


def save_figures(
    folder: Path, figures: Mapping[str, Callable[[], Figure | None]], suffixes: tuple[str, ...] = (".png",)
) -> list[str]:
    """Draw each figure and write it as `folder/name` with each suffix; one that is None, or fails, is removed there.

    Returns:
        A line for each figure that failed, see `attempt`.

    Raises:
        OutputError: a file cannot be written.
    """

    def save(draw: Callable[[], Figure | None], files: list[Path]) -> bool:
        figure = draw()
        return figure is not None and all(save_figure(figure, file) for file in files)

    problems: list[str] = []
    for name, draw in figures.items():
        files = [folder / f"{name}{suffix}" for suffix in suffixes]
        if not attempt(f"{name}: could not be drawn", partial(save, draw, files), problems):
            for file in files:
                file.unlink(missing_ok=True)
    return problems


def attempt(failed: str, make: Callable[[], object], problems: list[str]) -> bool:
    """Make what people look at; whether there is something. Where that fails, the line `failed` says why.

    What is drawn comes from data, and matplotlib can raise anything; nothing that is drawn is worth the numbers.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        return bool(make())
    except OutputError:
        raise
    except Exception as error:
        problems.append(f"{failed} ({in_words(error)})")
        return False


def literal(text: str, longest: int = 200) -> str:
    """Text from data (class, file and network names) as matplotlib shows it as it is, cut where it is too long.

    There is no mathtext in it, no lone surrogate or line break, and no underscore in front, which would hide an entry
    of a legend.
    """
    text = "".join(c if c.isprintable() else " " for c in str(text))
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


@contextmanager
def without_mathtext() -> Iterator[None]:
    """Inside, matplotlib shows every text as it is, also where figures of others hold class names such as `$x_^$`."""
    with rc_context({"text.parse_math": False}):
        yield


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)
