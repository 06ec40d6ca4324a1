"""`casc-det val` end to end on tiny data: data sets, class names, scores, resume, more than one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import live_yolo, small_graph
from PIL import Image

from casc_det import SpikingYOLO, convert
from casc_det.base.lines import read_lines
from casc_det.cli.run import main
from casc_det.cli.val import parse_mapping
from casc_det.cli.verbs import VERBS
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, SourceError
from casc_det.evaluation.bootstrap import bootstrap_gap, image_aps, weighted_ap
from casc_det.evaluation.classes import match_classes
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.energy import EnergyModel, energy_mj
from casc_det.evaluation.settings import check_rows
from casc_det.evaluation.truth import Truth, make_image, read_truth
from casc_det.graph.file import load_graph
from casc_det.heads.detect.detections import Detections
from casc_det.simulation.cost import count_operations

NAMES = ["cat", "dog", "tv", "couch", "cow"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    graph = convert(live_yolo("yolov8n")[0], imgsz=64).graph
    graph.names[:] = NAMES
    from casc_det.graph.file import save_graph

    return save_graph(graph, tmp_path_factory.mktemp("weights") / "live.safetensors")


def save_pictures(folder: Path, count=4, size=(80, 64)):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{i:03d}.jpg")


@pytest.fixture
def coco(tmp_path):
    """A COCO data set of 4 pictures: objects, a crowd, a picture without objects, a box without extent."""
    save_pictures(tmp_path / "images" / "val")
    images = [{"id": 10 + i, "file_name": f"{i:03d}.jpg", "width": 80, "height": 64} for i in range(4)]
    boxes = [(10, 1, [5, 5, 40, 30], 0), (10, 3, [20, 10, 50, 50], 0), (11, 7, [0, 0, 80, 64], 1)]
    boxes += [(11, 1, [8, 8, 30, 30], 0), (13, 9, [10, 4, 60, 50], 0), (13, 9, [5, 5, 0, 0], 0)]
    annotations = [
        {"id": i, "image_id": image, "category_id": c, "bbox": b, "iscrowd": crowd, "area": b[2] * b[3]}
        for i, (image, c, b, crowd) in enumerate(boxes, 1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip((1, 3, 7, 9), ("cat", "dog", "tv", "bird"), strict=True)]
    path = tmp_path / "annotations" / "instances_val.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def voc_folder(root: Path) -> Path:
    save_pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for i in range(4):
        box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>50</xmax><ymax>45</ymax></bndbox>"
        flat = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
        items = f"<object><name>sofa</name><difficult>{i % 2}</difficult>{box}</object>"
        items += f"<object><name>tvmonitor</name>{flat if i == 1 else box}</object>"
        size = "<size><width>80</width><height>64</height></size>"
        (root / "Annotations" / f"{i:03d}.xml").write_text(f"<annotation>{size}{items}</annotation>")
    (root / "ImageSets" / "Main" / "val.txt").write_text("000\n001\n002\n003\n")
    return root


# data sets --------------------------------------------------------------------------------------------------------


def test_coco_file_is_read_with_crowds_and_empty_pictures(coco):
    truth = read_truth(coco)
    assert truth.names == ["cat", "dog", "tv", "bird"] and truth.category_ids == [1, 3, 7, 9]
    assert [p.key for p in truth.images] == [10, 11, 12, 13]
    assert [len(p.boxes) for p in truth.images] == [2, 2, 0, 1]
    assert truth.images[0].boxes[0].tolist() == [5, 5, 45, 35]
    assert truth.images[1].crowd.tolist() == [True, False]
    assert truth.problems == ["003.jpg: box without extent (5, 5, 5, 5) skipped"] and truth.damaged == 0


def test_voc_corners_are_1_based_and_inclusive(tmp_path):
    truth = read_truth(voc_folder(tmp_path / "voc"))
    assert truth.names == ["sofa", "tvmonitor"]
    assert truth.images[0].boxes[0].tolist() == [10, 5, 50, 45]
    assert [p.difficult[0] for p in truth.images] == [False, True, False, True]
    assert truth.problems == ["001.jpg: box without extent (5, 6, 5, 6) skipped"]


def test_broken_and_absent_files_are_named_and_counted(tmp_path):
    root = voc_folder(tmp_path / "voc")
    (root / "Annotations" / "000.xml").write_text("<annotation>")
    (root / "Annotations" / "001.xml").unlink()
    (root / "JPEGImages" / "002.jpg").unlink()
    truth = read_truth(root)
    assert [p.key for p in truth.images] == ["003"] and truth.damaged == 3
    assert "broken" in truth.problems[0] and "unlabelled" in truth.problems[1] and "absent" in truth.problems[-1]


def test_yaml_labels_are_scaled_to_the_picture(tmp_path):
    save_pictures(tmp_path / "images" / "val", 2)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val" / "000.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    yaml = tmp_path / "d.yaml"
    yaml.write_text("train: images/val\nval: images/val\nnames: [cat, dog]\n")
    truth = read_truth(yaml)
    assert truth.images[0].boxes.tolist() == [[30, 16, 50, 48]] and truth.images[0].labels.tolist() == [1]
    assert len(truth.images[1].boxes) == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{}", "no COCO instances file"),
        ("a.json", "[1", "no COCO instances file"),
        ("a.txt", "x", "no COCO .json, VOC folder or dataset YAML"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=words):
        read_truth(tmp_path / name)


def test_missing_data_is_refused(tmp_path, coco):
    with pytest.raises(SourceError, match="does not exist"):
        read_truth(tmp_path / "none.json")
    with pytest.raises(SourceError, match="is no VOC folder .*; give a COCO .json, a VOC folder or a dataset YAML$"):
        read_truth(tmp_path / "images")
    (tmp_path / "voc" / "ImageSets" / "Main").mkdir(parents=True)
    with pytest.raises(SourceError, match="has no list of its images"):
        read_truth(tmp_path / "voc")
    (tmp_path / "voc" / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    with pytest.raises(SourceError, match=r"give split= \(test\)"):
        read_truth(tmp_path / "voc")
    (tmp_path / "images" / "d.yaml").write_text("path: .\ntrain: .\nval: .\nnames: [cat]\n")
    with pytest.raises(SourceError, match="for example data=.*d.yaml"):
        read_truth(tmp_path / "images")
    for split in ("test", "names", "path"):
        with pytest.raises(SourceError, match=rf"has no '{split}' entry with images; give split= \(train, val\)"):
            read_truth(tmp_path / "images" / "d.yaml", split=split)
    with pytest.raises(SourceError, match="is a COCO folder; give its annotation file"):
        read_truth(tmp_path)
    with pytest.raises(SourceError, match="give images=<folder>"):
        read_truth(coco, images=tmp_path / "elsewhere")


# classes ----------------------------------------------------------------------------------------------------------


def test_classes_match_by_name_and_alias():
    mapping = match_classes(["person", "couch", "tv", "horse"], ["TVmonitor", "sofa", "unicorn"])
    assert mapping.label_of.tolist() == [-1, 1, 0, -1]
    assert mapping.missing == ("unicorn",) and mapping.unused == ("person", "horse")
    given = match_classes(["person", "horse"], ["unicorn", "person"], {"unicorn": "horse"})
    assert given.label_of.tolist() == [1, 0] and given.missing == ()


def test_several_classes_of_the_model_count_as_one_of_the_data_set():
    mapping = match_classes(["chair", "couch", "person"], ["furniture", "person"], {"furniture": ["chair", "couch"]})
    assert mapping.label_of.tolist() == [0, 0, 1] and mapping.missing == mapping.unused == ()
    assert parse_mapping("furniture:chair, furniture:couch") == {"furniture": ["chair", "couch"]}
    taken = match_classes(["couch", "chair"], ["furniture", "couch", "chair"], {"furniture": "couch"})
    assert taken.label_of.tolist() == [0, 2] and taken.missing == ("couch",)


@pytest.mark.parametrize(
    ("model", "truth", "given"),
    [
        (["person"], ["man", "woman"], {"man": "person", "woman": ["person"]}),
        (["person"], ["Person", "person"], None),
        (["tv"], ["tv", "TV", "dog"], None),
        (["cat", "dog"], ["cat", "cat", "dog"], None),
        (["couch"], ["sofa", "Sofa"], None),
    ],
)
def test_one_class_of_the_model_cannot_be_two_of_the_data_set(model, truth, given):
    with pytest.raises(ArgumentError, match="cannot be several classes of the data set"):
        match_classes(model, truth, given)


def test_names_that_differ_in_case_only_match_as_written():
    mapping = match_classes(["Cat", "cat", "tv", "tvmonitor"], ["cat", "Cat", "tv"])
    assert mapping.label_of.tolist() == [1, 0, 2, -1]
    assert match_classes(["couch"], ["couch", "sofa"]).missing == ("sofa",)


def test_rows_may_be_ranges():
    graph = convert_graph(small_graph("add"))[0]
    assert check_rows("5..8, auto,6", graph) == (5, 6, 7, 8, "auto") == check_rows([5, 6, 7, 8, "auto"], graph)
    with pytest.raises(ArgumentError, match=r"timesteps: expected integers, .*got '3,8..5'; write 5..8$"):
        check_rows("3,8..5", graph)
    assert VERBS["val"].options["timesteps"].kind.value("timesteps", "2..4,auto") == [2, 3, 4, "auto"]


def test_classes_without_anything_in_common_are_refused():
    with pytest.raises(ArgumentError, match=r"^against: .* the model of against= .*; give against= of a model"):
        match_classes(["a"], ["b"], None, "against=")
    with pytest.raises(ArgumentError, match="no class in common"):
        match_classes(["a"], ["b"])
    with pytest.raises(ArgumentError, match="names a class that"):
        match_classes(["a"], ["b"], {"b": "c"})


# scores -----------------------------------------------------------------------------------------------------------


def random_truth(seed=0, pictures=15):
    rng = np.random.default_rng(seed)
    made, found = [], []
    for i in range(pictures):
        corners = rng.uniform(0, 50, (rng.integers(0, 5), 2))
        rows = [(x, y, x + 30, y + 30, rng.integers(0, 3), rng.uniform() < 0.1, False, None) for x, y in corners]
        made.append(make_image(i, f"{i}.jpg", (100, 100), rows, []))
        boxes = np.array([np.array(r[:4]) + rng.normal(0, 3, 4) for r in rows for _ in range(2)]).reshape(-1, 4)
        labels = np.array([r[4] if rng.uniform() < 0.8 else 0 for r in rows for _ in range(2)], dtype=np.int64)
        found.append(Detections(boxes, rng.uniform(size=len(boxes)), labels))
    return Truth("coco", "random", ["a", "b", "c"], [1, 2, 3], made), found


@pytest.mark.parametrize("seed", range(4))
def test_map_of_the_whole_set_equals_pycocotools(seed):
    truth, found = random_truth(seed)
    numbers, by_class, outcomes = evaluate_coco(truth, to_results(truth, found), [0, 1, 2])
    assert weighted_ap(outcomes, np.ones((1, len(truth.images))))[0] == pytest.approx(numbers["mAP50-95"], abs=1e-12)
    assert np.nanmean(list(by_class.values())) == pytest.approx(numbers["mAP50-95"], abs=1e-12)


def test_weighted_map_equals_repeated_pictures():
    truth, found = random_truth(1, pictures=6)
    _, _, outcomes = evaluate_coco(truth, to_results(truth, found), [0, 1, 2])
    order = [0, 0, 2, 3, 3, 3]
    repeated = Truth("coco", "again", truth.names, truth.category_ids, [])
    repeated.images = [make_copy(truth.images[i], key) for key, i in enumerate(order)]
    numbers, _, _ = evaluate_coco(repeated, to_results(repeated, [found[i] for i in order]), [0, 1, 2])
    assert weighted_ap(outcomes, np.bincount(order, minlength=6).astype(float)[None])[0] == pytest.approx(
        numbers["mAP50-95"]
    )


def make_copy(picture, key):
    return replace(picture, key=key)


def test_bootstrap_of_equal_rows_is_zero_and_brackets_a_real_gap():
    truth, found = random_truth(2)
    worse = [replace(one, boxes=one.boxes + 4) for one in found]
    rows = {
        name: evaluate_coco(truth, to_results(truth, f), [0, 1, 2])[2]
        for name, f in (("ann", found), ("same", found), ("worse", worse))
    }
    gaps = bootstrap_gap(rows, "ann", 50)
    assert gaps["same"] == (0, 0) and gaps["worse"][0] < gaps["worse"][1] < 0
    assert image_aps(rows["ann"]).shape == (15,)


def test_no_detection_at_all_scores_zero(coco):
    truth = read_truth(coco)
    nothing = [Detections.of_table(np.zeros((0, 6)))] * 4
    numbers, _, _ = evaluate_coco(truth, to_results(truth, nothing), [0, 1])
    assert numbers["mAP50-95"] == 0


@pytest.mark.parametrize(("name", "value"), [("mac_pj", -1), ("mac_pj", "much"), ("ac_pj", float("nan"))])
def test_energies_that_cannot_be_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected picojoules"):
        EnergyModel(**{name: value})


def test_energy_counts_macs_and_accumulates(weights):
    assert energy_mj(1e9, 2e9, EnergyModel(4.6, 0.9)) == pytest.approx(4.6 + 1.8)
    operations = count_operations(load_graph(weights), 64, 96)
    assert len(operations.pixels) == 1 and operations.snn_macs(2, 4) == operations.snn_macs(9, 4) / 2
    assert operations.macs[next(iter(operations.pixels))] == 32 * 48 * 16 * 27


# the verb ---------------------------------------------------------------------------------------------------------


def run(capsys, *words):
    code = main(["val", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows_of(folder: Path) -> list[dict]:
    """The rows without what depends on the clock."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def words(weights, coco, folder, *more):
    return (f"weights={weights}", f"data={coco}", "timesteps=4,auto", "precision=float64", "bootstrap=20",
            f"project={folder}", "name=v", *more)  # fmt: skip


def test_val_scores_every_row_and_auto_equals_the_ann(capsys, weights, coco, tmp_path):
    code, out, error = run(capsys, *words(weights, coco, tmp_path))
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

    run(capsys, *words(weights, coco, tmp_path))
    folder = tmp_path / "v"
    truth = COCO(str(coco))
    evaluation = COCOeval(truth, truth.loadRes(str(folder / "predictions_ann.json")), "bbox")
    evaluation.params.catIds = [1, 3, 7]
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    row = rows_of(folder)[0]
    assert row["mAP50-95"] == evaluation.stats[0] and row["AR 100"] == evaluation.stats[8]


def test_val_goes_on_after_a_kill(capsys, weights, coco, tmp_path):
    run(capsys, *words(weights, coco, tmp_path))
    whole, folder = rows_of(tmp_path / "v"), tmp_path / "v"
    lines = (folder / "detections.0.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "detections.0.jsonl").write_bytes(lines[0] + lines[1] + lines[2][:50])
    (folder / "results.json").unlink()
    code, _, _ = run(capsys, *words(weights, coco, tmp_path)[:-2], f"resume={folder}")
    assert code == 0 and rows_of(folder) == whole
    assert (folder / "detections.0.jsonl").read_bytes().splitlines()[0] == lines[0].strip()
    code, _, error = run(capsys, *words(weights, coco, tmp_path)[:-2], f"resume={folder}", "imgsz=96")
    assert code == 1 and "resume" in error and "imgsz" in error


def test_val_on_several_processes_gives_the_same_numbers(capsys, weights, coco, tmp_path):
    run(capsys, *words(weights, coco, tmp_path))
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
    code, _, error = run(capsys, *more, "name=a")
    assert code == 1 and "000.xml: broken" in error and "strict=false" in error
    code, _, _ = run(capsys, *more, "name=b", "strict=false")
    rows = rows_of(tmp_path / "b")
    assert code == 0 and set(rows[0]["classes"]) == {"sofa", "tvmonitor"} and "mAP50 VOC07" in rows[0]


def test_val_names_the_wrong_argument(capsys, weights, coco, tmp_path):
    base = (f"weights={weights}", f"data={coco}", f"project={tmp_path}/r")
    for word in ("timesteps=0", "timesteps=4,x", "protocol=voc", "batch=0", "limit=0", "map=a", "against=none.pt"):
        code, _, error = run(capsys, *base, word)
        assert code == 1 and error.strip().splitlines()[-1].startswith(f"casc-det: {word.split('=')[0]}"), error
    assert run(capsys, *base, f"resume={tmp_path}/none")[0] == 1
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
        code, _, error = run(capsys, f"weights={weights}", f"data={coco}", *more)
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
        code, _, error = run(capsys, *words(weights, coco, tmp_path / str(batch), "rect=true", f"batch={batch}"))
        assert code == 0, error
    one, four = (rows_of(tmp_path / str(batch) / "v") for batch in (1, 4))
    assert one == four
    assert run(capsys, *words(weights, coco, tmp_path / "square", "batch=4"))[0] == 0
    for name, last in (("1", [32, 64]), ("4", [32, 64]), ("square", [64, 64])):
        records = read_lines(tmp_path / name / "v" / "detections.0.jsonl")
        inputs = {record["key"]: record["input"] for record in records}
        assert inputs == {10: [64, 64], 11: [64, 64], 12: [64, 64], 13: last}
    resumed = words(weights, coco, tmp_path, "batch=4", "rect=true", f"resume={tmp_path / 'square' / 'v'}")
    assert "has rect False, not True" in run(capsys, *resumed)[2]


@pytest.mark.parametrize("bad", ["bootstrap=-5", "map=cat:unicorn", "protocol=voc", "data=none.json"])
def test_an_argument_that_cannot_be_leaves_older_results_alone(capsys, weights, coco, tmp_path, bad):
    asked = words(weights, coco, tmp_path, "exist_ok=true")
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("results.json", "results.csv", "settings.json", "detections.3.jsonl", "predictions_float.json"):
        (folder / name).write_text("old")
    assert run(capsys, *[word for word in asked if word.split("=")[0] != bad.split("=")[0]], bad)[0] == 1
    assert {file.read_text() for file in folder.iterdir()} == {"old"} and len(list(folder.iterdir())) == 5


def test_a_new_run_takes_the_place_of_an_old_one(capsys, weights, coco, tmp_path):
    (tmp_path / "v").mkdir()
    for name in ("settings.json", "detections.3.jsonl", "predictions_float.json"):
        (tmp_path / "v" / name).write_text("old")
    (tmp_path / "images/val/001.jpg").write_bytes(b"none")
    code, out, error = run(capsys, *words(weights, coco, tmp_path, "exist_ok=true", "strict=false"))
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
    run(capsys, *words(weights, coco, tmp_path / "plain", *more))
    run(capsys, *words(weights, coco.parent / "instances_changed.json", tmp_path / "changed", *more))
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
