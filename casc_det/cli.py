"""The command line `casc-det VERB key=value ...` (or `--key value`): parses, calls one function, sets the exit code.

Exit codes: 0 done, 1 an argument, file or network cannot work, 2 wrong usage, 130 interrupted.
"""

import ast
import dataclasses
import os
import sys

from casc_det import __version__
from casc_det.errors import CascError, UsageError, nearest
from casc_det.verbs import REQUIRED, VERBS, Verb


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


def parse_pairs(words: list[str]) -> dict[str, object]:
    """`key=value`, `--key value`, `--key=value` and a bare `--flag` (true) as a dictionary."""
    pairs, i = {}, 0
    while i < len(words):
        word = words[i]
        dashed = word.startswith("--")
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals and dashed and i + 1 < len(words) and not words[i + 1].startswith("--"):
            i += 1
            text = words[i]
        elif not equals and dashed:
            text = "true"
        elif not equals:
            raise UsageError(f"'{word}': expected key=value or --key value")
        key = key.replace("-", "_")
        if key in pairs:
            raise UsageError(f"{key}: given twice; give it once")
        pairs[key] = parse_value(text)
        i += 1
    return pairs


def check_keys(pairs: dict, verb: str, spec: Verb) -> None:
    known = [*spec.options, *spec.more]
    for key in pairs:
        if key not in known:
            hint = " (did you mean 'weights'?)" if key == "model" else nearest(key, known)
            raise UsageError(f"{verb}: unknown argument '{key}'{hint}; see casc-det {verb} --help")


def train_keys() -> frozenset[str]:
    from casc_det.yolo.train import TRAIN_KEYS

    return frozenset(TRAIN_KEYS)


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
        lines.append(f"  {key:<12} {option.help}{default}")
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
    spec, pairs = VERBS[name], parse_pairs(rest)
    unknown = [key for key in pairs if key not in spec.options]
    if unknown and name == "train":
        spec = dataclasses.replace(spec, more=train_keys())
    check_keys(pairs, name, spec)
    options = {key: option.default for key, option in spec.options.items()} | pairs
    missing = [key for key, value in options.items() if value is REQUIRED]
    if missing:
        raise UsageError(f"{name}: {missing[0]} is missing; for example: {spec.example}")
    return spec.run(options)


def main(argv: list[str] | None = None) -> int:
    try:
        return dispatch(sys.argv[1:] if argv is None else argv)
    except CascError as error:
        print(f"casc-det: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"casc-det: '{error.filename}' cannot be read or written ({error.strerror})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("casc-det: interrupted", file=sys.stderr)
        return 130
