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
    ("rules",),
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


def test_importing_casc_det_imports_no_ultralytics():
    code = "import sys, casc_det; assert not {'ultralytics', 'cv2', 'matplotlib', 'pycocotools'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
