"""The command line `casc-det VERB key=value ...` (or `--key value`): parses, calls one function, sets the exit code.

Exit codes: 0 done, 1 an argument, file or network cannot work, 2 wrong usage, 128 + n ended by signal n (Ctrl-C: 130,
SIGTERM: 143, SIGHUP: 129): what was done until then is written.
"""

import ast
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from casc_det import __version__
from casc_det.base.terminal import printable, screened
from casc_det.cli.verbs import ABSENT, REQUIRED, VERBS, Option
from casc_det.errors import CascError, UsageError, nearest


def parse_value(text: str):
    """A Python value where the text is one (numbers, lists, true, false, none), else the text itself."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, int | float | list | tuple) else text


def parse_pairs(words: list[str], option_of: Callable[[str], Option | None] = lambda key: None) -> dict[str, object]:
    """`key=value`, `--key value`, `--key=value` and a bare `--flag` (true) as a dictionary.

    Args:
        option_of: the `Option` of a key, whose type its value must have; where it is None, a value is what Python
            would read (the scripts in tools/). Raises UsageError for a key that is unknown.

    Raises:
        UsageError: a word is no argument, a value is missing, or a key is given twice.
        ArgumentError: a value is not of the argument's type.
    """
    pairs, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        dashed = word.startswith("--")
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals and not dashed:
            raise UsageError(f"'{word}': expected key=value or --key value")
        key = key.replace("-", "_")
        option = option_of(key)
        if key in pairs:
            raise UsageError(f"{key}: given twice; give it once")
        bare = option is None or option.kind.bare
        if not equals and rest and not rest[0].startswith("--") and not (bare and "=" in rest[0]):
            text = rest.pop(0)
        elif not equals and bare:
            text = "true"
        elif not equals:
            raise UsageError(f"{key}: the value is missing; give {key}=<{option.kind.words}>")
        pairs[key] = parse_value(text) if option is None else option.kind.value(key, text, option.default is None)
    return pairs


def script_options(words: list[str], doc: str, *needed: str) -> dict[str, object]:
    """The arguments of a script in tools/, see `parse_pairs`; exits where one is missing, and for --help with `doc`."""
    if "--help" in words or "-h" in words:
        print(doc.strip())
        sys.exit(0)
    try:
        pairs = parse_pairs(words)
    except CascError as error:
        sys.exit(f"{error}; see --help")
    missing = [key for key in needed if key not in pairs]
    if missing:
        sys.exit(f"{missing[0]} is missing; see --help")
    return pairs


def option_of(verb: str, key: str) -> Option:
    """The option of a verb, or UsageError with the nearest one."""
    spec = VERBS[verb]
    option = spec.options.get(key)
    if option is None:
        more = spec.more()
        if key not in more:
            if key in ABSENT and verb != "train":
                raise UsageError(f"{verb}: there is no '{key}' here: {ABSENT[key]}; see casc-det {verb} --help")
            hint = nearest(key, [*spec.options, *more])
            raise UsageError(f"{verb}: unknown argument '{key}'{hint}; see casc-det {verb} --help")
        option = more[key]
    return option


def overview() -> str:
    lines = [
        "casc-det: YOLO detectors as spiking networks, converted without loss",
        "",
        "usage: casc-det VERB key=value ...",
        "",
    ]
    lines += [f"  {name:<9} {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "casc-det VERB --help lists a verb's arguments; casc-det --version."])


def verb_help(name: str) -> str:
    verb = VERBS[name]
    lines = [f"casc-det {name}: {verb.summary}", "", f"  {verb.example}", ""]
    for key, option in verb.options.items():
        default = (
            " (required)" if option.default is REQUIRED else "" if option.default is None else f" [{option.default}]"
        )
        lines.append(f"  {key:<12} {option.help} ({option.kind.words}){default}")
    return "\n".join(lines + ([f"  {verb.more_help}"] if verb.more_help else []))


def dispatch(words: list[str]) -> int:
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
    spec, pairs = VERBS[name], parse_pairs(rest, partial(option_of, name))
    options = {key: option.default for key, option in spec.options.items()} | pairs
    missing = [key for key, value in options.items() if value is REQUIRED]
    if missing:
        raise UsageError(f"{name}: {missing[0]} is missing; for example: {spec.example}")
    return spec.run(options)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends the work as Ctrl-C does."""


def compiling(frame) -> bool:
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

    def handle(number, frame):
        if number == signal.SIGINT or not came:
            came.extend([number] if number != signal.SIGINT else [])
            again(number, frame)

    def again(number, frame):
        if compiling(frame) and signal.getsignal(signal.SIGALRM) is again:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            raise Terminated(signal.Signals(came[0]).name) if came else KeyboardInterrupt

    def lost(unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            hook(unraisable)

    handlers = {"SIGTERM": handle, "SIGHUP": handle, "SIGINT": handle, "SIGALRM": again}
    free = (signal.SIG_DFL, signal.default_int_handler)
    before, hook = {}, sys.unraisablehook
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        numbers = {getattr(signal, name): handler for name, handler in handlers.items()}
        default = {number: handler for number, handler in numbers.items() if signal.getsignal(number) in free}
        before = {number: signal.signal(number, handler) for number, handler in default.items()}
    if before.get(getattr(signal, "SIGALRM", None)) is not None:
        sys.unraisablehook = lost
    try:
        yield came
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8, a file name that is no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with signals_as_interrupts() as came, screened():
        code = run(sys.argv[1:] if argv is None else argv)
    return 128 + came[0] if came else code


def run(words: list[str]) -> int:
    """`dispatch`, with every error that can be expected as one line on stderr and an exit code."""
    try:
        return dispatch(words)
    except CascError as error:
        print(f"casc-det: {printable(' '.join(str(error).split()))}", file=sys.stderr)
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
