"""Types of arguments: how the words of the command line become values.

Each `Kind` reads the text of one type and nothing else: `name=7` stays the text "7", `save=no` is False.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError, nearest

FLAGS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
LARGEST = 2**63


@dataclass(frozen=True)
class Kind:
    """A type of values.

    Attributes:
        words: what is expected, for the help and for messages.
        read: the value of a text; ValueError where it is none.
        bare: `--key` alone may stand for true.
        hint: more words for the message, from the text.
    """

    words: str
    read: Callable[[str], object]
    bare: bool = False
    hint: Callable[[str], str] = lambda text: ""

    def value(self, name: str, text: str, optional: bool = False) -> Any:
        """The value of argument `name`.

        Args:
            optional: the word none is also a value, None, unless any text is one.

        Raises:
            ArgumentError: the text is not of this type.
        """
        if optional and text.lower() in ("none", "null") and self.read is not _text:
            return None
        try:
            return self.read(text if self.read is _text else text.strip())
        except (ValueError, OverflowError):
            came = shown(text) if text.strip() else "nothing"
            raise ArgumentError(f"{name}: expected {self.words}, got {came}{self.hint(text)}") from None


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _flag(text: str) -> bool:
    try:
        return FLAGS[text.lower()]
    except KeyError:
        raise ValueError from None


def _number(text: str) -> int | float:
    value: int | float
    try:
        value = int(text)
    except ValueError:
        value = float(text)
    if not (math.isfinite(value) and abs(value) < LARGEST):
        raise ValueError
    return value


def _integer(text: str) -> int:
    value = _number(text)
    if value != int(value):
        raise ValueError
    return int(value)


def _or(*readers: Callable) -> Callable:
    """The value of the first reader that takes the text."""

    def read(text: str) -> object:
        for reader in readers:
            try:
                return reader(text)
            except ValueError:
                continue
        raise ValueError

    return read


def _one_of(*known: str) -> Callable:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError
        return text

    return read


def _list_of(reader: Callable) -> Callable:
    """Comma-separated values, also in brackets; `a` alone is a list of one."""

    def read(text: str) -> list:
        if text[:1] + text[-1:] in ("[]", "()"):
            text = text[1:-1]
        return [reader(part.strip()) for part in text.rstrip(",").split(",")]

    return read


def _single(reader: Callable) -> Callable:
    """As `reader` has it, but a list of one is its value."""

    def read(text: str) -> object:
        values = reader(text)
        return values if len(values) > 1 or text[:1] in ("[", "(") else values[0]

    return read


def step_range(text: str) -> list[int]:
    """The integers of `5..8`, both ends included; ValueError where it is none, or falls, with what to write."""
    ends = [end.strip() for end in text.split("..")]
    if len(ends) != 2 or not all(end.isdecimal() and len(end) < 6 for end in ends):
        raise ValueError("expected <first>..<last>, for example 1..64")
    first, last = map(int, ends)
    if first > last:
        raise ValueError(f"a range is first..last in rising order; write {last}..{first}")
    return list(range(first, last + 1))


def _steps(text: str) -> list:
    """Integers, ranges and auto, comma-separated, as one list."""
    parts = _list_of(_or(step_range, _integer, _one_of("auto")))(text)
    return [step for part in parts for step in (part if isinstance(part, list) else [part])]


def _falling(text: str) -> str:
    """What to write in place of a range that falls, for a message."""
    for part in text.split(","):
        try:
            step_range(part.strip())
        except ValueError as error:
            if "rising" in str(error):
                return f"; {str(error).partition('; ')[2]}"
    return ""


def choice(*known: str) -> Kind:
    """One of some words."""
    return Kind(f"one of {', '.join(known)}", _one_of(*known), hint=lambda text: nearest(text, known))


def flag_or(words: str, *known: str) -> Kind:
    """true, false or one of some words; without any: or a text."""
    return Kind(f"true, false or {words}", _or(_flag, _one_of(*known) if known else _text), bare=True)


FLAG = Kind("true or false", _flag, bare=True)
TEXT = Kind("a text", _text)
PATH = Kind("a path", _text)
INTEGER = Kind("an integer", _integer)
NUMBER = Kind("a number", _number)
STEPS = Kind("an integer or auto", _or(_integer, _one_of("auto")))
SIZE = Kind("an integer or height,width", _single(_list_of(_integer)))
INTEGERS = Kind("integers, comma-separated", _list_of(_integer))
NUMBERS = Kind("numbers, comma-separated", _list_of(_number))
FLAGS_LIST = Kind("true or false, or both, comma-separated", _list_of(_flag), bare=True)
STEP_RANGE = Kind("first..last, or integers, comma-separated", _text)
STEPS_LIST = Kind("integers, ranges first..last and auto, comma-separated", _steps, hint=_falling)
INTEGER_OR_LIST = Kind("an integer or integers, comma-separated", _single(_list_of(_integer)))
NUMBER_OR_LIST = Kind("a number or numbers, comma-separated", _single(_list_of(_number)))


def choices(*known: str) -> Kind:
    """Some of a few words, as a list."""
    return Kind(f"some of {', '.join(known)}", _list_of(_one_of(*known)))
