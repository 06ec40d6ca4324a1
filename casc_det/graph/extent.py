"""How large maps are, for images of every size at once.

With images of S*m pixels, S the largest stride and m = 1, 2, ..., the rows (and columns) of each map are a*m + c: a
convolution or pool of stride s needs a divisible by s and makes (a/s)*m + c' of it.
"""

from typing import NamedTuple


class Extent(NamedTuple):
    """Rows or columns of a map, slope * m + offset for images of S*m pixels, m = 1, 2, ..."""

    slope: int
    offset: int

    def __str__(self) -> str:
        return f"{self.slope}m{self.offset:+d}"

    def at(self, m: int) -> int:
        """Rows or columns for an image of S*m pixels."""
        return self.slope * m + self.offset


class Window(NamedTuple):
    """What a convolution or pool looks at along one axis, as `torch.nn` names it."""

    kernel: int
    stride: int
    padding: int
    dilation: int = 1
    ceil: bool = False

    def problem(self, before: Extent) -> str | None:
        """Why it cannot pass over a map, or None."""
        if before.slope % self.stride:
            return f"has stride {self.stride} on a map of {before}, which it does not divide"
        if self.over(before).at(1) < 1 or before.slope + self._room(before) < 0:
            return f"leaves nothing of the map of an image of one stride ({before} with kernel {self._reach})"
        return None

    def padding_problem(self, before: Extent) -> str | None:
        """Why some of its windows would hold padding only, which has no largest value, or None."""
        if self.padding > self.kernel // 2 or before.at(1) < self.dilation:
            found = f"kernel {self.kernel}, padding {self.padding}, dilation {self.dilation}"
            return f"has windows that hold padding only: {found}"
        return None

    def over(self, before: Extent) -> Extent:
        """What it makes of a map."""
        room = self._room(before)
        last = room // self.stride
        if self.ceil:
            last = -(-room // self.stride)
            # a window that starts in the padding behind the map is left out
            last -= last * self.stride >= before.offset + self.padding
        return Extent(before.slope // self.stride, last + 1)

    @property
    def _reach(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def _room(self, before: Extent) -> int:
        return before.offset + 2 * self.padding - self._reach
