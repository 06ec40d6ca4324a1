"""The functions f that a quantised activation can follow, and the table of counts of each.

    n = clip(floor(f(z)/delta + 1/2), n_min, Q),   delta = clip/Q,   n_min = max(-Q, floor(min f / delta + 1/2))

A function is one entry here: what it computes, and where its least value is. Up to there it falls, from there on it
rises, so that each count is asked for in at most two intervals of z; their ends are the thresholds of a neuron
(`casc_det.neurons.rule.Table`). They are found by bisection in float64.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch.nn import functional as F

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError, nearest

RISING = -math.inf
FAR = 2.0**40  # steps, beyond which no function changes its count
BISECTIONS = 100
GRID = 2.0**-32  # thresholds, in steps, are rounded to it: libraries that differ in the last bit of f give the same


@dataclass(frozen=True)
class Entry:
    """A function.

    Attributes:
        compute: of a tensor, and of as many numbers as `defaults` has.
        turn: where its least value is, which it falls to and rises from; `RISING`: it falls nowhere.
        defaults: of the numbers that may stand in brackets behind its name.
    """

    compute: Callable[..., torch.Tensor]
    turn: float = RISING
    defaults: tuple[float, ...] = ()


FUNCTIONS: dict[str, Entry] = {
    "relu": Entry(torch.relu),
    "silu": Entry(F.silu, -1.2784645427610738),
    "leaky_relu": Entry(F.leaky_relu, defaults=(0.01,)),
    "relu6": Entry(F.relu6),
    "hardswish": Entry(F.hardswish, -1.5),
    "gelu": Entry(F.gelu, -0.7517915246935645),
    "gelu_tanh": Entry(partial(F.gelu, approximate="tanh"), -0.7524614220710162),
    "mish": Entry(F.mish, -1.1924312145139994),
    "hardtanh": Entry(F.hardtanh, defaults=(-1.0, 1.0)),
    "sigmoid": Entry(torch.sigmoid),
    "identity": Entry(torch.clone),
}


@dataclass(frozen=True)
class Function:
    """A function with its numbers. text: as graphs name it, such as "silu" or "leaky_relu(0.1)"."""

    text: str
    entry: Entry
    numbers: tuple[float, ...]

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """f(z), any shape."""
        return self.entry.compute(z, *self.numbers)


def function_of(text: str) -> Function:
    """The function of a name, with numbers in brackets where it takes some.

    Raises:
        ArgumentError: there is none, or the numbers are none that it takes.
    """
    found = re.fullmatch(r"(\w+)(?:\(([^()]*)\))?", text) if isinstance(text, str) else None
    if found is None or found[1] not in FUNCTIONS:
        known = nearest(text, FUNCTIONS) if isinstance(text, str) else ""
        raise ArgumentError(f"activation: {shown(text)} is none that is known{known}; known are {', '.join(FUNCTIONS)}")
    entry = FUNCTIONS[found[1]]
    try:
        numbers = tuple(float(part) for part in found[2].split(",")) if found[2] else entry.defaults
    except ValueError:
        numbers = ()
    if len(numbers) != len(entry.defaults) or not all(map(math.isfinite, numbers)):
        raise ArgumentError(
            f"activation: '{found[1]}' takes {len(entry.defaults)} numbers in brackets, got {shown(text)}"
        )
    return Function(text, entry, numbers)


class CountTable(NamedTuple):
    """thresholds: (K,) float64, ascending, of z in steps delta. counts: (K + 1,) int64, of the segments between."""

    thresholds: torch.Tensor
    counts: torch.Tensor


def counts_of(function: Function, z: torch.Tensor, clip: float | torch.Tensor, levels: int) -> torch.Tensor:
    """The counts n of values z, any shape, in their dtype."""
    return rounded_counts(function(z), clip / levels, levels)


def rounded_counts(f: torch.Tensor, delta: float | torch.Tensor, levels: int) -> torch.Tensor:
    """The counts n of values f(z), any shape, in their dtype. n_min needs no clip of its own: f does not go below."""
    return torch.div(f, delta).add_(0.5).floor_().clamp_(-levels, levels)


@lru_cache(maxsize=4096)
def table_of(text: str, clip: float, levels: int) -> CountTable:
    """The table of a function of `levels` Q and steps clip/Q; nobody writes to its tensors."""
    function, delta = function_of(text), clip / levels
    turn = max(function.entry.turn / delta, -FAR)
    count = lambda z: counts_of(function, z * delta, clip, levels)
    first, least, last = (int(count(torch.tensor(z, dtype=torch.float64))) for z in (-FAR, turn, FAR))
    down = torch.arange(first - 1, least - 1, -1, dtype=torch.float64)  # the counts that f falls to, one by one
    up = torch.arange(least + 1, last + 1, dtype=torch.float64)
    falls = _first(lambda z: count(z) <= down, torch.full_like(down, -FAR), torch.full_like(down, turn))
    rises = _first(lambda z: count(z) >= up, torch.full_like(up, turn), torch.full_like(up, FAR))
    thresholds = (torch.cat([falls, rises]) / GRID).round() * GRID
    return CountTable(thresholds, torch.cat([torch.tensor([first]), down.long(), up.long()]))


def _first(holds: Callable[[torch.Tensor], torch.Tensor], low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The least z in low..high from which on something holds, by bisection."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        true = holds(middle)
        low, high = torch.where(true, low, middle), torch.where(true, middle, high)
    return high
