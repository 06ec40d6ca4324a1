"""The table of training's arguments: complete, checked, and read without waiting for torch or Ultralytics."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import casc_det.training
from casc_det.errors import ArgumentError
from casc_det.training.arguments import OWN, SHARED, train_kinds
from casc_det.training.run import train

BOUNDED = {"progressive": 1.5, "fake_int8": 1.01, "clip_lr": -1, "norm_lr": "fast", "features": -0.1, "sparsity": True}


def test_the_table_needs_no_large_package():
    large = "{'torch', 'numpy', 'ultralytics'}"
    code = f"import sys, casc_det.training.arguments; assert not {large} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_own_arguments_are_not_ultralytics():
    kinds = train_kinds()
    assert not OWN.keys() & kinds.keys() and SHARED.keys() <= kinds.keys()


@pytest.mark.parametrize(("name", "value"), BOUNDED.items())
def test_numbers_out_of_their_bounds_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}: expected a number (from 0 to 1|of at least 0), got {value!r}"):
        train(model="yolov8n.yaml", data="d.yaml", **{name: value})
    assert {key for key, argument in OWN.items() if argument.largest is not None} == BOUNDED.keys()


def imported(tree: ast.AST) -> list[str]:
    """The top of each package that a module imports, casc_det.yolo as itself, in the order of its lines."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [n.names[0].name if isinstance(n, ast.Import) else n.module for n in sorted(found, key=lambda n: n.lineno)]
    return [name if name == "casc_det.yolo" else name.partition(".")[0] for name in names]


@pytest.mark.parametrize("file", sorted(Path(casc_det.training.__file__).parent.rglob("*.py")), ids=lambda f: f.stem)
def test_ultralytics_is_prepared_before_it_is_imported(file):
    names = imported(ast.parse(file.read_text()))
    assert "ultralytics" not in names or names.index("casc_det.yolo") < names.index("ultralytics")
