"""Import boundaries, read from the source: every import statement, also those inside functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import casc_det

ROOT = Path(casc_det.__file__).parent
LAYERS = (
    ("errors",),
    ("arguments", "rules"),
    ("activation", "caches", "files", "graph", "nms", "terminal"),
    ("neurons", "ops"),
    ("schedule",),
    ("ann", "conversion", "decode", "integer"),
    ("validate",),
    ("storage",),
    ("engine",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(tree: ast.AST) -> set[str]:
    """Full names of everything a module imports; `from a import b` counts as `a` and `a.b`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def users(package: str) -> list[str]:
    """The modules of casc_det that import a package or a part of it."""
    return [name for name, tree in SOURCES.items() if any(f"{i}.".startswith(f"{package}.") for i in imports(tree))]


def test_imports_finds_every_kind():
    code = "import a.b\nfrom c import d\ndef f():\n    import e as g\nif 1:\n    from h.i import *"
    assert imports(ast.parse(code)) == {"a.b", "c", "c.d", "e", "h.i", "h.i.*"}


def test_ultralytics_is_imported_only_under_yolo():
    assert "yolo.capture" in users("ultralytics")
    assert [name for name in users("ultralytics") if not name.startswith("yolo.")] == []


@pytest.mark.parametrize(
    ("package", "places"), [("cv2", {"draw", "video"}), ("matplotlib", None), ("pycocotools", None)]
)
def test_package_is_imported_in_one_place(package, places):
    assert set(users(package)) == places if places else len(users(package)) <= 1


@pytest.mark.parametrize("package", ["pickle", "dill", "joblib", "shelve", "torch.hub"])
def test_package_is_imported_nowhere(package):
    assert users(package) == []


@pytest.mark.parametrize("module", [name for name in SOURCES if name.split(".")[0] in RANK])
def test_core_imports_lower_layers_only(module):
    top = module.split(".")[0]
    own = {name.split(".")[1] for name in imports(SOURCES[module]) if name.startswith("casc_det.")} - {top}
    assert [name for name in own if RANK.get(name, len(LAYERS)) >= RANK[top]] == []


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_casc_det_and_its_errors_imports_no_large_package():
    large = "{'torch', 'numpy', 'ultralytics', 'cv2', 'matplotlib', 'pycocotools', 'numba'}"
    errors = "dir(casc_det); assert casc_det.errors.CascError is casc_det.CascError"
    run_python(f"import sys, casc_det; {errors}; assert not {large} & set(sys.modules)")
    run_python("import sys, casc_det; casc_det.simulate, casc_det.load; assert 'ultralytics' not in sys.modules")


def test_public_names_are_listed_and_are_what_their_modules_hold():
    from casc_det.activation import CQReLU
    from casc_det.converter import convert
    from casc_det.engine import simulate
    from casc_det.graph import SpikingGraph
    from casc_det.model import SpikingYOLO
    from casc_det.neurons import cif_step, if_step, signed_if_step
    from casc_det.storage import load_graph
    from casc_det.yolo.train import train

    wanted = (SpikingYOLO, convert, train, simulate, SpikingGraph, CQReLU, cif_step, if_step, signed_if_step)
    assert all(getattr(casc_det, thing.__name__) is thing for thing in wanted) and casc_det.load is load_graph
    errors = {name: e for name, e in vars(casc_det.errors).items() if isinstance(e, type)}
    assert errors.keys() <= set(dir(casc_det)) and all(getattr(casc_det, name) is e for name, e in errors.items())
    assert {thing.__name__ for thing in wanted} | {"load", "study"} <= set(dir(casc_det))
    assert dir(casc_det) == sorted(casc_det.__all__) and all(hasattr(casc_det, name) for name in dir(casc_det))


def test_unknown_names_are_no_attributes():
    for module in (casc_det, casc_det.study):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            module.nothing  # noqa: B018


@pytest.mark.parametrize("first", ["casc_det.study", "casc_det.study.run"])
def test_study_is_the_package_and_its_function_whatever_was_imported_before(first):
    run_python(
        f"import {first}, types, casc_det; from casc_det.study import study; "
        "from casc_det.study.run import study as s; "
        "assert study is s and isinstance(casc_det.study, types.ModuleType) and casc_det.study.study is s"
    )
