"""The command line `casc-det VERB key=value ...` (or `--key value`): parses, calls one function, sets the exit code.

Exit codes: 0 done, 1 an argument, file or network cannot work, 2 wrong usage, 128 + n ended by signal n (Ctrl-C: 130,
SIGTERM: 143, SIGHUP: 129): what was done until then is written.
"""

import io
import os
import sys
from functools import partial

from casc_det import __version__
from casc_det.base.terminal import printable, screened
from casc_det.cli.help import overview, verb_help
from casc_det.cli.options import REQUIRED
from casc_det.cli.parsing import option_of, parse_pairs
from casc_det.cli.signals import signals_as_interrupts
from casc_det.cli.verbs import VERBS
from casc_det.errors import CascError, UsageError, nearest, one_line


def main(argv: list[str] | None = None) -> int:
    """Run a command line, by default that of the process, and give its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8, a file name that is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with signals_as_interrupts() as came, screened():
        code = run(sys.argv[1:] if argv is None else argv)
    return 128 + came[0] if came else code


def run(words: list[str]) -> int:
    """`dispatch`, with every error that can be expected as one line on stderr and an exit code."""
    try:
        return dispatch(words)
    except CascError as error:
        print(f"casc-det: {printable(one_line(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        what = f"'{printable(error.filename)}' cannot" if error.filename else "a file cannot"
        print(f"casc-det: {what} be read or written ({error.strerror or error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        remedy = getattr(error, "remedy", "")  # what is done, and how to go on
        text = f"interrupted{f' ({error})' if str(error) else ''}{f'; {remedy}' if remedy else ''}"
        print(printable(f"casc-det: {text}"), file=sys.stderr)
        return 130


def dispatch(words: list[str]) -> int:
    """Do what a command line says.

    Raises:
        UsageError: it has no such verb or argument, or one is missing.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        print(f"casc-det {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in VERBS:
        raise UsageError(f"unknown verb '{name}'{nearest(name, VERBS)}; verbs are {', '.join(VERBS)}")
    if "--help" in rest or "-h" in rest:
        print(verb_help(name))
        return 0
    verb, pairs = VERBS[name], parse_pairs(rest, partial(option_of, name))
    options = {key: option.default for key, option in verb.options.items()} | pairs
    missing = [key for key, value in options.items() if value is REQUIRED]
    if missing:
        raise UsageError(f"{name}: {missing[0]} is missing; for example: {verb.example}")
    return verb.run(options)
