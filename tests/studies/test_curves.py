"""The result of a cell: what plain simulation and `val` give, and nothing of steps that were not simulated."""

import json

import numpy as np
import pytest
import torch
from conftest import simulate

from casc_det import SpikingYOLO, study
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.studies.curves import smallest_step
from casc_det.studies.figures.accuracy import plot_pareto
from casc_det.studies.figures.layers import plot_layer_error, plot_more_fewer
from casc_det.studies.summary import answers, rows, summarise
from casc_det.studies.traces import Trace


def test_cells_hold_what_plain_simulation_gives(tiny_study, tiny_weights, tiny_coco):
    _, records = tiny_study
    cell, graph = records[0]["result"], SpikingYOLO(tiny_weights).graph
    from casc_det.yolo.images import letterbox, read_image

    images = [letterbox(read_image(tiny_coco.parent / f"{k}.png").image, (64, 64), 32, False) for k in range(3)]
    spikes = torch.zeros(40, dtype=torch.float64)
    sops, rests = torch.zeros(40, dtype=torch.float64), []
    for image in images:
        for step in simulate(graph, image[None], engine="reference"):
            if step.t <= 40:
                spikes[step.t - 1 :] += step.fired.sum() / 3
                sops[step.t - 1 :] += step.sops[0] / 3
        rests.append(step.t)
    assert np.allclose(cell["curves"]["spikes"], spikes) and np.allclose(cell["curves"]["sops"], sops)
    assert cell["steps_to_rest"] == [t if t <= 40 else 0 for t in rests]
    assert [records[k]["method"] for k in (0, 4, 5)] == ["CIF + WSC", "IF + WSC", "signed IF + WSC"]


def test_curves_end_at_the_ann_where_the_network_rests(tiny_study):
    _, records = tiny_study
    for record in records:
        curves, ann, rests = record["result"]["curves"], record["result"]["ann"], record["result"]["steps_to_rest"]
        assert len(curves["T"]) == len(curves["mAP50-95"]) == len(curves["energy_mJ"]) == 40
        if all(0 < t <= 40 for t in rests):
            assert curves["mAP50-95"][-1] == ann["mAP50-95"] and curves["mse"][-1] == 0 == curves["more"][-1]
            assert curves["at_rest"][-1] == 1 and smallest_step(record["result"], 1.0) <= max(rests)
    assert any(all(record["result"]["steps_to_rest"]) for record in records)
    assert records[0]["result"]["curves"]["mse"][0] > 0
    by_policy = {p["policy"]: p for p in records[0]["result"]["policies"]}
    assert by_policy["boxes-stable(2)"]["T_mean"] <= by_policy["quiescent"]["T_mean"]
    assert by_policy["boxes-stable(2)"]["energy_mJ"] <= by_policy["quiescent"]["energy_mJ"]


def test_smallest_step_is_the_first_or_the_one_that_is_kept():
    cell = {"ann": {"mAP50-95": 0.5}, "curves": {"T": [2, 4, 6, 8], "mAP50-95": [0.1, 0.5, 0.4, 0.6]}}
    assert smallest_step(cell, 1.0) == 8 and smallest_step(cell, 1.0, kept=False) == 4 and smallest_step(cell, 0.8) == 4
    assert smallest_step(cell, 2.0) is None


def test_nothing_is_claimed_of_steps_that_were_not_simulated(tiny_weights, tiny_coco, tmp_path):
    """Simulated up to T = 7, wake alone being 4: no rest, no policy that stops, no layer errors of T = 8 = 2 Q."""
    options = {"images": tiny_coco.parent, "project": tmp_path, "imgsz": 64, "policies": "quiescent,boxes-stable(1)"}
    _, (record,) = study(tiny_weights, tiny_coco, timesteps="1..7", limit=1, report=False, **options)
    result = record["result"]
    assert result["levels"] == 4 and list(result["layers"]["error"]) == ["4", "5", "6"]
    assert len(plot_layer_error(record).axes) == 3 and result["steps_to_rest"] == [0]
    quiescent = result["policies"][0]
    assert quiescent["stopped"] == quiescent["at_rest"] == 0 and quiescent["T_mean"] == 7
    assert not any("quiescent" in text.get_text() for text in plot_pareto([record]).legends[0].get_texts())
    summary = summarise([record])
    left, middle, right, _ = plot_more_fewer(record).axes  # wake ends between T = 4 and T = 5 in all of them
    wake = [
        left.patches[0].get_x() + left.patches[0].get_width(),
        *(ax.lines[0].get_xdata()[0] for ax in (middle, right)),
    ]
    assert wake == [4.5] * 3
    summary[0]["reached"] = {share: {"first": None, "kept": None} for share in ("99%", "100%")}
    heads, row = rows(summary)
    assert heads[2] == heads[4] == "kept to T = 7" and row[1:6] == [">7"] * 5
    assert "at a time step up to T = 7" in answers([record], summary)[0]
    _, (short,) = study(tiny_weights, tiny_coco, timesteps="1,3", limit=1, report=False, **options)
    assert short["result"]["layers"]["error"] == {} and plot_layer_error(short) is None


def test_scores_are_those_of_val(tiny_study, tiny_weights, tiny_coco, tmp_path):
    _, records = tiny_study
    content = SpikingYOLO(tiny_weights).val(
        tiny_coco, "4,8", images=tiny_coco.parent, imgsz=64, project=tmp_path, bootstrap=0
    )
    rows = {row["timesteps"]: row for row in content["rows"] if row["network"] == "snn"}
    curves = records[0]["result"]["curves"]
    for t in (4, 8):
        assert curves["mAP50-95"][t - 1] == rows[t]["mAP50-95"] and curves["mAP50"][t - 1] == rows[t]["mAP50"]
        assert curves["energy_mJ"][t - 1] == pytest.approx(rows[t]["energy_mJ"])
    ann = next(row for row in content["rows"] if row["network"] == "ann")
    assert records[0]["result"]["ann"]["mAP50-95"] == ann["mAP50-95"]


def test_study_and_val_cap_detections_alike(tiny_weights, tiny_coco, tmp_path, monkeypatch):
    """Classes that the data set lacks are dropped first, then the best are kept: here 3 of one class, where the best 3
    of all classes are others."""
    monkeypatch.setattr("casc_det.evaluation.networks.SCORING", DetectionSettings(0.001, 0.7, 3, None, True))
    monkeypatch.setattr("casc_det.studies.tracing.SHOWN", 0.002)  # traces hold other classes, for policies and page
    model, content, file = SpikingYOLO(tiny_weights), json.loads(tiny_coco.read_text()), tmp_path / "one.json"
    content["categories"], content["annotations"] = [{"id": 0, "name": model.names[3]}], []
    file.write_text(json.dumps(content))
    options = {"images": tiny_coco.parent, "imgsz": 128, "project": tmp_path}
    model.val(file, "4", bootstrap=0, name="first", **options)
    found = json.loads((tmp_path / "first/predictions_ann.json").read_text())
    for image in content["images"]:
        worst = [r for r in found if r["image_id"] == image["id"]][-1]
        content["annotations"].append({**worst, "area": worst["bbox"][2] * worst["bbox"][3]})
    file.write_text(json.dumps(content))
    _, records = study(tiny_weights, file, timesteps="4,40", report=False, **options)
    content = model.val(file, "4,40", bootstrap=0, **options)
    ann, *rows = [(row["mAP50-95"], row["mAP50"]) for row in content["rows"]]
    curves = records[0]["result"]["curves"]
    assert list(zip(curves["mAP50-95"], curves["mAP50"], strict=True)) == rows
    assert (records[0]["result"]["ann"]["mAP50-95"], records[0]["result"]["ann"]["mAP50"]) == ann and ann[0] > 0
    kept = [json.loads(line)["rows"]["ann"] for line in (tmp_path / "val/detections.0.jsonl").read_text().splitlines()]
    assert [row["labels"] for row in kept] == [[3] * 3] * 3
    shown = [set(Trace.load(file).detections[:, 5]) for file in (tmp_path / "study/traces").rglob("*.npz")]
    assert len(shown) == 3 and all(3 in labels and len(labels) > 1 for labels in shown)
