"""Only the same run goes on in a folder; what is damaged there is made again."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import float_yolo
from PIL import Image
from runs import STUDY, VAL, change_weight, fails, numbers, words
from safetensors.torch import save_file

from casc_det.cli.run import main
from casc_det.graph.file import load_graph, save_graph


def change_name(place):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = ["dog", "cat"]
    save_graph(graph, place / "net.safetensors")


def change_box(place):
    content = json.loads((place / "data.json").read_text())
    content["annotations"][1]["bbox"][2] += 1
    (place / "data.json").write_text(json.dumps(content))


def change_crowd(place):
    content = json.loads((place / "data.json").read_text())
    content["annotations"][2]["iscrowd"] = 1
    (place / "data.json").write_text(json.dumps(content))


def change_image(place):
    """One pixel; size and time of the file stay."""
    file = place / "images" / "1.png"
    values = np.asarray(Image.open(file)).copy()
    values[5, 5] ^= 1
    before = file.stat()
    Image.fromarray(values).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    change_weight: "weights=",
    change_name: "weights=",
    change_box: "other objects, classes or image sizes (data=",
    change_crowd: "other objects, classes or image sizes (data=",
    change_image: "other content of its image files",
}


@pytest.mark.parametrize("verb", ["val", "study"])
def test_a_run_goes_on_with_the_same_content_only(place, no_figures, tmp_path_factory, capsys, verb):
    assert main(words(place, verb, "name=a")) == 0
    whole, folder = numbers(place / "runs" / "a"), place / "runs" / "a"
    kept = tmp_path_factory.mktemp("kept")
    shutil.copytree(place, kept, dirs_exist_ok=True)
    for change, message in CHANGES.items():
        change(place)
        error = fails(capsys, *words(place, verb, f"resume={folder}"))
        assert error.startswith("casc-det: resume: ") and message in error, error
        assert numbers(folder) == whole
        shutil.copytree(kept, place, dirs_exist_ok=True)
    (kept / "data.json").rename(kept / "other.json")  # other paths, the same content
    (kept / "net.safetensors").rename(kept / "other.safetensors")
    shutil.rmtree(place / "images")
    again = [f"data={kept}/other.json", f"images={kept}/images", f"weights={kept}/other.safetensors", "imgsz=32"]
    assert main([verb, *again, *(VAL if verb == "val" else STUDY), f"resume={folder}"]) == 0
    assert numbers(folder) == whole


def test_val_goes_on_with_the_same_float_network_only(place, no_figures, capsys):
    torch.manual_seed(0)
    state = {key: value.contiguous() for key, value in float_yolo("yolov8n", 2).state_dict().items()}
    save_file(state, place / "float.safetensors")
    more = (f"against={place / 'float.safetensors'}", "limit=1")
    assert main(words(place, "val", "name=a", *more)) == 0
    resumed = f"resume={place / 'runs' / 'a'}"
    assert main(words(place, "val", resumed, *more)) == 0
    next(value for value in state.values() if value.ndim == 4)[0, 0, 0, 0] += 1e-3
    save_file(state, place / "float.safetensors")
    assert "another float network (against=)" in fails(capsys, *words(place, "val", resumed, *more))
    assert "was made with against=; give it, too, or start" in fails(capsys, *words(place, "val", resumed, "limit=1"))
    assert main(words(place, "val", "name=b", "limit=1")) == 0
    without = fails(capsys, *words(place, "val", f"resume={place / 'runs' / 'b'}", *more))
    assert "was made without against=; leave it out, or start a new one" in without


def changed_digit(line: bytes) -> bytes:
    at = line.index(b'"scores": [0.') + 14
    return line[:at] + (b"1" if line[at : at + 1] != b"1" else b"2") + line[at + 1 :]


DAMAGE = {
    "garbage": lambda line: b"garbage",
    "no text": lambda line: b"\xff\xfe\x00" + line,
    "half": lambda line: line[: len(line) // 2],
    "list": lambda line: b"[1, 2]",
    "keys": lambda line: b'{"key": 2}',
    "types": lambda line: line.replace(b'"rows": {', b'"rows": 3, "x": {'),
    "nothing": lambda line: b"",
    "deep": lambda line: b"[" * 100_000,
    "number": changed_digit,
}


def test_damaged_detections_are_named_and_made_again(place, no_figures, capsys):
    assert main(words(place, "val", "name=a")) == 0
    folder = place / "runs" / "a"
    whole, file = numbers(folder), folder / "detections.0.jsonl"
    lines = file.read_bytes().splitlines()
    for kind, damage in DAMAGE.items():
        file.write_bytes(b"\n".join([lines[0], damage(lines[1]), lines[2]]) + b"\n")
        (folder / "results.json").unlink()
        capsys.readouterr()
        assert main(words(place, "val", f"resume={folder}")) == 0, kind
        assert "line 2 is damaged" in capsys.readouterr().err and numbers(folder) == whole, kind
    file.write_bytes(b"")
    assert main(words(place, "val", f"resume={folder}")) == 0 and numbers(folder) == whole
    file.unlink()
    file.mkdir()
    assert "detections.0.jsonl" in fails(capsys, *words(place, "val", f"resume={folder}"))


@pytest.mark.parametrize("verb", ["val", "study"])
def test_settings_that_cannot_be_read_are_one_line(place, capsys, verb):
    folder = place / "runs" / "a"
    folder.mkdir(parents=True)
    file = folder / ("settings.json" if verb == "val" else "study.json")
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"version": 4, "graphs": 3}'):
        file.write_bytes(content)
        assert fails(capsys, *words(place, verb, f"resume={folder}")).startswith("casc-det: resume: ")
    file.unlink()
    file.mkdir()
    assert f"is no folder of casc-det {verb}" in fails(capsys, *words(place, verb, f"resume={folder}"))
