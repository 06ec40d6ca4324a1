"""Values of files that people wrote: checked one by one, so that a refusal names the place and what was expected.

Every function raises ValueError with `<where>: expected ..., got ...`; numbers given as text count as numbers.
"""

import math
import reprlib
from typing import Any

LARGEST = 1e12  # of coordinates and areas: far beyond any image, far below what sums could overflow
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def short(value: object) -> str:
    """A value for a message, cut where it is long or deep."""
    return _short.repr(value)


def part(entry: object, key: str, where: str) -> Any:
    """`entry[key]` of a JSON object."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object {{...}}, got {short(entry)}")
    if key not in entry:
        raise ValueError(f"{where}: has no '{key}'")
    return entry[key]


def listing(entry: object, key: str) -> list:
    """A list of the top level of a JSON file."""
    value = part(entry, key, "the file")
    if not isinstance(value, list):
        raise ValueError(f"{key}: expected a list, got {short(value)}")
    return value


def number(value: Any, where: str, least: float = -LARGEST) -> float:
    """A finite number from `least` to `LARGEST`."""
    try:
        result = math.nan if isinstance(value, bool) or "_" in str(value)[:60] else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not least <= result <= LARGEST:
        raise ValueError(
            f"{where}: expected a number{f' from {least:g}' if least > -LARGEST else ''}, got {short(value)}"
        )
    return result


def side(value: object, where: str) -> int:
    """Width or height of an image in pixels; 0 where it is not given."""
    if value is None or value == "":
        return 0
    result = number(value, where, 0)
    if result != int(result):
        raise ValueError(f"{where}: expected an integer, got {short(value)}")
    return int(result)


def flag(value: object, where: str) -> bool:
    """Yes or no: 0, 1, true, false, as numbers or texts; nothing means no."""
    text = str(value if value is not None else 0).strip().lower() if not isinstance(value, list | dict) else "?"
    if text not in ("0", "1", "0.0", "1.0", "false", "true", ""):
        raise ValueError(f"{where}: expected 0 or 1, got {short(value)}")
    return text in ("1", "1.0", "true")


def text(value: object, where: str) -> str:
    """A text that can be printed and can be a file name; a number counts as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return short(value)
    try:
        if isinstance(value, str) and value.strip() and "\0" not in value and value.encode():
            return value
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise ValueError(f"{where}: expected a text, got {short(value)}")


def identity(value: object, where: str) -> int | str:
    """An id in the form in which ids are compared: integers also where they are given as text or as 7.0."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text(value, where)
        digits = value.removeprefix("-")
        plain = digits.isascii() and digits.isdigit() and len(digits) <= 40 and (digits == "0" or digits[0] != "0")
        return int(value) if plain and value != "-0" else value
    raise ValueError(f"{where}: expected an integer or a text, got {short(value)}")
