"""Every shell command in a page: its verb, keys and values are known to the command line, its script to tools/."""

import ast
import re
import shlex
from functools import partial

import pytest
from update_tables import ROOT, pages

from casc_det.cli.options import REQUIRED
from casc_det.cli.parsing import option_of, parse_pairs
from casc_det.cli.verbs import VERBS
from casc_det.errors import CascError

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:casc-det|python|torchrun) [^`\n]+)`")


def commands(text: str) -> list[tuple[list[str], bool]]:
    """The words of each command of a page, and whether it is to be typed (bash blocks) or mentioned (inline code)."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    found = [(shlex.split(part, comments=True), True) for line in lines for part in line.split("&&")]
    found += [(shlex.split(part), False) for part in INLINE.findall(text)]
    return [(words, typed) for words, typed in found if words]


def check_verb(verb: str, words: list[str], typed: bool) -> None:
    pairs = parse_pairs(words, partial(option_of, verb))
    missing = [key for key, option in VERBS[verb].options.items() if option.default is REQUIRED and key not in pairs]
    assert not (typed and missing), f"{verb} lacks {missing}"


def check_script(name: str, words: list[str], typed: bool) -> None:
    """Hold a command against the usage in its script's docstring, where optional arguments stand in brackets."""
    text = ast.get_docstring(ast.parse((ROOT / "tools" / name).read_text()))
    usage = text[text.index(f"python tools/{name}") :].split("\n\n")[0]
    required = re.findall(r"(\w+)=", re.sub(r"\[[^]]*\]", "", usage))
    given = parse_pairs(words)
    assert not typed or set(required) <= set(given), f"{name} lacks {set(required) - set(given)}"
    for key in given.keys() - set(re.findall(r"(\w+)=", usage)):
        assert "other argument of train" in usage and option_of("train", key), f"{name} has no {key}="


def check(words: list[str], typed: bool = True) -> None:
    """Raise AssertionError or CascError where a command of a page could not be typed."""
    shipped = [path for word in words for path in re.findall(r"(?:weights|data)/[\w-]+\.(?:safetensors|yaml)", word)]
    assert all((ROOT / path).is_file() for path in shipped), f"{shipped} are not all there"
    match words:
        case ["casc-det", "VERB", *_] | ["python", "tools/NAME.py", *_] if not typed:
            pass
        case ["casc-det", verb, *rest] if verb in VERBS:
            check_verb(verb, rest, typed)
        case ["torchrun", "--nproc-per-node=2", "-m", "casc_det", *rest]:
            check(["casc-det", *rest])
        case ["python", script, *rest] if re.fullmatch(r"tools/\w+\.py", script):
            check_script(script.removeprefix("tools/"), rest, typed)
        case ["python", "-m", "pip", "install", *_] | ["python", "-m", "pytest", *_] | ["python", "-m", "casc_det"]:
            pass
        case _:
            raise AssertionError(f"no command that is known here: {words}")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_typed(page):
    for words, typed in commands(page.read_text()):
        check(words, typed)


def test_pages_have_commands():
    assert sum(len(commands(page.read_text())) for page in pages()) > 40


@pytest.mark.parametrize(
    "text",
    [
        "casc-det predct source=a.jpg",
        "casc-det predict",
        "casc-det predict source=a.jpg tiemsteps=8",
        "casc-det predict source=a.jpg conf=high",
        "torchrun --nproc-per-node=2 -m casc_det val timesteps=8",
        "python tools/nothing.py",
        "python tools/make_tiny.py outt=x",
        "python tools/check_exactness.py limit=20",
        "casc-det info weights=weights/none.safetensors",
        "casc-det-x",
    ],
)
def test_wrong_commands_are_found(text):
    page = f"Text.\n\n```bash\npython -m pytest && {text}  # comment\n```\n"
    with pytest.raises((AssertionError, CascError, OSError)):
        for words, typed in commands(page):
            check(words, typed)
