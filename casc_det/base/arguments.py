"""Checks of arguments that come from Python; `casc_det.base.kinds` reads those of the command line.

Each raises ArgumentError with one line: the argument, what was expected, what came.
"""

import math
import reprlib
from collections.abc import Collection, Iterable
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import Any, TypeGuard

from casc_det.errors import ArgumentError, nearest


def shown(value: object) -> str:
    """A value for a message: its repr, or where that is long, what it is."""
    if isinstance(value, str | int | float | bool | type(None)):
        return repr(value) if isinstance(value, str) and len(value) <= 200 else reprlib.repr(value)
    if isinstance(value, list | tuple) and len(text := reprlib.repr(value)) <= 80:
        return text
    size = f" of {len(value)}" if isinstance(value, list | tuple | dict | set | bytes | bytearray) else ""
    shape = getattr(value, "shape", None)  # of a tensor or an array
    return f"{type(value).__name__}{f' {tuple(shape)}' if isinstance(shape, tuple) else size}"


def is_integer(value: object, low: float, high: float = math.inf) -> TypeGuard[int]:
    """Whether it is an integer from `low` to `high`; True and False are none."""
    return isinstance(value, int) and is_number(value, low, high)


def is_number(value: object, low: float, high: float = math.inf) -> TypeGuard[float]:
    """Whether it is a number from `low` to `high`; NaN, True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def check_flags(**values: object) -> None:
    """Raise ArgumentError where a value is not True or False: the text "no" would count as true."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"{name}: expected True or False, got {shown(value)}")


def check_texts(**values: object) -> None:
    """Raise ArgumentError where a value is neither a text or path without NUL, nor None."""
    for name, value in values.items():
        if value is not None and (not isinstance(value, str | Path) or not str(value) or "\0" in str(value)):
            raise ArgumentError(f"{name}: expected a text, got {shown(value)}")


def check_safetensors(**values: object) -> None:
    """Raise ArgumentError where a value is no path that ends in .safetensors, so that no other file is written over."""
    for name, value in values.items():
        if not isinstance(value, str | Path) or Path(value).suffix != ".safetensors":
            raise ArgumentError(f"{name}: expected a file that ends in .safetensors, got {shown(value)}")


def check_one_of(known: Collection[str], **values: object) -> None:
    """Raise ArgumentError where a value is none of some words."""
    for name, value in values.items():
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}")


def check_fields(kind: type, given: Iterable[str], owner: str) -> None:
    """Raise ArgumentError where a name is no field of a dataclass; owner: of the arguments, for the message."""
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            raise ArgumentError(
                f"{name}: {owner} has no such argument{nearest(name, known)}; it has {', '.join(known)}"
            )


def check_counts(**values: object) -> None:
    """Raise ArgumentError where a value is no integer above 0."""
    for name, value in values.items():
        if not is_integer(value, 1):
            raise ArgumentError(f"{name}: expected an integer above 0, got {shown(value)}")


def check_steps(at: object) -> set[int]:
    """`at`, one time step or several, as a set; ArgumentError where one is no integer."""
    steps: list[Any] = list(at) if isinstance(at, Iterable) else [at]
    if any(isinstance(t, bool) or not isinstance(t, Integral) for t in steps):
        raise ArgumentError(f"at: expected time steps, integers, got {shown(at)}")
    return {int(t) for t in steps}
