"""`casc-det predict`: what it writes, whatever ends it."""

import json
import shutil

import numpy as np
import pytest
from clips import clip, frames_of
from PIL import Image
from runs import fails, run

from casc_det.graph.file import load_graph


def test_predict_writes_images_and_json(capsys, weights, image_file, tmp_path):
    words = ("predict", f"weights={weights}", f"source={image_file}", "conf=0", f"project={tmp_path}/runs")
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


def test_predict_saves_labels_and_crops_and_takes_class_names(capsys, weights, image_file, tmp_path):
    words = ("predict", f"weights={weights}", f"source={image_file}", "conf=0", "max_det=3", f"project={tmp_path}/r")
    names = load_graph(weights).names
    more = ("save=false", "save_txt=true", "save_conf=true", "save_crop=true", f"classes={names[0]},{names[1]}")
    code, out, _ = run(capsys, *words, *more)
    folder = tmp_path / "r" / "predict"
    assert code == 0 and "at rest" in out and not (folder / "picture.jpg").exists()
    lines = (folder / "labels" / "picture.txt").read_text().splitlines()
    assert len(lines) == 3 and all(len(line.split()) == 6 and line[0] in "01" for line in lines)
    assert list((folder / "crops").rglob("*.jpg"))
    assert "has no class 'zebra'" in fails(capsys, *words, "classes=zebra")


def raise_at_the_second_image(monkeypatch, error: BaseException) -> None:
    import casc_det.prediction.outputs

    real, calls = casc_det.prediction.outputs.write_image, []

    def write(path, image):
        calls.append(path)
        if len(calls) == 2:
            raise error
        return real(path, image)

    monkeypatch.setattr(casc_det.prediction.outputs, "write_image", write)


def test_predict_keeps_what_was_done_when_interrupted(capsys, weights, image_file, tmp_path, monkeypatch):
    (tmp_path / "second.png").write_bytes(image_file.read_bytes())
    raise_at_the_second_image(monkeypatch, KeyboardInterrupt())
    words = ("predict", f"weights={weights}", f"source={tmp_path}/*.png", "timesteps=5", f"project={tmp_path}/r")
    code, out, _ = run(capsys, *words)
    content = json.loads((tmp_path / "r" / "predict" / "predictions.json").read_text())
    assert code == 130 and "interrupted after" in out and content["interrupted"] and content["results"]


def predicted(folder) -> dict:
    return json.loads((folder / "predictions.json").read_text())


def test_full_disk_ends_predict_and_keeps_what_was_done(capsys, weights, image_file, tmp_path, monkeypatch):
    (tmp_path / "second.png").write_bytes(image_file.read_bytes())
    raise_at_the_second_image(monkeypatch, OSError(28, "No space left on device", str(tmp_path / "second.jpg")))
    words = ("predict", f"weights={weights}", f"source={tmp_path}/*.png", "timesteps=2", f"project={tmp_path}/r")
    assert "No space left on device" in fails(capsys, *words)
    content = predicted(tmp_path / "r" / "predict")
    assert content["interrupted"] and [r["saved"] for r in content["results"]] == ["picture.jpg", None]


def test_results_that_have_no_place_go_to_the_temporary_folder(capsys, weights, image_file, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "r" / "p" / "predictions.json").mkdir(parents=True)  # stands for a disk that is full
    words = ("predict", f"weights={weights}", f"source={image_file}", "timesteps=2", f"project={tmp_path}/r", "name=p")
    line = fails(capsys, *words, "exist_ok=true")
    assert "predictions.json' cannot be written" in line and "the results are in" in line
    (spare,) = tmp_path.glob("casc_det-*-predictions.json")
    assert str(spare) in line and len(json.loads(spare.read_text())["results"]) == 1


def test_one_file_that_cannot_be_written_does_not_end_predict(capsys, weights, image_file, tmp_path, monkeypatch):
    import casc_det.prediction.outputs

    long = tmp_path / f"{'x' * 246}.png"
    long.write_bytes(image_file.read_bytes())
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


def test_every_result_says_which_files_are_its_own(capsys, weights, image_file, tmp_path):
    from ultralytics.engine.results import Results

    from casc_det import SpikingYOLO

    (tmp_path / "clip_2.png").write_bytes(image_file.read_bytes())
    Image.open(image_file).save(tmp_path / "picture.bmp")
    for folder, shade in (("a", 60), ("b", 90)):
        clip(tmp_path / folder / "clip.avi", 4, fps=10, shade=shade)
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
    (result,) = SpikingYOLO(weights).predict(image_file, 5, conf=0, max_det=3)
    Results.save_txt(result, tmp_path / "theirs.txt", save_conf=True)
    ours = (tmp_path / "r" / "predict" / labels[0]).read_text()
    assert (tmp_path / "theirs.txt").read_text() == ours
    assert run(capsys, *words, "classes=4")[0] == 0  # no boxes: the files of the earlier run are gone
    assert (
        not (tmp_path / "r" / "predict" / "labels" / "picture.txt").exists()
        or predicted(tmp_path / "r" / "predict")["results"][0]["boxes"]
    )


def test_results_never_take_the_place_of_their_own_inputs(capsys, weights, image_file, tmp_path):
    folder = tmp_path / "own"
    (folder / "labels").mkdir(parents=True)
    Image.open(image_file).save(folder / "a.jpg")
    shutil.copy(image_file, folder / "a.png")
    before = {path.name: path.read_bytes() for path in folder.glob("a.*")}
    words = [f"weights={weights}", f"project={tmp_path}", "name=own", "exist_ok=true", "timesteps=2", "imgsz=64"]
    (tmp_path / "link").symlink_to(folder)
    for _ in range(2):
        assert run(capsys, "predict", f"source={tmp_path}/link/a.*", *words)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.glob("a.*")} == before
    found = json.loads((folder / "predictions.json").read_text())["results"]
    assert [entry["saved"] for entry in found] == ["a2.jpg", "a3.jpg"]
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["a.jpg", "a2.jpg", "a3.jpg"]


def test_predict_names_what_it_skips(capsys, weights, image_file, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    words = ("predict", f"weights={weights}", f"source={tmp_path}", "timesteps=2", f"project={tmp_path}/r")
    code, out, _ = run(capsys, *words)
    content = json.loads((tmp_path / "r" / "predict" / "predictions.json").read_text())
    assert code == 0 and "1 skipped" in out
    assert content["skipped"][0]["path"].endswith("broken.jpg") and content["settings"]["precision"] == "float32"
    image_file.unlink()
    fails(capsys, *words)
    assert not (tmp_path / "r" / "predict-2").exists()


def test_predict_refuses_wrong_values_before_it_writes(capsys, weights, image_file, tmp_path):
    base = ("predict", f"source={image_file}", f"project={tmp_path}/r")
    assert "timesteps" in fails(capsys, *base, f"weights={weights}", "timesteps=0")
    assert "timesteps" in fails(capsys, *base, f"weights={weights}", "timesteps=-1")
    assert "conf" in fails(capsys, *base, f"weights={weights}", "conf=2")
    assert "precision" in fails(capsys, *base, f"weights={weights}", "precision=half")
    assert "does not exist" in fails(capsys, *base, "weights=none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(weights.read_bytes()[:1000])
    assert "damaged" in fails(capsys, *base, f"weights={tmp_path}/bad.safetensors")
    float_file = tmp_path / "float.pt"
    float_file.write_bytes(b"x")
    assert "casc-det convert" in fails(capsys, *base, f"weights={float_file}")
    assert not (tmp_path / "r").exists()
    (tmp_path / "r").write_text("a file where the run folders should go")
    assert "cannot be written" in fails(capsys, *base, f"weights={weights}", "timesteps=1")


def test_predict_notes_the_settings_in_effect_and_what_was_read(capsys, weights, image_file, tmp_path):
    words = ("predict", f"weights={weights}", f"source={image_file}", f"project={tmp_path}/r", "timesteps=1", "burst=2")
    code, out, error = run(capsys, *words)
    assert code == 0 and "being injected before T = 2" in error and "reads spikes (|s| <= 6; seen " in out
    content = predicted(tmp_path / "r" / "predict")
    effect = {"engine": "fast", "neuron": "cif", "burst": 2, "ramp": False, "hysteresis": 0, "delay": 0}
    assert effect.items() <= content["settings"].items()
    cost = content["results"][0]["spiking"]
    assert 0 < cost["messages"] < cost["spikes"] and cost["payload_bits"] == 2 * cost["messages"]
    assert f"{cost['spikes'] / 1e6:.1f} M spikes in {cost['messages'] / 1e6:.1f} M messages" in out
    for key in ("spikes", "messages", "payload_bits"):
        assert cost[key] == sum(layer[key] for layer in content["layers"].values())
    assert cost["sops"] == round(sum(content["layer_sops"].values()))
    rows = content["reads"]["convolutions"].values()
    assert {row["reads"] for row in rows} == {"pixels", "spikes"} and any(row["seen"] for row in rows)
    assert "being injected" not in run(capsys, *words[:-2], "timesteps=2", "burst=2")[2]
