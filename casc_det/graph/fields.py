"""What the fields of a graph may hold: types that carry the rule their values are held against.

A rule is the metadata of an `Annotated` type, so that a dataclass says with each field what it accepts.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args

import torch

from casc_det.base.arguments import is_integer, is_number, shown
from casc_det.errors import ArgumentError, ConversionError
from casc_det.neurons.functions import function_of

LARGEST = 64  # level, kernel, stride, padding, dilation, factor of an upsampling
MOST_CHANNELS = 2**20
LARGEST_SIDE = 8192  # pixels
LONGEST_NAME = 256


@dataclass(frozen=True)
class Rule:
    """expected: in words. test: of a value."""

    expected: str
    test: Callable[[object], bool]


def integer(low: int, high: int) -> Rule:
    """An integer from `low` to `high`."""
    return Rule(f"an integer from {low} to {high}", lambda x: is_integer(x, low, high))


def integers(count: int, low: int) -> Rule:
    """A tuple of `count` integers from `low` to `LARGEST`."""
    test = lambda x: type(x) is tuple and len(x) == count and all(is_integer(part, low, LARGEST) for part in x)
    return Rule(f"{count} integers from {low} to {LARGEST}", test)


def is_positive(value: object) -> bool:
    """Whether it is a number that a threshold or a clip can be."""
    return is_number(value, 1e-9, 1e9)


def is_per_channel(value: object) -> bool:
    """Whether it is a tensor (C, 1, 1)."""
    return isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[1:] == (1, 1) and len(value) > 0


def is_function(value: object) -> bool:
    """Whether it names a function that a neuron can follow."""
    try:
        return isinstance(value, str) and bool(function_of(value))
    except ArgumentError:
        return False


def is_text(value: object) -> bool:
    """Whether it is a text that can be written in UTF-8: no half of a surrogate pair."""
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


Flag = Annotated[bool, Rule("true or false", lambda x: type(x) is bool)]
Levels = Annotated[int, integer(1, LARGEST)]
Channels = Annotated[int, integer(0, MOST_CHANNELS)]
Groups = Annotated[int, integer(1, MOST_CHANNELS)]
From0 = Annotated[tuple[int, int], integers(2, 0)]
From1 = Annotated[tuple[int, int], integers(2, 1)]
Border = Annotated[tuple[int, int, int, int], integers(4, 0)]
Positive = Annotated[float, Rule("a number above 0, from 1e-9 to 1e9", is_positive)]
Divisor = Annotated[int | None, Rule("an integer above 0 or none", lambda x: x is None or is_integer(x, 1, LARGEST**2))]
Threshold = Annotated[
    float | torch.Tensor,
    Rule("a number above 0, from 1e-9 to 1e9, or a tensor (C, 1, 1)", lambda x: is_positive(x) or is_per_channel(x)),
]
Scale = Annotated[torch.Tensor | None, Rule("a tensor (C, 1, 1) or none", lambda x: x is None or is_per_channel(x))]
Function = Annotated[str, Rule("a function of casc_det.neurons.functions", is_function)]
Rows = Annotated[
    torch.Tensor | None,
    Rule("a tensor (C, K) or none", lambda x: x is None or (isinstance(x, torch.Tensor) and x.ndim == 2)),
]
Line = Annotated[
    torch.Tensor | None,
    Rule("a tensor (K,) or none", lambda x: x is None or (isinstance(x, torch.Tensor) and x.ndim == 1)),
]
CORRECTION = (0, 32767)  # hysteresis in thresholds, delay in steps a layer
RECOMMENDED: dict[str, Callable[[object], bool]] = {
    "burst": lambda x: is_integer(x, 1, LARGEST),
    "ramp": lambda x: type(x) is bool,
    "hysteresis": lambda x: is_number(x, *CORRECTION),
    "delay": lambda x: is_number(x, *CORRECTION),
}
Defaults = Annotated[
    dict,
    Rule(
        f"a dictionary of some of {', '.join(RECOMMENDED)}",
        lambda x: type(x) is dict and all(key in RECOMMENDED and RECOMMENDED[key](x[key]) for key in x),
    ),
]
Names = Annotated[
    list[str],
    Rule("a list of 1 to 65536 texts", lambda x: type(x) is list and 0 < len(x) <= 2**16 and all(map(is_text, x))),
]
Strides = Annotated[
    list[int],
    Rule(
        "a list of integers from 1 to 4096", lambda x: type(x) is list and x and all(is_integer(s, 1, 4096) for s in x)
    ),
]
Bins = Annotated[int, integer(1, 1024)]
Side = Annotated[int, integer(1, LARGEST_SIDE)]


def one_of(*values: str) -> Rule:
    """One of some texts."""
    return Rule(f"one of {', '.join(values)}", lambda x: isinstance(x, str) and x in values)


def check_fields(owner: str, item: Any) -> None:
    """Raise ConversionError where a field of a dataclass is not what the rule of its type expects."""
    for f in fields(item):
        for rule in get_args(f.type)[1:]:
            value = getattr(item, f.name)
            if isinstance(rule, Rule) and not rule.test(value):
                raise ConversionError(f"graph: {owner} {f.name}={shown(value)}, expected {rule.expected}")


def check_name(name: object, what: str) -> None:
    """Raise ConversionError where a name is no text that can be printed in one line."""
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ConversionError(
            f"graph: {what} is named {shown(name)}, expected 1 to {LONGEST_NAME} printable characters"
        )
