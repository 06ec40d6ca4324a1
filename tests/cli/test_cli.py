"""The command line: each verb once on tiny data, and what wrong usage gets."""

import copy
import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import float_yolo, live_yolo
from PIL import Image
from ultralytics.utils import DEFAULT_CFG_DICT

import casc_det
from casc_det import convert
from casc_det.cli.absent import ABSENT
from casc_det.cli.parsing import option_of, parse_pairs, parse_value
from casc_det.cli.run import main
from casc_det.cli.verbs import VERBS
from casc_det.errors import ArgumentError, SourceError
from casc_det.graph.file import load_graph
from casc_det.training.run import train
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.data import read_names

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model, _ = live_yolo("yolov8n")
    return convert(model, imgsz=64).save(tmp_path_factory.mktemp("weights") / "live.safetensors")


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


@pytest.fixture
def picture(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails(capsys, *words, code=1) -> str:
    """The one-line message of a call that must fail."""
    got, _, error = run(capsys, *words)
    line = error.strip().splitlines()[-1]
    assert got == code and line.startswith("casc-det: ") and "Traceback" not in error
    return line


def test_values_are_python_where_they_can_be():
    pairs = parse_pairs(["a=1", "--b", "0.5", "--c=true", "d=[1,2]", "e=auto", "f=4e-4", "g=none", "h=-1", "--flag"])
    assert pairs == {"a": 1, "b": 0.5, "c": True, "d": [1, 2], "e": "auto", "f": 4e-4, "g": None, "h": -1, "flag": True}
    assert parse_value("runs/x") == "runs/x" and parse_value("0,1") == (0, 1)


def typed(verb: str, *words: str) -> dict:
    return parse_pairs(list(words), partial(option_of, verb))


def test_values_have_the_type_of_their_argument():
    words = ("source=2024", "name=7", "--project", "2025", "save=no", "rect=0", "--save-txt", "ON", "conf=1e-1")
    assert typed("predict", *words, "timesteps=8", "imgsz=64,96", "weights=1e3", "classes=0") == {
        "source": "2024",
        "name": "7",
        "project": "2025",
        "save": False,
        "rect": False,
        "save_txt": True,
        "conf": 0.1,
        "timesteps": 8,
        "imgsz": [64, 96],
        "weights": "1e3",
        "classes": "0",
    }
    assert typed("predict", "imgsz=none", "name=none", "classes=[0,2]") == {
        "imgsz": None,
        "name": "none",
        "classes": "[0,2]",
    }
    assert typed("predict", "source= a .png ", "conf= 0.5 ") == {"source": " a .png ", "conf": 0.5}
    assert typed("val", "timesteps=8,auto") == {"timesteps": [8, "auto"]}
    study = typed("study", "neurons=cif,if", "delay=0.25,1", "levels=[4,8]", "weights=8", "timesteps=1..3")
    assert study == {
        "neurons": ["cif", "if"],
        "delay": [0.25, 1],
        "levels": [4, 8],
        "weights": "8",
        "timesteps": "1..3",
    }
    train = typed("train", "epochs=1e2", "batch=16", "lr0=1", "cache=ram", "--resume", "amp=bf16", "name=8", "val=no")
    assert train == {
        "epochs": 100,
        "batch": 16,
        "lr0": 1,
        "cache": "ram",
        "resume": True,
        "amp": "bf16",
        "name": "8",
        "val": False,
    }
    assert isinstance(train["batch"], int) and typed("train", "imgsz=64", "freeze=3") == {"imgsz": 64, "freeze": 3}


@pytest.mark.parametrize(
    ("verb", "word", "expected"),
    [
        ("predict", "save=maybe", "save: expected true or false, got 'maybe'"),
        ("predict", "save=", "save: expected true or false, got nothing"),
        ("predict", "source=", "source: expected a text, got nothing"),
        ("predict", "timesteps=3.5", "timesteps: expected an integer or auto, got '3.5'"),
        ("predict", "timesteps=true", "timesteps: expected an integer or auto, got 'true'"),
        ("predict", "conf=nan", "conf: expected a number, got 'nan'"),
        ("predict", "conf=0,5", "conf: expected a number, got '0,5'"),
        ("predict", "conf=none", "conf: expected a number, got 'none'"),
        ("predict", "imgsz=big", "imgsz: expected an integer or height,width, got 'big'"),
        ("predict", "batch=99999999999999999999", "batch: expected an integer, got '99999999999999999999'"),
        ("predict", "engine=fats", "engine: expected one of fast, reference, got 'fats' (did you mean 'fast'?)"),
        ("study", "neurons=cif,lif", "neurons: expected some of cif, if, signed_if, got 'cif,lif'"),
        ("study", "levels=4,x", "levels: expected integers, comma-separated, got '4,x'"),
        ("train", "epochs=many", "epochs: expected an integer, got 'many'"),
        ("train", "cos_lr=perhaps", "cos_lr: expected true or false, got 'perhaps'"),
        ("train", "cache=disc", "cache: expected true, false or one of ram, disk, got 'disc'"),
    ],
)
def test_value_of_a_wrong_type_is_one_line(capsys, verb, word, expected):
    assert fails(capsys, verb, word) == f"casc-det: {expected}"


def test_bare_flag_takes_no_argument_that_follows(capsys):
    assert typed("predict", "--json", "source=x", "--save", "--rect", "no") == {
        "json": True,
        "source": "x",
        "save": True,
        "rect": False,
    }
    assert typed("predict", "--source", "a=b.jpg") == {"source": "a=b.jpg"}
    assert "name: the value is missing; give name=<a text>" in fails(capsys, "predict", "--name", code=2)
    assert "name: the value is missing" in fails(capsys, "predict", "--name", "--save", code=2)


def test_help_names_the_types(capsys):
    out = run(capsys, "predict", "--help")[1]
    assert "(true or false)" in out and "(one of fast, reference)" in out and "(an integer or auto)" in out


def test_help_and_version(capsys):
    assert run(capsys, "--version") == (0, f"casc-det {casc_det.__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0 and all(verb in out for verb in ("demo", "predict", "train", "convert", "info"))
    for verb in ("demo", "predict", "train", "convert", "info"):
        code, out, _ = run(capsys, verb, "--help")
        assert code == 0 and "weights" in out


def test_usage_errors_have_code_2_and_the_nearest_word(capsys):
    assert "did you mean 'predict'?" in fails(capsys, "predit", code=2)
    assert "give weights=" in fails(capsys, "predict", "source=x", "model=y", code=2)
    assert "did you mean 'timesteps'?" in fails(capsys, "predict", "source=x", "timestep=3", code=2)
    assert "did you mean 'epochs'?" in fails(capsys, "train", "epoch=3", code=2)
    assert "source is missing" in fails(capsys, "predict", code=2)
    assert "given twice" in fails(capsys, "predict", "source=a", "source=b", code=2)
    assert "expected key=value" in fails(capsys, "predict", "bus.jpg", code=2)
    assert main([]) == 2


def test_arguments_of_ultralytics_that_are_not_there_say_what_to_do(capsys):
    assert "no 'show' here: no window is opened" in fails(capsys, "predict", "source=x", "show=true", code=2)
    assert "no 'half' here: give precision=" in fails(capsys, "val", "data=x", "--half", code=2)
    assert ABSENT.keys() - {"half", "int8"} < DEFAULT_CFG_DICT.keys()  # those two are of earlier releases
    for verb in ("predict", "val", "study", "demo"):
        for key in ABSENT.keys() - VERBS[verb].options.keys():
            fails(capsys, verb, f"{key}=1", code=2)
    assert not ABSENT.keys() & {key for verb in VERBS.values() for key in verb.options if verb is not VERBS["train"]}


@pytest.mark.parametrize("tool", sorted(path.stem for path in TOOLS.glob("*.py") if "__main__" in path.read_text()))
def test_tools_show_their_help(monkeypatch, capsys, tool):
    monkeypatch.setattr(sys, "argv", [tool, "--help"])
    monkeypatch.syspath_prepend(str(TOOLS))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
    assert end.value.code == 0 and f"python tools/{tool}.py" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["compare_neurons", "check_exactness", "voc_to_yolo"])
def test_tools_name_what_is_missing(monkeypatch, tool):
    monkeypatch.setattr(sys, "argv", [tool])
    with pytest.raises(SystemExit, match="source is missing; see --help"):
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")


def test_predict_writes_pictures_and_json(capsys, weights, picture, tmp_path):
    words = ("predict", f"weights={weights}", f"source={picture}", "conf=0", f"project={tmp_path}/runs")
    code, out, _ = run(capsys, *words)
    folder = tmp_path / "runs" / "predict"
    assert code == 0 and str(folder) in out
    content = json.loads((folder / "predictions.json").read_text())
    (result,) = content["results"]
    assert result["spiking"]["quiescent"] and result["boxes"] and content["skipped"] == []
    with Image.open(folder / "picture.jpg") as drawn:
        assert drawn.size == (90, 60)
    assert run(capsys, *words)[0] == 0 and (tmp_path / "runs" / "predict-2").is_dir()


def test_predict_on_a_video_writes_a_video(capsys, weights, tmp_path):
    import cv2

    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for i in range(3):
        writer.write(np.full((48, 64, 3), 60 * i, np.uint8))
    writer.release()
    code, _, _ = run(capsys, "predict", f"weights={weights}", f"source={clip}", "timesteps=5", f"project={tmp_path}/r")
    folder = tmp_path / "r" / "predict"
    frames = json.loads((folder / "predictions.json").read_text())["results"]
    assert code == 0 and [f["frame"] for f in frames] == [1, 2, 3]
    read = cv2.VideoCapture(str(folder / "clip.mp4"))
    assert int(read.get(cv2.CAP_PROP_FRAME_COUNT)) == 3


def test_predict_saves_labels_and_crops_and_takes_class_names(capsys, weights, picture, tmp_path):
    words = ("predict", f"weights={weights}", f"source={picture}", "conf=0", "max_det=3", f"project={tmp_path}/r")
    names = load_graph(weights).names
    more = ("save=false", "save_txt=true", "save_conf=true", "save_crop=true", f"classes={names[0]},{names[1]}")
    code, out, _ = run(capsys, *words, *more)
    folder = tmp_path / "r" / "predict"
    assert code == 0 and "at rest" in out and not (folder / "picture.jpg").exists()
    lines = (folder / "labels" / "picture.txt").read_text().splitlines()
    assert len(lines) == 3 and all(len(line.split()) == 6 and line[0] in "01" for line in lines)
    assert list((folder / "crops").rglob("*.jpg"))
    assert "has no class 'zebra'" in fails(capsys, *words, "classes=zebra")


def test_predict_keeps_what_was_done_when_interrupted(capsys, weights, picture, tmp_path, monkeypatch):
    import casc_det.prediction.outputs

    (tmp_path / "second.png").write_bytes(picture.read_bytes())
    real, calls = casc_det.prediction.outputs.write_image, []

    def interrupt(path, image):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, image)

    monkeypatch.setattr(casc_det.prediction.outputs, "write_image", interrupt)
    words = ("predict", f"weights={weights}", f"source={tmp_path}/*.png", "timesteps=5", f"project={tmp_path}/r")
    code, out, _ = run(capsys, *words)
    content = json.loads((tmp_path / "r" / "predict" / "predictions.json").read_text())
    assert code == 130 and "interrupted after" in out and content["interrupted"] and content["results"]


def clip(path, frames: int, shade: int = 60):
    import cv2

    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), shade * i % 256, np.uint8))
    writer.release()
    return path


def frames_of(path) -> int:
    import cv2

    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))


def predicted(folder) -> dict:
    return json.loads((folder / "predictions.json").read_text())


def test_full_disk_ends_predict_and_keeps_what_was_done(capsys, weights, picture, tmp_path, monkeypatch):
    import casc_det.prediction.outputs

    (tmp_path / "second.png").write_bytes(picture.read_bytes())
    real, calls = casc_det.prediction.outputs.write_image, []

    def full(path, image):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(path))
        return real(path, image)

    monkeypatch.setattr(casc_det.prediction.outputs, "write_image", full)
    words = ("predict", f"weights={weights}", f"source={tmp_path}/*.png", "timesteps=2", f"project={tmp_path}/r")
    assert "No space left on device" in fails(capsys, *words)
    content = predicted(tmp_path / "r" / "predict")
    assert content["interrupted"] and [r["saved"] for r in content["results"]] == ["picture.jpg", None]


def test_results_that_have_no_place_go_to_the_temporary_folder(capsys, weights, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "r" / "p" / "predictions.json").mkdir(parents=True)  # stands for a disk that is full
    words = ("predict", f"weights={weights}", f"source={picture}", "timesteps=2", f"project={tmp_path}/r", "name=p")
    line = fails(capsys, *words, "exist_ok=true")
    assert "predictions.json' cannot be written" in line and "the results are in" in line
    (spare,) = tmp_path.glob("casc_det-*-predictions.json")
    assert str(spare) in line and len(json.loads(spare.read_text())["results"]) == 1


def test_one_file_that_cannot_be_written_does_not_end_predict(capsys, weights, picture, tmp_path, monkeypatch):
    import casc_det.prediction.outputs

    long = tmp_path / f"{'x' * 246}.png"
    long.write_bytes(picture.read_bytes())
    words = ("predict", f"weights={weights}", "timesteps=2", f"project={tmp_path}/r", "save_txt=true", "conf=0")
    code, _, _ = run(capsys, *words, f"source={tmp_path}/*.png", "save_crop=true", "max_det=2")
    content = predicted(tmp_path / "r" / "predict")
    saved = [r["saved"] for r in content["results"]]
    assert code == 0 and saved[0] == "picture.jpg" and saved[1].startswith("xxx") and len(saved[1]) < 200
    assert all(
        (tmp_path / "r" / "predict" / r[key]).is_file() for r in content["results"] for key in ("saved", "labels")
    )
    real = casc_det.prediction.outputs.write_image
    refuse = lambda path, image: real(path if "xxx" not in path.name else path.with_name("y" * 300 + ".jpg"), image)
    monkeypatch.setattr(casc_det.prediction.outputs, "write_image", refuse)
    code, _, error = run(capsys, *words, f"source={tmp_path}/*.png")
    content = predicted(tmp_path / "r" / "predict-2")
    assert code == 1 and "could not be written" in error and [bool(r["saved"]) for r in content["results"]] == [1, 0]
    assert not content["interrupted"] and len(content["unwritten"]) == 1


def test_cut_video_has_its_frames_and_exit_code_1(capsys, caplog, weights, tmp_path):
    data = clip(tmp_path / "whole.avi", 8).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * 0.8)])
    words = ("predict", f"weights={weights}", "timesteps=2", f"project={tmp_path}/r", "json=true")
    code, out, _ = run(capsys, *words, f"source={tmp_path}/cut.avi")
    content = json.loads(out)  # and nothing beside it
    assert code == 1 and "is damaged or cut" in caplog.text and content["incomplete"] == 1
    assert content["skipped"][0]["path"].endswith("cut.avi") and 0 < len(content["results"]) < 8
    assert frames_of(tmp_path / "r" / "predict" / "cut.mp4") == len(content["results"])


def test_every_result_says_which_files_are_its_own(capsys, weights, picture, tmp_path):
    from ultralytics.engine.results import Results

    from casc_det import SpikingYOLO

    (tmp_path / "clip_2.png").write_bytes(picture.read_bytes())
    Image.open(picture).save(tmp_path / "picture.bmp")
    for folder, shade in (("a", 60), ("b", 90)):
        clip(tmp_path / folder / "clip.avi", 4, shade)
    (tmp_path / "list.txt").write_text("picture.png\npicture.bmp\nclip_2.png\na/clip.avi\nb/clip.avi\n")
    words = ("predict", f"weights={weights}", f"source={tmp_path}/list.txt", "timesteps=5", "conf=0", "max_det=3")
    words += ("vid_stride=2", f"project={tmp_path}/r", "save_txt=true", "save_conf=true", "exist_ok=true")
    for _ in range(2):  # the second time nothing is appended
        assert run(capsys, *words)[0] == 0
        results = predicted(tmp_path / "r" / "predict")["results"]
        assert [r["saved"] for r in results] == [
            "picture.jpg",
            "picture2.jpg",
            "clip_2.jpg",
            "clip.mp4",
            "clip.mp4",
            "clip2.mp4",
            "clip2.mp4",
        ]
        assert [r["frame"] for r in results] == [None, None, None, 2, 4, 2, 4]
        assert [r["time"] for r in results][3:] == pytest.approx([0.1, 0.3, 0.1, 0.3])
        labels = [r["labels"] for r in results]
        assert len(set(labels)) == 7 and all(label.startswith("labels/") for label in labels)
        for result in results:
            lines = (tmp_path / "r" / "predict" / result["labels"]).read_text().splitlines()
            assert [int(line.split()[0]) for line in lines] == [box["class"] for box in result["boxes"]]
    (result,) = SpikingYOLO(weights).predict(picture, 5, conf=0, max_det=3)
    Results.save_txt(result, tmp_path / "theirs.txt", save_conf=True)
    ours = (tmp_path / "r" / "predict" / labels[0]).read_text()
    assert (tmp_path / "theirs.txt").read_text() == ours
    assert run(capsys, *words, "classes=4")[0] == 0  # no boxes: the files of the earlier run are gone
    assert (
        not (tmp_path / "r" / "predict" / "labels" / "picture.txt").exists()
        or predicted(tmp_path / "r" / "predict")["results"][0]["boxes"]
    )


def test_results_never_take_the_place_of_their_own_inputs(capsys, weights, picture, tmp_path):
    folder = tmp_path / "own"
    (folder / "labels").mkdir(parents=True)
    Image.open(picture).save(folder / "a.jpg")
    shutil.copy(picture, folder / "a.png")
    before = {path.name: path.read_bytes() for path in folder.glob("a.*")}
    words = [f"weights={weights}", f"project={tmp_path}", "name=own", "exist_ok=true", "timesteps=2", "imgsz=64"]
    (tmp_path / "link").symlink_to(folder)
    for _ in range(2):
        assert run(capsys, "predict", f"source={tmp_path}/link/a.*", *words)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.glob("a.*")} == before
    found = json.loads((folder / "predictions.json").read_text())["results"]
    assert [entry["saved"] for entry in found] == ["a2.jpg", "a3.jpg"]
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["a.jpg", "a2.jpg", "a3.jpg"]


def test_predict_names_what_it_skips(capsys, weights, picture, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    words = ("predict", f"weights={weights}", f"source={tmp_path}", "timesteps=2", f"project={tmp_path}/r")
    code, out, _ = run(capsys, *words)
    content = json.loads((tmp_path / "r" / "predict" / "predictions.json").read_text())
    assert code == 0 and "1 skipped" in out
    assert content["skipped"][0]["path"].endswith("broken.jpg") and content["settings"]["precision"] == "float32"
    picture.unlink()
    fails(capsys, *words)
    assert not (tmp_path / "r" / "predict-2").exists()


def test_predict_refuses_wrong_values_before_it_writes(capsys, weights, picture, tmp_path):
    base = ("predict", f"source={picture}", f"project={tmp_path}/r")
    assert "timesteps" in fails(capsys, *base, f"weights={weights}", "timesteps=0")
    assert "timesteps" in fails(capsys, *base, f"weights={weights}", "timesteps=-1")
    assert "conf" in fails(capsys, *base, f"weights={weights}", "conf=2")
    assert "precision" in fails(capsys, *base, f"weights={weights}", "precision=half")
    assert "does not exist" in fails(capsys, *base, "weights=none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(weights.read_bytes()[:1000])
    assert "damaged" in fails(capsys, *base, f"weights={tmp_path}/bad.safetensors")
    float_file = tmp_path / "float.pt"
    float_file.write_bytes(b"x")
    assert "casc-det train" in fails(capsys, *base, f"weights={float_file}")
    assert not (tmp_path / "r").exists()
    (tmp_path / "r").write_text("a file where the run folders should go")
    assert "cannot be written" in fails(capsys, *base, f"weights={weights}", "timesteps=1")


def test_demo_draws_ann_and_snn_side_by_side(capsys, weights, picture, tmp_path):
    code, out, _ = run(capsys, "demo", f"weights={weights}", f"source={picture}", "conf=0", f"project={tmp_path}")
    assert code == 0 and "equal to the ANN's" in out and "quiescent" in out
    content = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert [s["spiking"]["timesteps"] for s in content["steps"]] == list(range(1, len(content["steps"]) + 1))
    with Image.open(tmp_path / "demo" / "demo.png") as drawn:
        assert drawn.size[0] > 900


def test_demo_refuses_what_is_not_one_image(capsys, weights, picture, tmp_path):
    shutil.copy(picture, tmp_path / "second.png")
    for source in (tmp_path, clip(tmp_path / "clip.avi", 2)):
        assert "source: demo looks at one image, got" in fails(capsys, "demo", f"weights={weights}", f"source={source}")


def test_info_describes_the_graph(capsys, weights):
    code, out, _ = run(capsys, "info", f"weights={weights}", "json=true")
    facts = json.loads(out)
    assert (
        code == 0 and facts["levels"] == 4 and facts["neuron layers"] == 57 and facts["architecture"] == "yolov8n.yaml"
    )
    assert run(capsys, "info", f"weights={weights}")[0] == 0


def test_train_with_labels_then_convert_then_predict(capsys, tiny, picture, tmp_path):
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
    code, _, _ = run(capsys, "predict", f"weights={tmp_path}/m.safetensors", f"source={picture}", f"project={tmp_path}")
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


def test_summary_has_no_second_s():
    from casc_det.yolo.results import SpikingResults

    boxes = torch.tensor([[0, 0, 9, 9, 0.9, label] for label in (0, 1, 1, 2, 2)], dtype=torch.float64)
    results = SpikingResults(np.zeros((9, 9, 3), np.uint8), "x", {0: "dog", 1: "cat", 2: "Platelets"}, boxes=boxes)
    assert results.verbose() == "1 dog, 2 cats, 2 Platelets, "


def test_held_out_pictures_keep_their_size_under_multi_scale():
    """Else the losses by which the best checkpoint is chosen would depend on the sizes that chance gave them."""
    from casc_det.training.trainer import CascTrainer

    trainer = CascTrainer.__new__(CascTrainer)
    trainer.args, trainer.device = SimpleNamespace(multi_scale=0.5, imgsz=64), torch.device("cpu")
    trainer.stride, trainer.cpu_bf16 = 32, False
    shapes = lambda prepare: {prepare({"img": torch.zeros(1, 3, 64, 64)})["img"].shape[3] for _ in range(40)}
    assert shapes(trainer.as_they_are) == {64} and trainer.args.multi_scale == 0.5
    assert len(shapes(trainer.preprocess_batch)) > 1


FEWER = (
    "sparsity=0.05",
    "fake_int8=0.4",
    "features=1",
    "lr0=1.0e-4",
    "norm_lr=1.0e-3",
    "clip_lr=2.0e-3",
    "warmup_epochs=0",
)


def test_train_distils_unlabelled_pictures_and_resumes(capsys, tiny, tmp_path):
    from casc_det.neurons.activation import CQReLU

    teacher = float_yolo("yolov8n").half()
    teacher.args = {"imgsz": 64}
    torch.save({"model": teacher, "train_args": {}}, tmp_path / "teacher.pt")
    pictures = tiny.parent / "images" / "train"
    words = (
        "train",
        "model=yolov8n.yaml",
        f"data={pictures}",
        f"weights={tmp_path}/teacher.pt",
        "levels=8",
        "amp=bf16",
    )
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


@pytest.mark.parametrize("content", ["", "a text", "names: 7", "names: []", "[1, 2]", "names: {a"])
def test_names_of_no_dataset_are_refused(content, tmp_path):
    for name in ("n.yaml", "n.txt"):
        (tmp_path / name).write_text(content)
        with pytest.raises(SourceError, match="^names: '.*' (is no dataset YAML|names no class)"):
            read_names(tmp_path / name)


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
