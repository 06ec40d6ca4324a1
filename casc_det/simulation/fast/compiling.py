"""Loops that numba compiles: whether there are any, with how many threads they run, where their code is kept.

A loop and the functions it calls stand in one file: numba keeps compiled code until the loop's own file changes, and
knows nothing of others. Whatever has a compiled form does without it where numba is missing.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from threading import Lock
from typing import Any

import torch

from casc_det.base.caches import temporary_folder

try:
    import numba
    from numba.core import event
except ImportError:  # plain torch
    numba = None  # type: ignore[assignment]

LOCK = Lock()
prange = range if numba is None else numba.prange


def compiled(device: torch.device) -> bool:
    """Whether the loops are compiled for tensors of this device."""
    return numba is not None and device.type == "cpu"


def follow_threads() -> None:
    """Let the compiled loops use as many threads as torch, and torch keep its number, which numba's start changes."""
    if numba is not None:
        threads = torch.get_num_threads()
        config: Any = numba.config
        numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
        torch.set_num_threads(threads)


def run_loop(loop: Callable[..., None], *arguments: Any) -> None:
    """Call a function of `compile_loop`."""
    _say_compiling()
    with nullcontext() if _any_thread() else LOCK:
        try:
            loop(*arguments)
        except OSError:  # it is compiled, but could not be kept: the disk is full; it has not begun
            loop(*arguments)


def compile_loop(function: Callable) -> Callable:
    """Decorator: `function` compiled, its `prange` in parallel, at its first call."""
    return function if numba is None else compile_cached(function, parallel=True)


def compile_part(function: Callable) -> Callable:
    """Decorator of a function that compiled loops call: it is compiled into each of them."""
    return function if numba is None else numba.njit(function)


def inlined(function: Callable) -> Callable:
    """Decorator of a small function in the inner loops of compiled ones: `compile_part` where a call would cost."""
    return function if numba is None else numba.njit(function, inline="always")


def compile_cached(function: Callable, parallel: bool = False) -> Callable:
    """`numba.njit` that keeps the compiled code where it can: beside the source or in the user's cache folder (as numba
    does), else in the temporary folder, else nowhere."""
    config: Any = numba.config
    try:
        return numba.njit(function, cache=True, parallel=parallel)
    except RuntimeError:  # numba: no locator available
        given, config.CACHE_DIR = config.CACHE_DIR, temporary_folder("numba") or ""
    try:
        return numba.njit(function, cache=True, parallel=parallel)
    except RuntimeError:
        return numba.njit(function, parallel=parallel)
    finally:
        config.CACHE_DIR = given


@cache
def _any_thread() -> bool:
    """Whether several Python threads may be in compiled loops at a time.

    Numba's threading layer "workqueue", which it takes where it finds neither OpenMP nor TBB, ends the process then.
    """
    with LOCK:
        threads = torch.get_num_threads()
        numba.get_num_threads()  # starts the layer
        torch.set_num_threads(threads)
        return numba.threading_layer() in ("omp", "tbb")


@cache
def _say_compiling() -> None:
    """From now on say on stderr, once a process, that loops of this package are compiled, which is silent and slow."""
    said: list[bool] = []

    def begins(started: Any) -> None:
        if not said and started.data["dispatcher"].py_func.__module__.startswith(__package__):
            said.append(True)
            note = "compiling the loops of the fast engine, once for each kind of run; this can take a minute"
            print(f"note: {note}", file=sys.stderr)

    class Listener(event.Listener):
        on_start, on_end = staticmethod(begins), staticmethod(lambda ended: None)

    event.register("numba:compile", Listener())
