"""The folder of a study: finished cells are kept, other studies refused, and its files stay as they were."""

import json

import numpy as np
import pytest

from casc_det import study
from casc_det.errors import ArgumentError
from casc_det.studies.folder import read_cells


def test_finished_cells_are_kept_and_new_ones_added(tiny_study, tiny_weights, tiny_coco, monkeypatch):
    folder, records = tiny_study
    before = (folder / "cells.jsonl").read_bytes()
    with (folder / "cells.jsonl").open("ab") as file:
        file.write(b'{"key": "cut')  # a full disk
    calls = []
    again = study(
        tiny_weights,
        tiny_coco,
        timesteps="1..40",
        neurons="cif,if",
        schedule="wsc,constant",
        images=tiny_coco.parent,
        imgsz=64,
        resume=folder,
        report=False,
        progress=lambda done, total, text: calls.append(total),
    )[1]
    assert (folder / "cells.jsonl").read_bytes().startswith(before)
    assert calls == [6] * 6  # two cells of three images
    assert again[0] == records[0] and len(read_cells(folder)) == len(records) + 2


def test_a_folder_of_another_study_is_refused(tiny_study, tiny_weights, tiny_coco, tmp_path):
    folder, _ = tiny_study
    options = {"images": tiny_coco.parent, "imgsz": 64, "report": False}
    with pytest.raises(ArgumentError, match="resume: the study in .* has timesteps .*, not "):
        study(tiny_weights, tiny_coco, timesteps="1..8", resume=folder, **options)
    with pytest.raises(ArgumentError, match="resume: .* is no folder of casc-det study"):
        study(tiny_weights, tiny_coco, timesteps="1..40", resume=tmp_path, **options)
    old = json.loads((folder / "study.json").read_text()) | {"version": 0}
    (tmp_path / "study.json").write_text(json.dumps(old))
    with pytest.raises(ArgumentError, match="has version 0, not .; start a new one"):
        study(tiny_weights, tiny_coco, timesteps="1..40", resume=tmp_path, **options)


def test_files_are_those_of_the_first_studies(tiny_study):
    """`study.json`, records and traces have the same keys in the same order, so that what was begun before goes on."""
    folder, records = tiny_study
    settings = json.loads((folder / "study.json").read_text())
    keys = ["version", "casc_det", "timesteps", "imgsz", "policies", "energy", "data", "pictures", "objects"]
    assert list(settings) == [*keys, "image_files", "graphs"] and settings["version"] == 5
    (name,) = {key for key in settings["graphs"] if key.endswith(" 0")}
    assert settings["graphs"][name] == records[0]["made"]["graph"]
    keys = ["key", "variant", "method", "result", "disturbance", "imgsz", "data", "seed", "made"]
    result = ["levels", "pictures", "ann", "curves", "layers", "steps_to_rest", "policies", "seconds", "gap_95"]
    assert list(records[0]) == keys and list(records[0]["result"]) == result
    first = sorted((folder / "traces" / records[0]["key"]).iterdir())
    assert [path.name for path in first] == ["1.npz", "2.npz", "3.npz"]
    arrays = ["sent", "taken_back", "sops", "more", "fewer", "count_gap", "ann_counts", "mse", "relative_error", "rest"]
    assert np.load(first[0]).files == [*arrays, "detections", "offsets", "ann", "seconds"]
