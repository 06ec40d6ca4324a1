"""Signals that end the command line, as exceptions, so that what was done until then can be written."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SOON = 0.01  # seconds after which an exception that could not be raised is raised again


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends the work as Ctrl-C does."""


def compiling(frame: FrameType | None) -> bool:
    """Whether a frame runs inside numba or LLVM, whose callbacks must not be left by an exception."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("numba", "llvmlite"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def signals_as_interrupts() -> Iterator[list[int]]:
    """Raise `Terminated` at the first SIGTERM or SIGHUP and ignore later ones, so that what is done can be written.

    Compilation is not interrupted, Ctrl-C included: the exception comes after it. An exception that comes up inside a
    callback or a destructor is lost: it is raised again a moment later. A signal that is ignored (nohup) or handled by
    someone else stays so. Yields a list that holds the signal that came.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT or not came:
            came.extend([number] if number != signal.SIGINT else [])
            again(number, frame)

    def again(number: int, frame: FrameType | None) -> None:
        if compiling(frame) and signal.getsignal(signal.SIGALRM) is again:
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            raise Terminated(signal.Signals(came[0]).name) if came else KeyboardInterrupt

    def lost(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            hook(unraisable)

    handlers = {"SIGTERM": handle, "SIGHUP": handle, "SIGINT": handle, "SIGALRM": again}
    free = (signal.SIG_DFL, signal.default_int_handler)
    before: dict[int, Any] = {}
    hook = sys.unraisablehook
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        numbers = {getattr(signal, name): handler for name, handler in handlers.items()}
        default = {number: handler for number, handler in numbers.items() if signal.getsignal(number) in free}
        before = {number: signal.signal(number, handler) for number, handler in default.items()}
    if before.get(getattr(signal, "SIGALRM", -1)) is not None:
        sys.unraisablehook = lost
    try:
        yield came
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
