"""tools/training_free.py and the tables of bursts: what is run, that it goes on, and what the tables say."""

import json
from functools import partial

import pytest
import record_tables
import training_free as tool

from casc_det.cli.options import REQUIRED
from casc_det.cli.parsing import option_of, parse_pairs, parse_value
from casc_det.cli.verbs import VERBS

POINT = {"energy_mJ": 1.0, "energy_of_ann": 0.8, "spikes_a_neuron": 4.9, "messages_a_neuron": 2.9}


def cell(burst: int, ramp: bool, t: int | None = 5, rests: int = 3) -> dict:
    reached = {"99%": {"first": t and {"T": t, **POINT}}}
    rest = {"pictures": rests, "first": 7, "last": 11, "mean": 9.0, **POINT}
    return {"levels": 32, "burst": burst, "ramp": ramp, "pictures": 3, "T_last": 24, "reached": reached, "rest": rest}


@pytest.fixture
def words(tmp_path) -> list[str]:
    given = {"weights": "net.safetensors", "images": tmp_path, "data": "val.json", "project": tmp_path / "p"}
    return [f"{key}={value}" for key, value in given.items()] + [
        "levels=32",
        "burst=1,8",
        "imgsz=320",
        "limit=3",
        "model=yolov8n.yaml",
        "names=coco.yaml",
    ]


def pretend(done: list):
    """In place of a process: take the words as the verb does, and write what it would; an interrupted study has its
    settings only."""

    def run(command: list) -> None:
        verb, given = command[3], dict(word.split("=", 1) for word in command[4:])
        parsed = parse_pairs(command[4:], partial(option_of, verb))
        assert all(key in parsed for key, option in VERBS[verb].options.items() if option.default == REQUIRED)
        done.append((verb, given))
        if verb == "convert":
            tool.Path(given["out"]).write_text("x")
            return
        folder = tool.Path(given.get("resume") or f"{given['project']}/{given['name']}")
        folder.mkdir(parents=True, exist_ok=True)
        if verb == "val":
            rows = [{"network": n, "mAP50-95": value, "classes": []} for n, value in (("float", 0.4), ("ann", 0.38))]
            rows.append({"network": "snn", "timesteps": "auto", "mAP50-95": 0.38})
            (folder / "results.json").write_text(json.dumps({"settings": {"graph": "abc"}, "rows": rows}))
        elif "resume" in given:
            (folder / "summary.json").write_text(json.dumps({"cells": [cell(1, False), cell(8, True, None, 2)]}))
        else:
            (folder / "study.json").write_text("{}")
            raise KeyboardInterrupt

    return run


def test_a_stopped_command_goes_on_and_ends_in_tables(words, tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(tool, "run", pretend(done))
    with pytest.raises(KeyboardInterrupt):
        tool.main(words)
    tool.main(words)
    tool.main(words)
    assert [verb for verb, _ in done] == ["convert", "val", "study", "study"]
    study, resumed = done[2][1], done[3][1]
    assert study["burst"] == "1,8" and study["ramp"] == "false,true" and study["limit"] == "3"
    assert resumed["resume"] == str(tmp_path / "p" / "study-320") and "project" not in resumed
    content = json.loads((tmp_path / "p" / "training-free.json").read_text())
    assert "classes" not in content["networks"][0]["rows"][0] and len(content["cells"]) == 2
    text = (tmp_path / "p" / "training-free.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| 320 | 32 | 0.4000 | 0.3800 | 95.0 % |" in text
    assert "| 320 | 32 | 1 | no | 5 | 4.90 | 2.90 | 0.80 | 9.0 | 4.90 | 2.90 | 0.80 |" in text
    assert "| 320 | 32 | 8 | yes | >24 |  |  |  | >24 |  |  |  |" in text


def test_steps_of_a_study_reach_beyond_quiescence():
    steps = parse_value(tool.study_steps([16, 64], [1, 8]))
    assert steps[:24] == tuple(range(1, 25)) and list(steps) == sorted(set(steps)) and 256 <= steps[-1] < 300
    assert parse_value(tool.study_steps([16], [4]))[-1] == 24


def test_a_table_of_bursts_says_steps_and_forwards():
    place = {"network": "net", "imgsz": 320, "batch": 1, "pictures": "val2017", "all_ms": [1, 2, 3]}
    how = {"burst": 8, "ramp": True, "steps_from": None}
    cells = [
        place | {"what": "ann", "ms_per_picture": 27.64, "ratio": 1.0},
        place | {"what": "openvino", "ms_per_picture": 4.0, "ratio": 0.14},
        place | how | {"what": "fast", "moment": "99%", "timesteps": 5, "ratio": 1.9, "steps_from": "val, 320 px"},
        place | how | {"what": "fast", "moment": "rest", "timesteps": 9.4, "ratio": 3.21},
        place | how | {"what": "plain", "moment": "rest", "timesteps": 9.4, "ratio": 60.0},
    ]
    machine = {"machine": "a processor", "threads": 2, "torch": "2"}
    text = record_tables.bursts({"machine": machine, "cells": cells})
    head, _, row, *_ = text.splitlines()
    assert head.count("|") == row.count("|")
    assert row == "| net | 320 | 1 | 27.6 | 0.14 | 8, ramp | 5 | 1.90 |  | 9.4 | 3.21 | 60.00 |"
    assert "The steps of 99 %: val, 320 px." in text and "a processor, 2 threads" in text
