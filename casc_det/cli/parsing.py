"""`key=value` words as values: by the types of a verb's options, or, for the scripts in tools/, as Python has them."""

import ast
import sys
from collections.abc import Callable
from typing import Any

from casc_det.cli.absent import ABSENT
from casc_det.cli.options import Option
from casc_det.cli.verbs import VERBS
from casc_det.errors import CascError, UsageError, nearest


def parse_value(text: str) -> Any:
    """A Python value where the text is one (numbers, lists, true, false, none), else the text itself."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, int | float | list | tuple) else text


def parse_pairs(words: list[str], option_of: Callable[[str], Option] | None = None) -> dict[str, Any]:
    """`key=value`, `--key value`, `--key=value` and a bare `--flag` (true) as a dictionary.

    Args:
        option_of: the `Option` of a key, whose type its value must have, or UsageError for a key that is unknown;
            without it, a value is what Python would read.

    Raises:
        UsageError: a word is no argument, a value is missing, or a key is given twice.
        ArgumentError: a value is not of the argument's type.
    """
    pairs: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        dashed = word.startswith("--")
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals and not dashed:
            raise UsageError(f"'{word}': expected key=value or --key value")
        key = key.replace("-", "_")
        option = option_of(key) if option_of else None
        if key in pairs:
            raise UsageError(f"{key}: given twice; give it once")
        bare = option is None or option.kind.bare
        if not equals and rest and not rest[0].startswith("--") and not (bare and "=" in rest[0]):
            text = rest.pop(0)
        elif not equals and bare:
            text = "true"
        elif not equals and option:
            raise UsageError(f"{key}: the value is missing; give {key}=<{option.kind.words}>")
        pairs[key] = option.kind.value(key, text, option.default is None) if option else parse_value(text)
    return pairs


def option_of(verb: str, key: str) -> Option:
    """The option of a verb, or UsageError with the nearest one."""
    spec = VERBS[verb]
    if key in spec.options:
        return spec.options[key]
    more = spec.more()
    if key in more:
        return more[key]
    if key in ABSENT and verb != "train":
        raise UsageError(f"{verb}: there is no '{key}' here: {ABSENT[key]}; see casc-det {verb} --help")
    hint = nearest(key, [*spec.options, *more])
    raise UsageError(f"{verb}: unknown argument '{key}'{hint}; see casc-det {verb} --help")


def script_options(words: list[str], doc: str | None, *needed: str) -> dict[str, Any]:
    """The arguments of a script in tools/, see `parse_pairs`; exits where one is missing, and for --help with `doc`."""
    if "--help" in words or "-h" in words:
        print((doc or "").strip())
        sys.exit(0)
    try:
        pairs = parse_pairs(words)
    except CascError as error:
        sys.exit(f"{error}; see --help")
    missing = [key for key in needed if key not in pairs]
    if missing:
        sys.exit(f"{missing[0]} is missing; see --help")
    return pairs
