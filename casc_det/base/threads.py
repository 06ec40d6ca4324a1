"""How many threads to compute with.

Threads that work in step wait for the slowest one. Where other processes want the cores, that one is often not running,
and all wait for it: two threads on two busy cores can take many times as long as one (`tools/bench_threads.py`). So the
default takes the cores that other processes leave free, looked at anew for each batch of images.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError

MOST = 1024
INTERVAL = 0.2  # seconds that the use of cores is measured over, at least
CGROUPS = Path("/sys/fs/cgroup")
STAT = Path("/proc/stat")  # ticks of each core


def check_threads(threads: Any) -> int | str:
    """`threads` itself, "auto" or an integer from 1 to 1024, or ArgumentError."""
    if threads != "auto" and not is_integer(threads, 1, MOST):
        raise ArgumentError(f"threads: expected an integer from 1 to {MOST} or 'auto', got {shown(threads)}")
    return threads


@contextmanager
def computing(threads: int | str) -> Iterator[None]:
    """Inside, torch and the compiled loops use so many threads; "auto": free cores, at most as many as torch has.

    What torch has is seen when nothing computes: a new Python thread starts with the number that was set last anywhere.
    """
    with INSIDE.lock:
        INSIDE.before = INSIDE.before if INSIDE.count else torch.get_num_threads()
        INSIDE.count += 1
        before = INSIDE.before
    torch.set_num_threads(threads if isinstance(threads, int) else min(before, USE.free()))
    try:
        yield
    finally:
        with INSIDE.lock:
            INSIDE.count -= 1
            torch.set_num_threads(before)


@dataclass
class Inside:
    """The Python threads that are inside `computing`, and the number of threads that torch had before the first one."""

    lock: Lock = field(default_factory=Lock)
    count: int = 0
    before: int = 1


INSIDE = Inside()


def stepwise(threads: int | str, items: Iterator) -> Iterator:
    """The items of an iterator, each made inside `computing`."""
    while True:
        with computing(threads):
            item = next(items, None)
        if item is None:
            return
        yield item


def core_numbers() -> set[int]:
    """The cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def quota() -> float:
    """How many cores the container may use at a time: the quota of cgroups, version 2 or 1; infinite without one."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            most, period = " ".join((CGROUPS / file).read_text() for file in files).split()
            if float(most) > 0:
                return float(most) / float(period)
        except (OSError, ValueError):  # no such file, or "max": no quota
            continue
    return float("inf")


class Use:
    """How much of its cores other processes use, from one look to the next, at least `INTERVAL` seconds later."""

    def __init__(self) -> None:
        self.seen = self._look()
        self.others: float | None = None  # cores that others use

    def free(self) -> int:
        """The number of cores that are free for this process, at least 1."""
        cores = core_numbers()
        allowed = min(len(cores), quota())
        seen = self._look()
        if seen is None or self.seen is None:
            return max(1, int(allowed))
        if seen[0] - self.seen[0] >= INTERVAL:
            span, idle, own = (now - then for now, then in zip(seen, self.seen, strict=True))
            self.seen, self.others = seen, len(cores) - (idle + own) / span
        others = os.getloadavg()[0] if self.others is None else self.others
        return max(1, int(min(allowed, len(cores) - others + 0.5)))

    def _look(self) -> tuple[float, float, float] | None:
        """Seconds: now, in which the cores were idle, and that this process computed; None where that is not known."""
        names = {f"cpu{number}" for number in core_numbers()}
        try:
            lines = [line.split() for line in STAT.read_text().splitlines() if line.split()[:1][0] in names]
            idle = sum(int(line[4]) + int(line[5]) for line in lines) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None
        return time.monotonic(), idle, time.process_time()


USE = Use()
