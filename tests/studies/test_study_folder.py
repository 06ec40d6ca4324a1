"""The folder of a study: finished cells are kept, other studies refused, and its files stay as they were."""

import hashlib
import io
import json

import numpy as np
import pytest
from runs import run_study

from casc_det import study
from casc_det.base.lines import append_lines
from casc_det.errors import ArgumentError
from casc_det.studies.folder import read_cells
from casc_det.studies.traces import Trace


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
    result = ["levels", "pictures", "ann", "curves", "layers", "steps_to_rest", "policies", "seconds"]
    assert list(records[0]) == [*keys, "activation", "clip", "recommended", "reads"]
    assert list(records[0]["result"]) == [*result, "wake", "bits_a_message", "gap_95"]
    first = sorted((folder / "traces" / records[0]["key"]).iterdir())
    assert [path.name for path in first] == ["1.npz", "2.npz", "3.npz"]
    arrays = ["sent", "taken_back", "sops", "more", "fewer", "count_gap", "ann_counts", "mse", "relative_error", "rest"]
    assert np.load(first[0]).files == [*arrays, "detections", "offsets", "ann", "seconds", "messages", "peaks"]


def as_in_the_first_studies(folder):
    """Make a folder what it was before neurons had bursts and followed other functions than ReLU."""
    file = folder / "cells.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record in records:
        result = record["result"]
        for key in ("sha256", "activation", "clip", "recommended", "reads"):
            del record[key]
        del result["wake"], result["bits_a_message"]
        del record["variant"]["burst"], record["variant"]["ramp"]
        del result["curves"]["messages"], result["curves"]["payload_bits"], result["layers"]["messages"]
    file.unlink()
    append_lines(file, records)
    for trace in (folder / "traces").rglob("*.npz"):
        old = vars(Trace.load(trace))
        del old["messages"], old["peaks"]
        stream = io.BytesIO()
        np.savez_compressed(stream, **old)
        trace.write_bytes(stream.getvalue() + hashlib.sha256(stream.getvalue()).digest())


def test_folders_of_the_first_studies_go_on(place):
    """Nothing of them is made again, and their figures, tables and page are those of a new study."""
    weights = place / "net.safetensors"
    axes = {"hysteresis": 0.5, "neurons": "cif,if"}
    new, old = (run_study(place, weights, name=name, **axes) for name in "ab")
    as_in_the_first_studies(old)
    before = (old / "cells.jsonl").read_bytes()
    count = lambda record: {k: v for k, v in record.items() if k not in ("made", "result", "clip", "reads")}
    kept = [count(record) for record in read_cells(old).values()]
    assert kept == [count(record) for record in read_cells(new).values()]
    shown = study(weights, place / "data.json", timesteps="2,4,12", images=place / "images", imgsz=32,
                  policies="quiescent", resume=old, **axes)[1]  # fmt: skip
    assert (old / "cells.jsonl").read_bytes() == before and shown[0]["result"]["curves"]["messages"]
    assert (old / "report.html").is_file() and not (old / "bursts.png").exists()
