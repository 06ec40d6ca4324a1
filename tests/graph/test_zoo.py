"""Weights found by name, in the checkout, in the user's own folders, and on the command line."""

import json
from types import SimpleNamespace

import pytest
import torch
from fuzz_models import small_detector

import casc_det
from casc_det.cli.run import main
from casc_det.errors import WeightsError
from casc_det.graph import zoo
from casc_det.graph.file import fingerprint, load_graph, save_graph


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CASC_DET_WEIGHTS", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    (tmp_path / "cache" / "casc_det" / "weights").mkdir(parents=True)
    return tmp_path


def test_shipped_weights_have_names_and_the_default_is_among_them(own):
    entries = {entry.name: entry for entry in zoo.shipped()}
    assert zoo.DEFAULT in entries and zoo.find(None) == entries[zoo.DEFAULT].path
    for entry in entries.values():
        graph = load_graph(entry.path)
        assert (len(graph.names), graph.levels, graph.integer, graph.imgsz) == entry[2:6]


def test_own_folder_comes_before_cache_and_package(own):
    cached = own / "cache" / "casc_det" / "weights" / f"{zoo.DEFAULT}.safetensors"
    cached.write_bytes(b"cached")
    assert zoo.find(zoo.DEFAULT) == cached
    mine = own / "own" / f"{zoo.DEFAULT}.safetensors"
    mine.write_bytes(b"mine")
    assert zoo.find(zoo.DEFAULT) == mine
    assert zoo.DEFAULT not in [entry.name for entry in zoo.shipped()]  # no spiking graph in it


def test_damaged_files_are_no_named_weights_and_stop_nothing(own):
    entry = next(entry for entry in zoo.shipped() if entry.name == zoo.DEFAULT)
    whole = entry.path.read_bytes()
    text = json.dumps({"__metadata__": {"casc_det": "[" * 5000}}).encode()
    damaged = {
        "cut": whole[:1000],
        "long": (2**62).to_bytes(8, "little") + whole[8:],
        "deep": len(text).to_bytes(8, "little") + text,
        "levels": whole.replace(b'\\"levels\\": 16, \\"integer', b'\\"levels\\": "x", \\"integer'),
    }
    assert damaged["levels"] != whole
    for name, content in damaged.items():
        (own / "own" / f"{name}.safetensors").write_bytes(content)
    assert not damaged.keys() & {entry.name for entry in zoo.shipped()}
    for name in damaged:
        with pytest.raises(WeightsError) as caught:
            load_graph(zoo.find(name))
        assert "\n" not in str(caught.value)


def test_paths_stay_paths_and_unknown_names_are_told(own):
    assert str(zoo.find("some/folder/x.safetensors")) == "some/folder/x.safetensors"
    with pytest.raises(WeightsError, match="did you mean 'yolov8n-cq16'.*casc-det models"):
        zoo.find("yolov8n-cq1")


def test_weights_of_an_installed_package_are_found(tmp_path, monkeypatch):
    file = zoo.metadata.PackagePath("../share/casc_det/weights/a.safetensors")
    file.dist = SimpleNamespace(locate_file=lambda path: tmp_path / "site" / path)
    monkeypatch.setattr(zoo.metadata, "files", lambda name: [file])
    assert zoo.installed_folders() == [tmp_path.resolve() / "share" / "casc_det" / "weights"]


def test_models_and_info_by_name(own, capsys):
    assert main(["models"]) == 0
    assert f"{zoo.DEFAULT} " in capsys.readouterr().out
    assert main(["models", "json=true"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert all(len(entry["sha256"]) == 64 for entry in listed)
    assert main(["info", f"weights={zoo.DEFAULT}", "imgsz=64"]) == 0
    assert "levels             16" in capsys.readouterr().out
    for wrong in ("33", "0", "-32", "99999999"):
        assert main(["info", f"weights={zoo.DEFAULT}", f"imgsz={wrong}"]) == 1
        assert "imgsz: expected a multiple of 32" in capsys.readouterr().err
    assert main(["info", "weights=nonesuch"]) == 1
    assert capsys.readouterr().err.startswith("casc-det: weights: 'nonesuch'")


def test_one_changed_byte_of_the_default_weights_is_refused(tmp_path):
    data = bytearray(zoo.find(None).read_bytes())
    for place in (len(data) // 2, len(data) - 1):
        data[place] ^= 255
        (tmp_path / "changed.safetensors").write_bytes(data)
        data[place] ^= 255
        with pytest.raises(WeightsError, match="damaged"):
            load_graph(tmp_path / "changed.safetensors")


def test_the_public_load_takes_names_and_paths(own):
    path = save_graph(small_detector(), own / "own" / "mine.safetensors")
    by_name, by_path = casc_det.load("mine"), casc_det.load(str(path))
    assert fingerprint(by_name) == fingerprint(by_path) == fingerprint(load_graph(path))
    assert by_name.dtype == torch.float32 and casc_det.load("mine", torch.float64).dtype == torch.float64
    assert casc_det.load("yolov8n-cq8").levels == 8 and casc_det.load().levels == 16
    with pytest.raises(WeightsError, match="^weights: 'mime' is neither .*did you mean 'mine'"):
        casc_det.load("mime")
