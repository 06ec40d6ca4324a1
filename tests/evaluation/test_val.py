"""`casc-det val` end to end on tiny data: every row, resumed, on several processes, whatever the ids."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import live_yolo
from PIL import Image
from runs import run
from tiny_sets import coco_file, voc_folder

from casc_det import SpikingYOLO, convert
from casc_det.base.lines import read_lines
from casc_det.cli.run import main
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.truth import read_truth
from casc_det.heads.detect.detections import Detections

NAMES = ["cat", "dog", "tv", "couch", "cow"]


@pytest.fixture
def coco(tmp_path):
    return coco_file(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    graph = convert(live_yolo("yolov8n")[0], imgsz=64).graph
    graph.names[:] = NAMES
    from casc_det.graph.file import save_graph

    return save_graph(graph, tmp_path_factory.mktemp("weights") / "live.safetensors")


def test_no_detection_at_all_scores_zero(coco):
    truth = read_truth(coco)
    nothing = [Detections.of_table(np.zeros((0, 6)))] * 4
    numbers, _, _ = evaluate_coco(truth, to_results(truth, nothing), [0, 1])
    assert numbers["mAP50-95"] == 0


def rows_of(folder: Path) -> list[dict]:
    """The rows without what depends on the clock."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def words(weights, coco, folder, *more):
    return (f"weights={weights}", f"data={coco}", "timesteps=4,auto", "precision=float64", "bootstrap=20",
            f"project={folder}", "name=v", *more)  # fmt: skip


def test_val_scores_every_row_and_auto_equals_the_ann(capsys, weights, coco, tmp_path):
    code, out, error = run(capsys, "val", *words(weights, coco, tmp_path))
    assert code == 0 and "mAP50-95" in out and "bird" in error and "couch" in error
    rows = rows_of(tmp_path / "v")
    assert [(r["network"], r["timesteps"]) for r in rows] == [("ann", None), ("snn", 4), ("snn", "auto")]
    ann, auto = rows[0], rows[2]
    for key in ("mAP50-95", "mAP50", "mAP75", "AR 100", "classes"):
        assert str(ann[key]) == str(auto[key])
    assert auto["neurons_different"] == 0 and auto["same_boxes"] == auto["quiescent"] == 1
    assert auto["gap_95"] == [0, 0] and auto["energy_mJ"] > 0 and auto["sops"] > rows[1]["sops"]
    assert len((tmp_path / "v" / "results.csv").read_text().splitlines()) == 4


def test_predictions_scored_by_bare_pycocotools_are_the_same(capsys, weights, coco, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    run(capsys, "val", *words(weights, coco, tmp_path))
    folder = tmp_path / "v"
    truth = COCO(str(coco))
    evaluation = COCOeval(truth, truth.loadRes(str(folder / "predictions_ann.json")), "bbox")
    evaluation.params.catIds = [1, 3, 7]
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    row = rows_of(folder)[0]
    assert row["mAP50-95"] == evaluation.stats[0] and row["AR 100"] == evaluation.stats[8]


def test_val_goes_on_after_a_kill(capsys, weights, coco, tmp_path):
    run(capsys, "val", *words(weights, coco, tmp_path))
    whole, folder = rows_of(tmp_path / "v"), tmp_path / "v"
    lines = (folder / "detections.0.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "detections.0.jsonl").write_bytes(lines[0] + lines[1] + lines[2][:50])
    (folder / "results.json").unlink()
    code, _, _ = run(capsys, "val", *words(weights, coco, tmp_path)[:-2], f"resume={folder}")
    assert code == 0 and rows_of(folder) == whole
    assert (folder / "detections.0.jsonl").read_bytes().splitlines()[0] == lines[0].strip()
    code, _, error = run(capsys, "val", *words(weights, coco, tmp_path)[:-2], f"resume={folder}", "imgsz=96")
    assert code == 1 and "resume" in error and "imgsz" in error


def test_val_on_several_processes_gives_the_same_numbers(capsys, weights, coco, tmp_path):
    run(capsys, "val", *words(weights, coco, tmp_path))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "casc_det",
        "val",
    ]
    command += words(weights, coco, tmp_path / "two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "two" / "v") == rows_of(tmp_path / "v")
    assert len(list((tmp_path / "two" / "v").glob("detections.*.jsonl"))) == 2


def test_val_on_voc_maps_names_and_counts_problems(capsys, weights, tmp_path):
    root = voc_folder(tmp_path / "voc")
    (root / "Annotations" / "000.xml").write_text("broken")
    more = (f"weights={weights}", f"data={root}", "timesteps=3", "bootstrap=0", f"project={tmp_path}")
    code, _, error = run(capsys, "val", *more, "name=a")
    assert code == 1 and "000.xml: broken" in error and "strict=false" in error
    code, _, _ = run(capsys, "val", *more, "name=b", "strict=false")
    rows = rows_of(tmp_path / "b")
    assert code == 0 and set(rows[0]["classes"]) == {"sofa", "tvmonitor"} and "mAP50 VOC07" in rows[0]


def test_val_names_the_wrong_argument(capsys, weights, coco, tmp_path):
    base = (f"weights={weights}", f"data={coco}", f"project={tmp_path}/r")
    for word in ("timesteps=0", "timesteps=4,x", "protocol=voc", "batch=0", "limit=0", "map=a", "against=none.pt"):
        code, _, error = run(capsys, "val", *base, word)
        assert code == 1 and error.strip().splitlines()[-1].startswith(f"casc-det: {word.split('=')[0]}"), error
    assert run(capsys, "val", *base, f"resume={tmp_path}/none")[0] == 1
    assert not (tmp_path / "r").exists()


def test_val_in_python_gives_rows(weights, coco, tmp_path):
    asked = {"project": tmp_path, "bootstrap": 0, "limit": 2}
    content = SpikingYOLO(weights).val(coco, timesteps=2, **asked)
    assert content["settings"]["pictures"] == 2 and [r["network"] for r in content["rows"]] == ["ann", "snn"]
    plain, saving = (SpikingYOLO(weights, hysteresis=h).val(coco, **asked) for h in (0, 0.5))
    assert saving["settings"]["hysteresis"] == 0.5 and saving["rows"][1]["sops"] < plain["rows"][1]["sops"]
    assert str(saving["rows"][1]["classes"]) == str(plain["rows"][1]["classes"])


def test_data_without_objects_has_null_and_not_minus_one(capsys, weights, coco, tmp_path):
    content = json.loads(coco.read_text())
    coco.write_text(json.dumps(content | {"annotations": []}))
    for name, protocol in (("c", "coco"), ("v", "voc07")):
        more = (f"protocol={protocol}", f"name={name}", "bootstrap=20", "timesteps=3", f"project={tmp_path}")
        code, _, error = run(capsys, "val", f"weights={weights}", f"data={coco}", *more)
        assert code == 0, error
        for row in rows_of(tmp_path / name):
            scores = {key: value for key, value in row.items() if key.startswith(("mAP", "AR", "gap"))}
            assert set(map(str, scores.values())) <= {"None", "[None, None]"}, scores
            assert set(row["classes"].values()) == {None}
        assert "nan" not in (tmp_path / name / "results.csv").read_text()
    assert main(["study", f"data={coco}", f"weights={weights}", f"project={tmp_path}/s"]) == 1
    assert "has no object of a class that the network knows" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_rect_batches_are_put_together_by_letterboxed_size(capsys, weights, coco, tmp_path):
    """Annotated sizes of 0 and files of several sizes, some of which are letterboxed alike: batches change nothing."""
    content = json.loads(coco.read_text())
    for entry, size in zip(content["images"], ((80, 64), (64, 80), (40, 32), (128, 40)), strict=True):
        entry |= {"width": 0, "height": 0}
        file = coco.parent.parent / "images" / "val" / entry["file_name"]
        Image.open(file).resize(size).save(file)
    coco.write_text(json.dumps(content))
    for batch in (1, 4):
        code, _, error = run(capsys, "val", *words(weights, coco, tmp_path / str(batch), "rect=true", f"batch={batch}"))
        assert code == 0, error
    one, four = (rows_of(tmp_path / str(batch) / "v") for batch in (1, 4))
    assert one == four
    assert run(capsys, "val", *words(weights, coco, tmp_path / "square", "batch=4"))[0] == 0
    for name, last in (("1", [32, 64]), ("4", [32, 64]), ("square", [64, 64])):
        records = read_lines(tmp_path / name / "v" / "detections.0.jsonl")
        inputs = {record["key"]: record["input"] for record in records}
        assert inputs == {10: [64, 64], 11: [64, 64], 12: [64, 64], 13: last}
    resumed = words(weights, coco, tmp_path, "batch=4", "rect=true", f"resume={tmp_path / 'square' / 'v'}")
    assert "has rect False, not True" in run(capsys, "val", *resumed)[2]


@pytest.mark.parametrize("bad", ["bootstrap=-5", "map=cat:unicorn", "protocol=voc", "data=none.json"])
def test_an_argument_that_cannot_be_leaves_older_results_alone(capsys, weights, coco, tmp_path, bad):
    asked = words(weights, coco, tmp_path, "exist_ok=true")
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("results.json", "results.csv", "settings.json", "detections.3.jsonl", "predictions_float.json"):
        (folder / name).write_text("old")
    assert run(capsys, "val", *[word for word in asked if word.split("=")[0] != bad.split("=")[0]], bad)[0] == 1
    assert {file.read_text() for file in folder.iterdir()} == {"old"} and len(list(folder.iterdir())) == 5


def test_a_new_run_takes_the_place_of_an_old_one(capsys, weights, coco, tmp_path):
    (tmp_path / "v").mkdir()
    for name in ("settings.json", "detections.3.jsonl", "predictions_float.json"):
        (tmp_path / "v" / name).write_text("old")
    (tmp_path / "images/val/001.jpg").write_bytes(b"none")
    code, out, error = run(capsys, "val", *words(weights, coco, tmp_path, "exist_ok=true", "strict=false"))
    assert code == 0 and "damaged" not in error and "001.jpg" in error and out.startswith("3 pictures")
    content = json.loads((tmp_path / "v/results.json").read_text())
    assert content["settings"]["pictures"] == len(content["images"]) == 3 and content["damaged"] == 1
    assert not any(file.name in ("detections.3.jsonl", "predictions_float.json") for file in (tmp_path / "v").iterdir())


def test_ids_and_order_of_a_coco_file_change_no_score(capsys, weights, coco, tmp_path):
    """Images and classes the other way round, ids negative, 0, huge and text: the same rows under the same names."""
    content = json.loads(coco.read_text())
    image_ids, category_ids = {10: "ten", 11: -5, 12: 0, 13: 2**60}, {1: 0, 3: -1, 7: "tv", 9: 10**20}
    changed = {
        "images": [i | {"id": image_ids[i["id"]]} for i in content["images"][::-1]],
        "categories": [c | {"id": category_ids[c["id"]]} for c in content["categories"][::-1]],
        "annotations": [
            a | {"id": k, "image_id": image_ids[a["image_id"]], "category_id": category_ids[a["category_id"]]}
            for k, a in enumerate(content["annotations"])
        ],
    }
    (coco.parent / "instances_changed.json").write_text(json.dumps(changed))
    more = ("imgsz=96", "images=" + str(tmp_path / "images/val"))
    run(capsys, "val", *words(weights, coco, tmp_path / "plain", *more))
    run(capsys, "val", *words(weights, coco.parent / "instances_changed.json", tmp_path / "changed", *more))
    plain, other = (json.loads((tmp_path / name / "v/results.json").read_text()) for name in ("plain", "changed"))
    assert plain["images"] == [10, 11, 12, 13] and other["images"] == [2**60, 0, -5, "ten"]
    for first, second in zip(plain["rows"], other["rows"], strict=True):
        assert first["classes"] == second["classes"]
        for key in first:
            if key.startswith(("mAP", "AR")):
                assert first[key] == pytest.approx(second[key], abs=1e-12)
        assert first.get("picture_ap_minus_ann", []) == second.get("picture_ap_minus_ann", [])[::-1]
    mine, theirs = (
        json.loads((tmp_path / name / "v/predictions_ann.json").read_text()) for name in ("plain", "changed")
    )
    key = lambda entry: json.dumps(entry, sort_keys=True)
    renamed = [e | {"image_id": image_ids[e["image_id"]], "category_id": category_ids[e["category_id"]]} for e in mine]
    assert sorted(map(key, renamed)) == sorted(map(key, theirs)) and theirs


def test_unit_spikes_and_messages_stand_side_by_side(capsys, weights, coco, tmp_path):
    for burst in (1, 3):
        code, out, _ = run(capsys, "val", *words(weights, coco, tmp_path / str(burst), f"burst={burst}"))
        assert code == 0 and f"Q = 4, burst {burst};" in out and "every convolution but 1 reads spikes" in out
    contents = {burst: json.loads((tmp_path / str(burst) / "v" / "results.json").read_text()) for burst in (1, 3)}
    for burst, content in contents.items():
        settings = content["settings"]
        assert (settings["burst"], settings["ramp"], settings["delay"], settings["neuron"]) == (burst, False, 0, "cif")
        lines = list(csv.DictReader((tmp_path / str(burst) / "v" / "layers.csv").open()))
        for row in content["rows"][1:]:
            sums = {key: sum(layer[key] for layer in row["layers"].values()) for key in ("spikes", "messages")}
            assert row["messages"] == pytest.approx(sums["messages"]) and row["spikes"] == pytest.approx(sums["spikes"])
            assert row["payload_bits"] == row["messages"] * (3 if burst == 3 else 1)
            mine = [line for line in lines if line["timesteps"] == str(row["timesteps"])]
            assert len(mine) == len(row["layers"]) + len(row["layer_sops"])
            for key in ("spikes", "messages", "payload_bits", "sops"):
                assert row[key] == pytest.approx(sum(float(line[key] or 0) for line in mine))
        seen = [row["seen"] for row in content["reads"]["convolutions"].values() if row["reads"] == "spikes"]
        assert len(seen) == 62 and max(seen) > burst  # of additions
    plain, bursts = (contents[burst]["rows"][2] for burst in (1, 3))
    assert plain["spikes"] == plain["messages"] and bursts["spikes"] > bursts["messages"]
    assert bursts["steps_mean"] < plain["steps_mean"] and str(bursts["classes"]) == str(plain["classes"])
    assert bursts["macs"] == plain["macs"] / 2  # pixels come in 2 steps, not 4


def test_a_run_goes_on_with_the_same_burst_only(capsys, weights, coco, tmp_path):
    folder = tmp_path / "v"
    assert run(capsys, "val", *words(weights, coco, tmp_path))[0] == 0
    resumed = words(weights, coco, tmp_path, f"resume={folder}")
    assert run(capsys, "val", *resumed, "burst=1", "ramp=false")[0] == 0  # what the file recommends
    assert "has burst 1, not 2; start a new one" in run(capsys, "val", *resumed, "burst=2")[2]
    settings = json.loads((folder / "settings.json").read_text())
    del settings["burst"]
    (folder / "settings.json").write_text(json.dumps(settings))
    assert "lacks 'burst', as runs of an earlier version do; start a new one" in run(capsys, "val", *resumed)[2]
