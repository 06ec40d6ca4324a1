"""When to stop before the time is up: rules that look at the answer to one image after each step.

    quiescent           the network is at rest: the answer is the ANN's
    boxes-stable(k)     the shown boxes, or that there are none, have not changed in the last k steps (default 3)
    confident(p)        there are boxes, and all that are shown have a score of at least p (default 0.5)

The last two look only from the last step of wake on, when the whole image has come in (boxes-stable(3) stops three
steps later at the earliest), and stop at rest in any case.
"""

import re
from dataclasses import dataclass

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError
from casc_det.heads import Answer

KINDS: dict[str, float | None] = {"quiescent": None, "boxes-stable": 3, "confident": 0.5}


@dataclass(frozen=True)
class Policy:
    """kind: a key of `KINDS`. value: its parameter."""

    kind: str = "quiescent"
    value: float | None = None

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}({self.value:g})"

    def watch(self, first: int) -> "Watch":
        """To be told of the steps of one image. first: the step from which on it may stop, the last of wake."""
        return Watch(self, first)


def read_policy(text: object, argument: str = "policy") -> Policy:
    """`quiescent`, `boxes-stable`, `boxes-stable(5)`, `confident(0.6)` as a `Policy`; `argument` is named in errors.

    Raises:
        ArgumentError: it is none of these, or its parameter makes no sense.
    """
    if isinstance(text, Policy):
        return text
    found = re.fullmatch(r"([a-z-]+)(?:\(([0-9.]+)\))?", str(text).strip())
    kind, given = found.groups() if found else ("", None)
    if kind not in KINDS or (given and KINDS[kind] is None):
        raise ArgumentError(f"{argument}: expected quiescent, boxes-stable(k) or confident(p), got {shown(text)}")
    try:
        value = float(given) if given else KINDS[kind]
    except ValueError:
        raise ArgumentError(f"{argument}: expected a number in brackets, got {shown(text)}") from None
    if value is None:
        return Policy(kind)
    if kind == "boxes-stable" and (value < 1 or value != int(value)):
        raise ArgumentError(f"{argument}: boxes-stable(k) expects an integer from 1 on, steps, got {shown(text)}")
    if kind == "confident" and not 0 < value <= 1:
        raise ArgumentError(f"{argument}: confident(p) expects a score above 0 and up to 1, got {shown(text)}")
    return Policy(kind, value)


class Watch:
    """Follows one image."""

    def __init__(self, policy: Policy, first: int) -> None:
        self.policy, self.first = policy, first
        self.before: Answer | None = None
        self.stable = 0

    def stop(self, t: int, answer: Answer, quiescent: bool) -> bool:
        """Whether to stop after step `t`; answer: what would be shown."""
        same = self.before is not None and answer.unchanged(self.before)
        self.before, self.stable = answer, self.stable + 1 if same and t > self.first else 0
        if quiescent:
            return True
        if t < self.first or self.policy.value is None:
            return False
        if self.policy.kind == "boxes-stable":
            return self.stable >= self.policy.value
        return answer.certain(self.policy.value)
