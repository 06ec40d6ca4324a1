"""Text on its way to a terminal: what would steer it instead of being seen is written as an escape.

Names of files and classes are data. In one of them ESC may clear the screen or set a window title, CR may overwrite the
line, and a bidirectional override may show it backwards.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

CONTROLS = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of text
    r"\u2028\u2029"  # line separators
    r"\ud800-\udfff"  # halves of surrogate pairs, from file names that are no text
)
HIDDEN = re.compile(f"[{CONTROLS}]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _escaped(match: re.Match) -> str:
    code = ord(match[0])
    named = {9: r"\t", 10: r"\n", 13: r"\r"}
    return named.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def printable(text: object) -> str:
    """A text in one line, with every control character as an escape such as `\\x1b`.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    return HIDDEN.sub(_escaped, str(text))


def aligned(rows: Sequence[Sequence[str]], justify: Callable[[str, int], str] = str.ljust) -> str:
    """A table of texts with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(justify, row, widths)).rstrip() for row in rows)


class Screen:
    """A text stream that lets lines, tabs and the progress bar's own return to the line's start through, no more.

    Args:
        bars: the streams whose line is a progress bar that can be drawn again; `Screen`s of one terminal or file
            share it, so that what one of them writes begins a line of its own.
    """

    LEAD = re.compile(r"\r(\x1b\[K)?")  # at the start of what is written: a bar that is drawn again

    def __init__(self, stream: TextIO, bars: list[TextIO] | None = None) -> None:
        self._stream, self._bars = stream, [] if bars is None else bars

    def write(self, text: str) -> int:
        """Write what may be seen of a text; the number of characters of all of it."""
        found = self.LEAD.match(text)
        lead = found[0] if found else ""
        if lead:
            self._bars[:] = [] if text == lead or text.endswith("\n") else [self._stream]
        elif text and self._bars:
            bar = self._bars.pop()
            if text != "\n" or bar is not self._stream:  # else it is the bar's own end
                bar.write("\r\x1b[K" if bar.isatty() else "\n")
                bar.flush()
        lines = COLOURS.sub("", text[len(lead) :]).replace("\r\n", "\n")
        self._stream.write(lead + re.sub(f"(?![\t\n])[{CONTROLS}]", _escaped, lines))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def screened() -> Iterator[None]:
    """Standard output and error are `Screen`s; one that is closed takes everything and shows nothing."""
    before, bars = (sys.stdout, sys.stderr), list[TextIO]()
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (Screen(nowhere if stream is None else stream, bars) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
