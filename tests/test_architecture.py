"""Import boundaries, read from the source: every import statement, also those inside functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import casc_det

ROOT = Path(casc_det.__file__).parent
ROOMS = (  # in the order of the data; each imports only those before it
    *("errors", "base", "neurons", "graph", "conversion", "simulation", "heads", "show", "yolo", "evaluation", "api"),
    *("studies", "training", "prediction", "cli", "__main__"),
)
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


def test_ultralytics_is_imported_only_under_yolo_and_training():
    assert "yolo.trace" in users("ultralytics")
    assert [name for name in users("ultralytics") if name.split(".")[0] not in ("yolo", "training")] == []


@pytest.mark.parametrize(
    ("package", "places"),
    [
        ("cv2", {"show.images", "show.video", "yolo.stream", "yolo.video"}),
        ("matplotlib", {"show.figures", "evaluation.figures"}),
        ("pycocotools", {"evaluation.coco"}),
    ],
)
def test_package_is_imported_in_one_place(package, places):
    assert set(users(package)) == places


@pytest.mark.parametrize("package", ["pickle", "dill", "joblib", "shelve", "torch.hub"])
def test_package_is_imported_nowhere(package):
    assert users(package) == []


def upward(module: str, tree: ast.AST) -> list[str]:
    """What a module imports from rooms that come after its own."""
    rank = ROOMS.index(module.split(".")[0])
    own = {name.split(".")[1] for name in imports(tree) if name.startswith("casc_det.")} - {"__version__"}
    return sorted(room for room in own if ROOMS.index(room) > rank)


def test_every_file_is_in_a_room():
    assert {name.split(".")[0] for name in SOURCES} == {*ROOMS, "__init__"}


@pytest.mark.parametrize("module", [name for name in SOURCES if name != "__init__"])
def test_rooms_import_only_those_before_them(module):
    assert upward(module, SOURCES[module]) == []


def test_upward_imports_are_found():
    code = ast.parse("from casc_det.graph import Conv\ndef f():\n    from casc_det.simulation.fast import run")
    assert upward("neurons.rule", code) == ["graph", "simulation"] and upward("heads.x", code) == []


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_casc_det_and_its_errors_imports_no_large_package():
    large = "{'torch', 'numpy', 'ultralytics', 'cv2', 'matplotlib', 'pycocotools', 'numba'}"
    errors = "dir(casc_det); assert casc_det.errors.CascError is casc_det.CascError"
    run_python(f"import sys, casc_det; {errors}; assert not {large} & set(sys.modules)")
    run_python("import sys, casc_det; casc_det.simulate, casc_det.load; assert 'ultralytics' not in sys.modules")


def test_public_names_are_listed_and_are_what_their_modules_hold():
    from casc_det.api import SpikingYOLO
    from casc_det.evaluation.energy import EnergyModel
    from casc_det.graph import SpikingGraph
    from casc_det.graph.zoo import load
    from casc_det.neurons import cif_step, if_step, signed_if_step
    from casc_det.neurons.activation import CQReLU
    from casc_det.simulation import SimulationSettings, Simulator, simulate
    from casc_det.studies.run import study
    from casc_det.training.run import train
    from casc_det.yolo.convert import convert

    wanted = (SpikingYOLO, convert, train, study, simulate, SpikingGraph, CQReLU, cif_step, if_step, signed_if_step)
    wanted += (SimulationSettings, Simulator, EnergyModel)
    assert all(getattr(casc_det, thing.__name__) is thing for thing in wanted) and casc_det.load is load
    errors = {name: e for name, e in vars(casc_det.errors).items() if name.endswith("Error")}
    assert errors.keys() <= set(dir(casc_det)) and all(getattr(casc_det, name) is e for name, e in errors.items())
    assert {thing.__name__ for thing in wanted} | {"load"} <= set(dir(casc_det))
    assert dir(casc_det) == sorted(casc_det.__all__) and all(hasattr(casc_det, name) for name in dir(casc_det))


def test_unknown_names_are_no_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        casc_det.nothing  # noqa: B018


def test_functions_are_not_hidden_by_modules_of_their_name():
    names = "convert, load, simulate, study, train"
    run_python(
        f"import casc_det.cli.run, casc_det.studies.run, casc_det.training.run; from casc_det import {names}; "
        f"assert all(map(callable, ({names})))"
    )
