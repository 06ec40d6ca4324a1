"""tools/kill_tests.py: what it calls damaged is damaged, and what is whole is not."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from casc_det.base.files import write_json
from casc_det.base.lines import append_lines

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(TOOLS))  # as where Python runs a script
    try:
        spec = importlib.util.spec_from_file_location("kill_tests", TOOLS / "kill_tests.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(TOOLS))


def test_half_written_files_are_found(tool, tmp_path):
    write_json(tmp_path / "a.json", {"x": list(range(100))})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    append_lines(tmp_path / "a.jsonl", [{"key": 1}, {"key": 2}])
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert tool.damaged_files(tmp_path, killed=False) == []
    for file in list(tmp_path.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(0.7 * len(whole))])
        cut = file.suffix == ".jsonl"  # a line that a SIGKILL cut short is mended by resume, that of others is not
        assert [name.split(":")[0] for name in tool.damaged_files(tmp_path, False)] == [file.name]
        assert [name.split(":")[0] for name in tool.damaged_files(tmp_path, True)] == ([] if cut else [file.name])
        file.write_bytes(whole)
    (tmp_path / ".x.1.tmp").write_text("half")
    assert tool.damaged_files(tmp_path, True) == [] and len(tool.damaged_files(tmp_path, False)) == 1


def test_a_predict_without_its_json_or_its_files_is_found(tool, tmp_path):
    assert tool.interrupted_predict(tmp_path) == tool.interrupted_predict(tmp_path / "none") == []
    (tmp_path / "a.jpg").write_bytes(b"")
    assert tool.interrupted_predict(tmp_path) == ["predict: no predictions.json"]
    results = [
        {"path": p, "saved": s} for p, s in (("a.png", "a.jpg"), ("b.png", "b.jpg"), ("c.png", None), ("d", None))
    ]
    write_json(tmp_path / "predictions.json", {"results": results, "interrupted": True})
    missing, unsaved = tool.interrupted_predict(tmp_path)
    assert "['b.jpg'] in predictions.json" in missing and "['c.png'] have no file" in unsaved
