"""A study that goes on, or takes the place of another one."""

import json
import shutil

import pytest
from runs import change_weight, fails, numbers, run_study, words

from casc_det.base.lines import read_lines
from casc_det.cli.run import main
from casc_det.errors import SourceError


def test_cells_and_traces_of_another_network_are_not_taken(place, caplog):
    """Two files of one name in two folders: both are studied, and nothing of one is taken for the other's."""
    first, other = place / "net.safetensors", place / "other" / "net.safetensors"
    other.parent.mkdir()
    shutil.copy(first, other)
    change_weight(other.parent)
    folder = run_study(place, first)
    run_study(place, other, resume=folder)
    both, theirs = numbers(folder), numbers(run_study(place, other))
    assert len(both) == 2 and theirs[0] in both
    assert len({cell["made"]["graph"] for cell in read_lines(folder / "cells.jsonl")}) == 2
    shutil.copy(first, place / "copy.safetensors")  # one network under two names: one cell
    assert len(numbers(run_study(place, [str(first), str(place / "copy.safetensors")]))) == 1
    assert "is the same network as" in caplog.text


def test_damaged_cells_and_traces_are_named_and_made_again(place, caplog):
    weights, calls = place / "net.safetensors", []

    def stop(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    whole = numbers(run_study(place, weights, name="whole"))
    with pytest.raises(KeyboardInterrupt):
        run_study(place, weights, name="a", progress=stop)
    folder = place / "runs" / "a"
    first, second, third = sorted((folder / "traces").rglob("*.npz"))
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-40])
    data = bytearray(third.read_bytes())
    data[len(data) // 2] ^= 4
    third.write_bytes(data)
    run_study(place, weights, resume=folder)
    assert numbers(folder) == whole and caplog.text.count("is damaged; its picture is simulated again") == 3
    file = folder / "cells.jsonl"
    file.write_bytes(b"garbage\n" + file.read_bytes().replace(b'"pictures": 3', b'"pictures": 4'))
    run_study(place, weights, resume=folder)
    assert numbers(folder) == whole and "line 2 is damaged" in caplog.text


def test_a_study_whose_networks_are_not_noted_is_damaged(place):
    weights = place / "net.safetensors"
    folder = run_study(place, weights, name="a")
    for graphs in (3, None, "x"):
        content = json.loads((folder / "study.json").read_text()) | {"graphs": graphs}
        (folder / "study.json").write_text(json.dumps(content))
        with pytest.raises(SourceError, match="study.json' is damaged"):
            run_study(place, weights, resume=folder)


def test_a_study_takes_the_place_of_an_older_one(place, no_figures):
    assert main(words(place, "study", "name=a", "neurons=cif,if")) == 0
    folder = place / "runs" / "a"
    (folder / "map.png").write_bytes(b"old")
    (folder / "notes.txt").write_bytes(b"mine")
    assert main([*words(place, "study", "name=a", "exist_ok=true", "limit=2")]) == 0
    assert len((folder / "cells.jsonl").read_text().splitlines()) == 1 and not (folder / "map.png").exists()
    assert (folder / "notes.txt").read_bytes() == b"mine" and len(list((folder / "traces").iterdir())) == 1


def test_study_without_anything_to_find_says_so(place, no_figures, capsys):
    content = json.loads((place / "data.json").read_text())
    for annotation in content["annotations"]:
        annotation["bbox"] = [0, 0, 0.5, 0.5]
    (place / "data.json").write_text(json.dumps(content))
    assert main(words(place, "study", "name=a")) == 0
    out = capsys.readouterr().out
    assert (
        "the ANN itself detects next to nothing" in out
        and "mAP50-95 0, less than 0.01" in out
        and "is the first step" not in out
        and "no mAP" in out
    )
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    (place / "data.json").write_text(json.dumps(content))
    assert "has no object of a class that the network knows" in fails(capsys, *words(place, "study", "name=b"))
    assert not (place / "runs" / "b").exists()
