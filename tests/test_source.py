"""What the source of every function keeps to: length, depth, number of parameters, names."""

import ast
import re
from collections.abc import Iterator

import pytest
from test_architecture import ROOT

LINES, DEPTH, PARAMETERS = 60, 5, 8
DROP_IN = {"api.SpikingYOLO.predict", "api.SpikingYOLO.val", "training.run.train"}  # take what Ultralytics' take
WORDS = {"it", "still", "hot", "fan", "passed"}  # say nothing
CLASSES = {"Train"}  # a signal is no training
MARK = re.compile(r"# (long|deep): \S+ \S+")  # with the reason, in the head of a function
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in sorted(ROOT.rglob("*.py"))
}


def functions(tree: ast.AST, name: str, public: bool = True) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """Full name and node of every function, and whether it is public: neither private nor inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            path, seen = f"{name}.{node.name}", public and (node.name[0] != "_" or node.name == "__init__")
            if isinstance(node, ast.FunctionDef):
                yield path, node, seen
                seen = False
            yield from functions(node, path, seen)
        else:
            yield from functions(node, name, public)


def depth(node: ast.AST) -> int:
    """How deep blocks lie in each other; `elif` is no deeper than its `if`, functions inside are not looked into."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not chained))
    return deepest


def faults(name: str, source: str) -> list[str]:
    """What the functions of a module break, one line each."""
    found, lines, tree = [], source.splitlines(), ast.parse(source)
    for path, node, public in functions(tree, name):
        head = "\n".join(lines[node.lineno - 1 : node.body[0].lineno])
        marks = {match[1] for match in MARK.finditer(head)}
        broken = {"long": node.end_lineno - node.lineno >= LINES, "deep": depth(node) > DEPTH}
        found += [f"{path}: {what}, say why with # {what}:" for what in broken if broken[what] and what not in marks]
        found += [f"{path}: # {what}: is not needed" for what in marks if not broken[what]]
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([argument for argument in given if argument.arg not in ("self", "cls")])
        if public and path not in DROP_IN and count > PARAMETERS:
            found.append(f"{path}: {count} parameters")
    return found + [f"{name}: '{word}' says nothing" for word in sorted(bound(tree)) if word.strip("_") in WORDS]


def bound(tree: ast.AST) -> set[str]:
    """Every name that a module gives: variables, attributes, arguments, functions, classes (those that say less)."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize("module", FILES)
def test_functions_are_short_and_flat_and_take_few_parameters(module):
    assert faults(module, FILES[module]) == []


def test_no_class_has_a_name_that_means_two_things():
    assert [module for module, source in FILES.items() if CLASSES & bound(ast.parse(source))] == []


def nested(levels: int) -> str:
    return "".join("    " * i + "if x:\n" for i in range(1, levels + 1)) + "    " * (levels + 1) + "pass\n"


CHAIN = "    if x:\n        pass\n" + "    elif x:\n        pass\n" * 9
GIVEN = ", ".join(f"a{i}" for i in range(8))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n" + "    x = 1\n" * 60, "m.f: long, say why with # long:"),
        ("def f():\n" + "    x = 1\n" * 59, None),
        ("def f():  # long: one table\n" + "    x = 1\n" * 60, None),
        ("def f():  # long: one\n" + "    x = 1\n" * 60, "m.f: long, say why with # long:"),
        ("def f():  # deep: one table\n    x = 1", "m.f: # deep: is not needed"),
        ("def f(x):\n" + nested(6), "m.f: deep, say why with # deep:"),
        ("def f(\n    x,  # deep: compiled, no calls\n):\n" + nested(6), None),
        ("def f(x):\n" + nested(5), None),
        ("def f(x):\n" + CHAIN, None),
        (f"def f({GIVEN}, b): pass", "m.f: 9 parameters"),
        (f"class A:\n    def __init__(self, {GIVEN}, *, b): pass", "m.A.__init__: 9 parameters"),
        (f"class A:\n    def f(self, {GIVEN}): pass", None),
        (f"def _f({GIVEN}, b): pass\ndef g():\n    def h({GIVEN}, b): pass", None),
        *((code, "m: 'it' says nothing") for code in ("it = 1", "x.it = 1", "def f(it): pass", "def it(): pass")),
        ("for _still in x: pass", "m: '_still' says nothing"),
        ("def f(): return x.fan + hotel", None),
    ],
)
def test_each_fault_is_found(source, fault):
    assert faults("m", source) == ([fault] if fault else [])


def test_forbidden_classes_are_found():
    assert CLASSES & bound(ast.parse("class Train: pass")) and not CLASSES & bound(ast.parse("class Trainer: pass"))
