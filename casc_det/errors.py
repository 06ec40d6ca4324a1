"""Every error that casc_det raises on purpose.

    CascError
    |-- UsageError           the command line is wrong (exit code 2)
    |-- ArgumentError        an argument has a value that cannot work (also a ValueError)
    |-- SourceError          an image, video, folder or data set cannot be read
    |-- OutputError          a file cannot be written: full disk, size limit, no permission (also an OSError)
    |-- WeightsError         a weights file is missing, damaged or of another kind
    |-- ConversionError      an op of the network has no spiking counterpart
    `-- TrainingError        a training cannot go on: its gradients are not finite

Each message is one line: the argument, what was expected, what came, what to do.
"""

import difflib
from collections.abc import Iterable


class CascError(Exception):
    """Base class: the command line prints it in one line and exits with code 1."""

    exit_code = 1


class UsageError(CascError):
    """The command line is wrong."""

    exit_code = 2


class ArgumentError(CascError, ValueError):
    """An argument has a value that cannot work."""


class SourceError(CascError):
    """An image, video, folder or data set cannot be read."""


class OutputError(CascError, OSError):
    """A file cannot be written."""

    @classmethod
    def of(cls, path: object, error: OSError) -> "OutputError":
        """The error of a file that could not be written, with the system's reason."""
        return cls(f"'{path}' cannot be written ({error.strerror or error})")


class WeightsError(CascError):
    """A weights file is missing, damaged or of another kind."""


class ConversionError(CascError):
    """An op of the network has no spiking counterpart, or cannot be computed exactly."""


class TrainingError(CascError):
    """A training cannot go on."""


def one_line(text: object, most: int | None = None) -> str:
    """A text, or what an error says, in one line of at most so many characters."""
    return " ".join(str(text).split())[:most]


def in_words(error: BaseException, most: int = 200) -> str:
    """An error of others in one line: its type and what it says."""
    return one_line(f"{type(error).__name__}: {error}", most)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
