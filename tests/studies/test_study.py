"""Studies: the grid, the traces against plain simulation, cells against `val`, resuming, bad input, and the page."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import live_yolo, simulate
from PIL import Image

from casc_det import SpikingYOLO, convert
from casc_det.cli.run import main
from casc_det.errors import ArgumentError
from casc_det.evaluation.truth import Truth, make_image
from casc_det.graph.file import load_graph, save_graph
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.neurons import NEURONS, neuron_step
from casc_det.studies.cells import smallest_step
from casc_det.studies.corruptions import corrupt
from casc_det.studies.figures import plot_layer_error, plot_more_fewer, plot_pareto
from casc_det.studies.run import ENERGY, Study, read_cells, study
from casc_det.studies.summary import answers, rows, summarise
from casc_det.studies.traces import Trace
from casc_det.studies.variants import CORRUPTIONS, Variant, make_grid, read_timesteps


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return convert(live_yolo("yolov8n")[0], imgsz=64).save(tmp_path_factory.mktemp("w") / "live.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory, weights):
    """A COCO data set whose objects are the ANN's own detections: its mAP is high, that of early steps is not."""
    root, random = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    model = SpikingYOLO(weights)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": n} for i, n in model.names.items()],
    }
    for k in range(3):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC)
        image.save(root / f"{k}.png")
        content["images"].append({"id": k + 1, "width": 80, "height": 60, "file_name": f"{k}.png"})
        found = model.ann(str(root / f"{k}.png"), conf=0.001)
        for (x1, y1, x2, y2), label in list(zip(found.boxes.xyxy.tolist(), found.boxes.cls.tolist(), strict=True))[:6]:
            entry = {"id": len(content["annotations"]) + 1, "image_id": k + 1, "category_id": int(label) + 1}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            content["annotations"].append(entry)
    (root / "instances.json").write_text(json.dumps(content))
    return root / "instances.json"


@pytest.fixture(scope="module")
def done(weights, data, tmp_path_factory):
    options = {"neurons": "cif,if,signed_if", "hysteresis": 0.25, "delay": 0.5, "corruptions": "noise", "severities": 2}
    root = tmp_path_factory.mktemp("study")
    return study(weights, data, "1..40", images=data.parent, project=root, imgsz=64, **options)


def test_grid_has_corrections_and_corruptions_for_cif_with_wsc_only():
    grid = make_grid("a,b", "cif,if", "wsc,constant", "0,0.25", 0.5, "noise", "1,3")
    assert len(grid) == len({(variant.weights, variant.key("")) for variant in grid}) == 2 * (4 + 2 + 2)
    assert all(variant.rests for variant in grid if variant.hysteresis or variant.delay or variant.severity)
    assert grid[0] == Variant("a") and grid[0].plain and grid[0].method == "CIF + WSC"
    grid = make_grid("x/a.safetensors", hysteresis=0.25, corruptions="fog", severities=1, levels="4,8")
    assert [variant.levels for variant in grid] == [4] * 3 + [8] * 3 and grid[3].network == "a at Q = 8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": ""}, "weights: expected at least one"),
        ({"neurons": "cif,lif"}, "neurons: expected some of cif, if, signed_if, got 'lif'"),
        ({"schedule": []}, "schedule: expected at least one"),
        ({"hysteresis": "-1"}, "hysteresis: expected a number from 0"),
        ({"hysteresis": "0,1e9"}, "hysteresis: expected a number from 0"),
        ({"delay": "nan"}, "delay: expected a number from 0"),
        ({"delay": "much"}, "delay: expected numbers"),
        ({"corruptions": "rain"}, "corruptions: expected some of none, noise"),
        ({"severities": "4"}, "severities: expected some of 1, 2, 3"),
        ({"levels": "4,65"}, "levels: expected an integer from 1 to 64"),
    ],
)
def test_grids_that_cannot_work_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        make_grid(**{"weights": "a", **options})


def test_own_neurons_are_refused_before_anything_is_made(weights, data, tmp_path, monkeypatch):
    monkeypatch.setitem(NEURONS, "mine", neuron_step)
    with pytest.raises(ArgumentError, match="^neuron: 'mine' is an own kind"):
        study(weights, data, "1..4", "cif,mine", images=data.parent, project=tmp_path / "runs", imgsz=64)
    assert not (tmp_path / "runs").exists()


def test_timesteps_are_ranges_or_lists():
    assert read_timesteps("1..4") == [1, 2, 3, 4] and read_timesteps("8, 16") == read_timesteps((8, 16)) == [8, 16]
    assert read_timesteps(7) == [7]


@pytest.mark.parametrize(
    "value", ["", "4..1", "1..", "0..3", "3,2", "2,2", "1,-2", "a", 0, "1..5000", "1..2..3", (2, 2)]
)
def test_timesteps_out_of_order_or_bounds_are_refused(value):
    with pytest.raises(ArgumentError, match="timesteps: "):
        read_timesteps(value)


@pytest.mark.parametrize(("value", "words"), [("24..1", "write 1..24"), ("auto", "1..64"), ("8,auto", "1..64")])
def test_timesteps_that_are_refused_say_what_to_write(value, words):
    with pytest.raises(ArgumentError, match=words):
        read_timesteps(value)


def test_weights_whose_classes_do_not_fit_are_named(weights, data, tmp_path):
    graph = load_graph(weights)
    graph.names[:] = [f"other {k}" for k in range(len(graph.names))]
    save_graph(graph, tmp_path / "other.safetensors")
    with pytest.raises(ArgumentError, match=r"the model of weights=.*other\.safetensors ") as caught:
        study(f"{weights},{tmp_path / 'other.safetensors'}", data, "1..4", images=data.parent, imgsz=64, limit=1)
    assert "map=" not in str(caught.value)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruptions_are_repeatable_and_grow(kind):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(image).resize((96, 64), Image.Resampling.BICUBIC))
    gaps = []
    for severity in (1, 2, 3):
        first, second = corrupt(image, kind, severity, "a"), corrupt(image, kind, severity, "a")
        assert first.shape == image.shape and first.dtype == np.uint8 and np.array_equal(first, second)
        gaps.append(np.abs(first.astype(int) - image).mean())
    assert 0 < gaps[0] < gaps[1] < gaps[2]
    assert corrupt(image, kind, 0, "a") is image


def test_examples_are_spread_and_have_something_to_see():
    row = lambda side: (0, 0, side, side, 0, False, False, None)
    rows = [[row(5)] * 9, [row(50)], [], [row(50)], [row(5)], [], [row(50)] * 2, [row(90)]]
    pictures = [make_image(i, f"{i}.png", 100, 100, boxes, []) for i, boxes in enumerate(rows)]
    chosen = Study(Truth("coco", "t", ["a"], [1], pictures), [1], (64, 64), [], ENERGY).examples()
    assert [picture.key for picture in chosen] == [1, 3, 4, 5, 6, 7]
    few = Study(Truth("coco", "t", ["a"], [1], pictures[:2]), [1], (64, 64), [], ENERGY).examples()
    assert [picture.key for picture in few] == [0, 1]


def test_cells_hold_what_plain_simulation_gives(done, weights, data):
    _, records = done
    cell, graph = records[0]["result"], SpikingYOLO(weights).graph
    from casc_det.yolo.images import read_image
    from casc_det.yolo.letterbox import letterbox

    images = [letterbox(read_image(data.parent / f"{k}.png").image, (64, 64), 32, False) for k in range(3)]
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


def test_curves_end_at_the_ann_where_the_network_rests(done):
    _, records = done
    for record in records:
        curves, ann, rests = record["result"]["curves"], record["result"]["ann"], record["result"]["steps_to_rest"]
        assert len(curves["T"]) == len(curves["mAP50-95"]) == len(curves["energy_mJ"]) == 40
        if all(0 < t <= 40 for t in rests):
            assert curves["mAP50-95"][-1] == ann["mAP50-95"] and curves["mse"][-1] == 0 == curves["more"][-1]
            assert curves["at_rest"][-1] == 1 and smallest_step(record["result"], 1.0) <= max(rests)
    assert any(all(record["result"]["steps_to_rest"]) for record in records)
    assert records[0]["result"]["curves"]["mse"][0] > 0
    cell = {"ann": {"mAP50-95": 0.5}, "curves": {"T": [2, 4, 6, 8], "mAP50-95": [0.1, 0.5, 0.4, 0.6]}}
    assert smallest_step(cell, 1.0) == 8 and smallest_step(cell, 1.0, kept=False) == 4 and smallest_step(cell, 0.8) == 4
    assert smallest_step(cell, 2.0) is None
    by_policy = {p["policy"]: p for p in records[0]["result"]["policies"]}
    assert by_policy["boxes-stable(2)"]["T_mean"] <= by_policy["quiescent"]["T_mean"]
    assert by_policy["boxes-stable(2)"]["energy_mJ"] <= by_policy["quiescent"]["energy_mJ"]


def test_nothing_is_claimed_of_steps_that_were_not_simulated(weights, data, tmp_path):
    """Simulated up to T = 7, wake alone being 4: no rest, no policy that stops, no layer errors of T = 8 = 2 Q."""
    options = {"images": data.parent, "project": tmp_path, "imgsz": 64, "policies": "quiescent,boxes-stable(1)"}
    _, (record,) = study(weights, data, "1..7", limit=1, report=False, **options)
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
    _, (short,) = study(weights, data, "1,3", limit=1, report=False, **options)
    assert short["result"]["layers"]["error"] == {} and plot_layer_error(short) is None


def test_tables_of_curves_and_policies_have_the_same_keys(done):
    folder, records = done
    with (folder / "curves.csv").open() as curves, (folder / "policies.csv").open() as policies:
        keys = [
            {tuple(row[key] for key in records[0]["variant"]) for row in csv.DictReader(f)} for f in (curves, policies)
        ]
    assert keys[0] == keys[1] and len(keys[0]) == len(records)
    assert {key[list(records[0]["variant"]).index("levels")] for key in keys[0]} == {"4"}


def test_an_ann_that_detects_next_to_nothing_gives_no_conclusion(done):
    record = json.loads(json.dumps(done[1][0]))
    curves, ann = record["result"]["curves"], record["result"]["ann"]
    for value, text, cell in ((0.0099, "detects next to nothing", "no mAP"), (0.0101, "T = 1 is enough", "1 (")):
        ann["mAP50-95"], curves["mAP50-95"] = value, [value] * 40
        record["result"]["gap_95"] = {"1": [0.0, 0.0]}
        summary = summarise([record])
        assert text in answers([record], summary)[0] and rows(summary)[1][1].startswith(cell)


def test_scores_are_those_of_val(done, weights, data, tmp_path):
    _, records = done
    content = SpikingYOLO(weights).val(data, "4,8", images=data.parent, imgsz=64, project=tmp_path, bootstrap=0)
    rows = {row["timesteps"]: row for row in content["rows"] if row["network"] == "snn"}
    curves = records[0]["result"]["curves"]
    for t in (4, 8):
        assert curves["mAP50-95"][t - 1] == rows[t]["mAP50-95"] and curves["mAP50"][t - 1] == rows[t]["mAP50"]
        assert curves["energy_mJ"][t - 1] == pytest.approx(rows[t]["energy_mJ"])
    ann = next(row for row in content["rows"] if row["network"] == "ann")
    assert records[0]["result"]["ann"]["mAP50-95"] == ann["mAP50-95"]


def test_study_and_val_cap_detections_alike(weights, data, tmp_path, monkeypatch):
    """Classes that the data set lacks are dropped first, then the best are kept: here 3 of one class, where the best 3
    of all classes are others."""
    monkeypatch.setattr("casc_det.evaluation.networks.SCORING", DetectionSettings(0.001, 0.7, 3, None, True))
    monkeypatch.setattr(
        "casc_det.studies.traces.SHOWN", 0.002
    )  # other classes are in the traces, for policies and page
    model, content, file = SpikingYOLO(weights), json.loads(data.read_text()), tmp_path / "one.json"
    content["categories"], content["annotations"] = [{"id": 0, "name": model.names[3]}], []
    file.write_text(json.dumps(content))
    options = {"images": data.parent, "imgsz": 128, "project": tmp_path}
    model.val(file, "4", bootstrap=0, name="first", **options)
    found = json.loads((tmp_path / "first/predictions_ann.json").read_text())
    for image in content["images"]:
        worst = [r for r in found if r["image_id"] == image["id"]][-1]
        content["annotations"].append({**worst, "area": worst["bbox"][2] * worst["bbox"][3]})
    file.write_text(json.dumps(content))
    _, records = study(weights, file, "4,40", report=False, **options)
    content = model.val(file, "4,40", bootstrap=0, **options)
    ann, *rows = [(row["mAP50-95"], row["mAP50"]) for row in content["rows"]]
    curves = records[0]["result"]["curves"]
    assert list(zip(curves["mAP50-95"], curves["mAP50"], strict=True)) == rows
    assert (records[0]["result"]["ann"]["mAP50-95"], records[0]["result"]["ann"]["mAP50"]) == ann and ann[0] > 0
    kept = [json.loads(line)["rows"]["ann"] for line in (tmp_path / "val/detections.0.jsonl").read_text().splitlines()]
    assert [row["labels"] for row in kept] == [[3] * 3] * 3
    shown = [set(Trace.load(file).detections[:, 5]) for file in (tmp_path / "study/traces").rglob("*.npz")]
    assert len(shown) == 3 and all(3 in labels and len(labels) > 1 for labels in shown)


def test_images_that_cannot_be_used_are_named_and_left_out_before_the_study(weights, data, tmp_path, capsys):
    content = json.loads(data.read_text())
    for image in content["images"]:
        shutil.copy(data.parent / image["file_name"], tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:500])
    (tmp_path / "2.png").unlink()
    words = ["study", f"data={data}", f"images={tmp_path}", f"weights={weights}", "timesteps=4", "imgsz=64"]
    assert main([*words, f"project={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert (
        "2.png: listed, but the picture is absent; skipped" in error and "1.png: cannot be read as a picture" in error
    )
    assert "2 files could not be used" in error
    assert json.loads((tmp_path / "study/summary.json").read_text())["damaged"] == 2
    assert main([*words, f"project={tmp_path}", "strict=false"]) == 0
    (tmp_path / "0.png").write_bytes(b"")
    assert main([*words, f"project={tmp_path}/none"]) == 1
    assert "data: none of the images can be read" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_folder_holds_figures_tables_and_one_page_without_network(done):
    folder, records = done
    for name in ("map", "curves", "pareto", "robustness", "more_fewer", "layer_error", "neurons", "mapping"):
        assert (folder / f"{name}.png").stat().st_size > 5000 and (folder / f"{name}.pdf").stat().st_size > 2000
    with (folder / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 * len(records) and rows[0]["neuron"] == "cif"
    page = (folder / "report.html").read_text()
    assert len(page) < 8e6 and "__DATA__" not in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["']https?:""", page) and "fetch(" not in page
    embedded = json.loads(re.search(r'<script id="data".*?>(.*?)</script>', page, re.DOTALL)[1].replace("<\\/", "</"))
    assert len(embedded["networks"][0]["runs"][0]["boxes"]) == 40 and len(embedded["records"]) == len(records)
    assert len(embedded["networks"]) == sum(not record["variant"]["severity"] for record in records)
    summary = json.loads((folder / "summary.json").read_text())
    best = sorted(max(record["result"]["curves"]["mAP50-95"]) for record in records)
    assert sorted(entry["best"] for entry in summary["cells"]) == best
    assert [entry["disturbance"] for entry in summary["cells"]] == ["clean"] * (len(records) - 1) + ["noise 2"]
    assert "is enough for 99 % of the ANN's" in summary["answers"][0] and "take an earlier one" in summary["answers"][1]
    assert embedded["answers"] == summary["answers"] and embedded["summary"] == summary["cells"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_page_in_a_browser(done, tmp_path):
    """The slider's place changes boxes and bars, and nothing is written to the console."""
    page, doms = done[0] / "report.html", {}
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    for t, network in ((1, 1), (40, 1), (40, 2)):
        words = ["chromium", *options, "--dump-dom", f"file://{page}#picture=2&t={t}&network={network}"]
        run = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in run.stderr, run.stderr
        dom = doms[t, network] = run.stdout.split('<script id="data"')[0]
        clean = [record for record in done[1] if not record["variant"]["severity"]]  # the others are hidden at first
        assert f"T = {t} (" in dom and dom.count("<polyline") == len(clean) and dom.count("<figure>") == 8
        assert dom.count('class="off"') == len(done[1]) - len(clean) == 1
    svg = {key: re.search(r'<svg id="picture".*?</svg>', dom, re.DOTALL)[0] for key, dom in doms.items()}
    bars = {key: re.search(r'<svg id="spikes".*?</svg>', dom, re.DOTALL)[0] for key, dom in doms.items()}
    assert bars[1, 1] != bars[40, 1] and "at rest" in doms[40, 1] and "wake" in doms[1, 1]
    embedded = json.loads((page.read_text().split('type="application/json">')[1]).split("</script>")[0])
    for (t, network), drawn in svg.items():
        assert drawn.count('class="box"') == len(embedded["networks"][network - 1]["runs"][1]["boxes"][t - 1])


def test_finished_cells_are_kept_and_new_ones_added(done, weights, data, monkeypatch):
    folder, records = done
    before = (folder / "cells.jsonl").read_bytes()
    with (folder / "cells.jsonl").open("ab") as file:
        file.write(b'{"key": "cut')  # a full disk
    calls = []
    again = study(
        weights,
        data,
        "1..40",
        neurons="cif,if",
        schedule="wsc,constant",
        images=data.parent,
        imgsz=64,
        resume=folder,
        report=False,
        progress=lambda done, total, text: calls.append(total),
    )[1]
    assert (folder / "cells.jsonl").read_bytes().startswith(before)
    assert calls == [6] * 6  # two cells of three pictures
    assert again[0] == records[0] and len(read_cells(folder)) == len(records) + 2


def test_a_folder_of_another_study_is_refused(done, weights, data, tmp_path):
    folder, _ = done
    options = {"images": data.parent, "imgsz": 64, "report": False}
    with pytest.raises(ArgumentError, match="resume: the study in .* has timesteps .*, not "):
        study(weights, data, "1..8", resume=folder, **options)
    with pytest.raises(ArgumentError, match="resume: .* is no folder of casc-det study"):
        study(weights, data, "1..40", resume=tmp_path, **options)
    old = json.loads((folder / "study.json").read_text()) | {"version": 0}
    (tmp_path / "study.json").write_text(json.dumps(old))
    with pytest.raises(ArgumentError, match="has version 0, not .; start a new one"):
        study(weights, data, "1..40", resume=tmp_path, **options)


def test_study_verb(weights, data, tmp_path, capsys):
    words = ["study", f"data={data}", f"images={data.parent}", f"weights={weights}", "timesteps=2,4,12", "limit=1"]
    assert main([*words, "imgsz=64", "policies=quiescent", f"project={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert (
        "of the ANN's mAP50-95" in out
        and "cell; T (mJ a picture)" in out
        and (tmp_path / "study" / "report.html").is_file()
    )
    again = [*words, "imgsz=64", "policies=quiescent", f"resume={tmp_path / 'study'}", "levels=2,4"]
    assert main(again) == 0 and "live at Q = 2 " in capsys.readouterr().out
    for bad, message in (
        ("neurons=lif", "neurons: expected"),
        ("device=tpu", "device: expected cpu, cuda"),
        ("mac_pj=x", "mac_pj: expected a number"),
        ("policies=", "policies: expected a text, got nothing"),
        ("policies=foo", "policies: expected quiescent"),
    ):
        assert main([word for word in words if word.split("=")[0] != bad.split("=")[0]] + [bad]) == 1
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"casc-det: {message}")


def test_networks_without_a_count_limit_get_the_dtype_that_is_exact(weights):
    it = Study(None, [1, 30000], (64, 64), [], ENERGY)
    dtypes = {
        (neuron, schedule): it.graph(Variant(str(weights), neuron, schedule)).dtype
        for neuron, schedule in (("cif", "wsc"), ("cif", "constant"), ("if", "constant"))
    }
    assert list(dtypes.values()) == [torch.float32, torch.float64, torch.float64]
    assert Study(None, [1, 2], (64, 64), [], ENERGY).graph(Variant(str(weights), "if")).dtype == torch.float32
