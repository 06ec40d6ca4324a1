"""`casc-det train`, and `convert` of what it gives, on tiny data."""

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import float_yolo, live_yolo
from runs import fails, run

from casc_det import convert
from casc_det.errors import ArgumentError
from casc_det.graph.file import load_graph
from casc_det.training.run import train
from casc_det.yolo.checkpoint import read_checkpoint

TOOLS = Path(__file__).parents[2] / "tools"
FEWER = (
    "sparsity=0.05",
    "fake_int8=0.4",
    "features=1",
    "lr0=1.0e-4",
    "norm_lr=1.0e-3",
    "clip_lr=2.0e-3",
    "warmup_epochs=0",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The synthetic data set of data/tiny.yaml, small, made by the project's own script."""
    spec = importlib.util.spec_from_file_location("make_tiny", TOOLS / "make_tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = module.make_tiny(tmp_path_factory.mktemp("tiny"), train=8, val=4, size=64)
    yaml = root / "tiny.yaml"
    yaml.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [disc, square, triangle]\n")
    return yaml


def test_train_with_labels_then_convert_then_predict(capsys, tiny, image_file, tmp_path):
    words = ("train", "model=yolov8n.yaml", f"data={tiny}", "levels=4", "epochs=2", "imgsz=64", "batch=4")
    code, out, _ = run(capsys, *words, "plots=false", f"project={tmp_path}", "name=t")
    best = tmp_path / "t" / "weights" / "best.pt"
    assert code == 0 and best.is_file() and "casc-det convert" in out
    assert "levels: 4" in (tmp_path / "t" / "args.yaml").read_text()
    assert len((tmp_path / "t" / "results.csv").read_text().splitlines()) == 3
    code, out, _ = run(capsys, "convert", f"weights={best}", f"out={tmp_path}/m.safetensors")
    assert code == 0 and "57 x Activation" in out and "exact" in out
    graph = load_graph(tmp_path / "m.safetensors")
    assert graph.levels == 4 and graph.imgsz == 64 and graph.names == ["disc", "square", "triangle"]
    words = (f"weights={tmp_path}/m.safetensors", f"source={image_file}", f"project={tmp_path}")
    code, _, _ = run(capsys, "predict", *words)
    assert code == 0
    words = ("train", f"model={best}", f"data={tiny}", "epochs=1", "imgsz=64", "batch=4", "sparsity=1")
    assert run(capsys, *words, "plots=false", f"project={tmp_path}", "name=fine")[0] == 0
    assert "train/count" in (tmp_path / "fine" / "results.csv").read_text().splitlines()[0]
    assert "levels: 4" in (tmp_path / "fine" / "args.yaml").read_text()


def test_train_starts_from_a_spiking_graph(capsys, weights, tiny, tmp_path):
    from casc_det.yolo.weights import is_spiking, read_spiking

    words = ("train", "model=yolov8n.yaml", f"data={tiny}", f"weights={weights}", "epochs=1", "imgsz=64", "batch=4")
    code, _, _ = run(capsys, *words, "plots=false", "val=false", f"project={tmp_path}", "name=t")
    assert code == 0 and is_spiking(weights)
    assert "levels: 4" in (tmp_path / "t" / "args.yaml").read_text()
    source, _ = live_yolo("yolov8n")
    fused = {k: v for k, v in copy.deepcopy(source).float().fuse(verbose=False).state_dict().items() if "dfl" not in k}
    real = convert(source, imgsz=64, precision="float").save(tmp_path / "real.safetensors")
    for path, tolerance in ((real, 1e-5), (weights, 0.02)):  # 8 bits
        state = read_spiking(path, source)
        assert state.keys() == fused.keys()
        for key, value in fused.items():
            assert (state[key] - value).norm() <= tolerance * value.norm() + 1e-6, key


def test_train_distils_unlabelled_images_and_resumes(capsys, tiny, tmp_path):
    from casc_det.neurons.activation import CQReLU

    teacher = float_yolo("yolov8n").half()
    teacher.args = {"imgsz": 64}
    torch.save({"model": teacher, "train_args": {}}, tmp_path / "teacher.pt")
    images = tiny.parent / "images" / "train"
    words = ("train", "model=yolov8n.yaml", f"data={images}", f"weights={tmp_path}/teacher.pt", "levels=8", "amp=bf16")
    words += (f"teacher={tmp_path}/teacher.pt", "epochs=3", "imgsz=64", "batch=4", "optimizer=AdamW", "plots=false")
    code, _, _ = run(capsys, *words, f"project={tmp_path}", "name=d", "patience=1", "progressive=0.5", *FEWER)
    assert code == 0
    header = (tmp_path / "d" / "results.csv").read_text().splitlines()[0]
    assert "train/feature_loss" in header and "val/score_loss" in header and "train/count" in header
    last = dict(
        zip(
            header.split(","),
            map(float, (tmp_path / "d" / "results.csv").read_text().split()[-1].split(",")),
            strict=True,
        )
    )
    rates = [last[f"lr/pg{i}"] / last["lr/pg0"] for i in range(4)]  # of bias, weight, BatchNorm, clips
    assert sorted(rates) == pytest.approx([1, 10, 10, 20], rel=0.01)
    model = read_checkpoint(tmp_path / "d" / "weights" / "best.pt")
    sites = [m for m in model.modules() if isinstance(m, CQReLU)]
    assert len(sites) == 57 and {s.levels for s in sites} == {8} and {s.alpha for s in sites} == {1.0}
    assert all(0.01 < float(s.lam) < 1000 for s in sites)
    assert "is finished, there is nothing to go on with" in fails(capsys, "train", f"resume={tmp_path}/d")


def test_train_distils_with_labels(tiny, tmp_path):
    teacher = float_yolo("yolov8n", 3)
    teacher.names = ["a", "b", "c"]
    torch.save({"model": teacher.half(), "train_args": {}}, tmp_path / "teacher.pt")
    common = {"model": "yolov8n.yaml", "epochs": 1, "imgsz": 64, "plots": False, "project": str(tmp_path)}
    folder = train(data=str(tiny), teacher=str(tmp_path / "teacher.pt"), **common)
    header, values = (folder / "results.csv").read_text().splitlines()
    row = dict(zip(header.split(","), map(float, values.split(",")), strict=True))
    for name in ("feature_loss", "score_loss", "box_loss"):
        assert row[f"train/{name}"] > 0 and row[f"val/{name}"] > 0
    assert "metrics/mAP50(B)" in row and not any("cls_loss" in name for name in row)
    assert not hasattr(read_checkpoint(folder / "weights" / "best.pt"), "criterion")
    with pytest.raises(ArgumentError, match="^distill_model: .*use teacher="):
        train(data=str(tiny), distill_model=str(tmp_path / "teacher.pt"), **common)


def test_train_refuses_what_cannot_work(capsys, tiny, tmp_path):
    base = ("train", "model=yolov8n.yaml", f"project={tmp_path}/r")
    assert "levels" in fails(capsys, *base, f"data={tiny}", "levels=0")
    assert "levels" in fails(capsys, *base, f"data={tiny}", "levels=65")
    for word in ("fake_int8=1.5", "sparsity=-1", "clip_lr=fast"):
        assert fails(capsys, *base, f"data={tiny}", word).startswith(f"casc-det: {word.split('=')[0]}: expected a num")
    assert "data" in fails(capsys, *base)
    assert "teacher" in fails(capsys, *base, f"data={tiny.parent}/images/train")
    assert "does not exist" in fails(capsys, *base, f"data={tiny}", "weights=none.pt")
    script = tmp_path / "d.yaml"
    script.write_text("train: none\nval: none\nnames: [a]\ndownload: raise SystemExit('ran')\n")
    assert "is not run" in fails(capsys, *base, f"data={script}")
    (tmp_path / "README.md").write_text("the data set is at ...")
    assert f"'{tmp_path}/README.md' says how to get it" in fails(capsys, *base, f"data={script}")
    for device in ("99", "cuda:99", "0,99"):
        line = fails(capsys, *base, f"data={tiny}", f"device={device}")
        assert line.startswith("casc-det: device: '") and line.endswith("use device=cpu") and len(line) < 120
    assert "could not be converted" in fails(
        capsys, "train", "model=yolo11n.yaml", f"data={tiny}", f"project={tmp_path}/s"
    )
    assert "model" in fails(capsys, "train", "model=nonet.yaml", f"data={tiny}", f"project={tmp_path}/r")
    assert "epochs" in fails(capsys, *base, f"data={tiny}", "epochs=many")
    assert not (tmp_path / "r").exists()


def test_convert_refuses_a_float_network_and_shows_the_audit(capsys, tmp_path):
    model = float_yolo("yolov8n")
    model.args = {}
    torch.save({"model": model, "train_args": {}}, tmp_path / "float.pt")
    code, out, error = run(capsys, "convert", f"weights={tmp_path}/float.pt", f"out={tmp_path}/m.safetensors")
    assert code == 1 and "refused" in out and "SiLU" in error and "casc-det train" in error
    assert not (tmp_path / "m.safetensors").exists()
    (tmp_path / "x.pt").write_bytes(b"x")
    assert "checkpoint" in fails(capsys, "convert", f"weights={tmp_path}/x.pt", f"out={tmp_path}/m.safetensors")


def test_recipe_runs_all_stages_and_keeps_what_is_done(tiny, tmp_path):
    teacher = float_yolo("yolov8n").half()
    teacher.args = {"imgsz": 64}
    torch.save({"model": teacher, "train_args": {}}, tmp_path / "teacher.pt")
    words = [sys.executable, TOOLS / "recipe.py", f"data={tiny.parent}/images/train", "batch=4", "imgsz=64"]
    words += [f"teacher={tmp_path}/teacher.pt", f"project={tmp_path}/r", f"out={tmp_path}/w", "levels=4,2", "size=0.01"]
    for _ in range(2):
        run = subprocess.run(words, capture_output=True, text=True, cwd=TOOLS.parent)
        assert run.returncode == 0, run.stderr
        for q in (4, 2):
            graph = load_graph(tmp_path / "w" / f"yolov8n-cq{q}.safetensors")
            assert graph.integer and graph.levels == q and graph.imgsz == 64
    assert "casc-det train" not in run.stdout  # the second time nothing is left to do
    stages = {f"q4-{stage}" for stage in ("swap", "grow", "whole", "polish", "large")}
    stages |= {f"q2-{stage}" for stage in ("levels", "whole", "polish", "large")}
    assert {p.name for p in (tmp_path / "r").iterdir()} == stages
