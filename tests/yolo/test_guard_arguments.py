"""Every argument that names a `.pt` file asks for trust before anything runs, in Python and on the command line."""
# ruff: noqa: F811  fixtures are imported

import os
import shutil

import pytest
import torch
from strangers import Runs, dataset, evil, marker, spiking  # noqa: F401
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import YAML
from ultralytics.utils.torch_utils import strip_optimizer

from casc_det import SpikingYOLO, convert
from casc_det.cli.run import main
from casc_det.errors import ArgumentError, WeightsError
from casc_det.training.run import train
from casc_det.training.trainer import CascTrainer
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.guard import guarded
from casc_det.yolo.unpickle import load


def verbs(evil, spiking, data) -> dict[str, list[str]]:
    """A command for each argument that takes a `.pt` file."""
    training = ["train", f"data={data}", "epochs=1", "imgsz=64", f"project={evil.parent}"]
    yaml = [*training, "model=yolov8n.yaml"]
    return {
        "convert": ["convert", f"weights={evil}", f"out={evil.parent / 'out.safetensors'}"],
        "against": ["val", f"weights={spiking}", f"data={data}", f"against={evil}", f"project={evil.parent}"],
        "model": [*training, f"model={evil}"],
        "resume": ["train", f"resume={evil}"],
        **{key: [*yaml, f"{key}={evil}"] for key in ("weights", "teacher", "pretrained", "distill_model")},
        "unlabelled": [*training, "model=yolov8n.yaml", f"data={data.parent}", f"teacher={evil}"][2:],
    }


ARGUMENTS = ["convert", "against", "model", "resume", "weights", "teacher", "pretrained", "distill_model"]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_every_argument_refuses_before_anything_runs(evil, marker, spiking, dataset, argument, capsys):
    before = sorted(evil.parent.iterdir())
    assert main(verbs(evil, spiking, dataset)[argument]) == 1
    said = capsys.readouterr().err
    name = "weights" if argument == "convert" else argument
    assert f"casc-det: {name}: '{evil}' asks for posix.system" in said and "trust=true" in said
    assert not marker.exists() and sorted(evil.parent.iterdir()) == before  # no run folder, no output


def test_teacher_of_images_without_labels_is_refused(evil, marker, dataset, capsys):
    words = ["train", "model=yolov8n.yaml", f"data={dataset.parent / 'images'}", f"teacher={evil}"]
    assert main(words) == 1
    assert "teacher: " in (said := capsys.readouterr().err) and "trust=true" in said and not marker.exists()


def test_python_refuses_too(evil, marker, spiking, dataset):
    for call in (
        lambda: convert(evil),
        lambda: SpikingYOLO(spiking).val(dataset, against=evil),
        lambda: train(model=str(evil), data=str(dataset)),
    ):
        with pytest.raises(WeightsError, match="trust=true"):
            call()
    assert not marker.exists()


@pytest.mark.parametrize("trust", ["no", "false", 1, None])
def test_trust_is_true_or_false(evil, marker, dataset, trust):
    for call in (lambda: convert(evil, trust=trust), lambda: train(model=str(evil), data=str(dataset), trust=trust)):
        with pytest.raises(ArgumentError, match="trust: expected"):
            call()
    assert not marker.exists()


def test_with_trust_the_file_is_used(evil, marker):
    assert convert(evil, imgsz=64, trust=True).graph.integer
    assert marker.exists()


def test_val_with_trust_uses_the_file(evil, marker, spiking, dataset, capsys):
    words = [*verbs(evil, spiking, dataset)["against"], "trust=true", "imgsz=64", "bootstrap=0", "timesteps=4"]
    assert main(words) == 0, capsys.readouterr().err
    assert marker.exists()


def test_ultralytics_reads_through_the_guard(evil, marker):
    """What the trainer does at its end, with a best.pt that somebody put into the folder."""
    with guarded():
        with pytest.raises(WeightsError, match="trust=true"):
            load_checkpoint(evil)
        assert strip_optimizer(evil) == {}  # it says so in a warning
    assert not marker.exists()
    load_checkpoint(evil)  # outside, Ultralytics is its user's own
    assert marker.exists()


def test_label_cache_beside_a_data_set_is_not_unpickled(tmp_path, marker, dataset):
    import numpy as np

    cache = tmp_path / "labels.cache"
    with open(cache, "wb") as file:
        np.save(file, np.array(Runs(os.system, f"touch {marker}"), dtype=object))
    content = cache.read_bytes()
    folder = train(model="yolov8n.yaml", data=str(dataset), epochs=1, imgsz=32, plots=False, project=str(tmp_path))
    assert not marker.exists() and cache.read_bytes() == content
    assert read_checkpoint(folder / "weights" / "best.pt").args["epochs"] == 1  # trained here: no trust needed
    assert convert(folder / "weights" / "last.pt").graph.integer


def test_resume_writes_where_the_checkpoint_lies_and_takes_no_trust_from_it(tmp_path, dataset, monkeypatch):
    class Stopped(Exception):
        pass

    def save(trainer):
        whole(trainer)
        raise Stopped

    whole = CascTrainer.save_model
    monkeypatch.setattr(CascTrainer, "save_model", save)
    with pytest.raises(Stopped):
        train(model="yolov8n.yaml", data=str(dataset), epochs=2, imgsz=32, plots=False, project=str(tmp_path), name="a")
    monkeypatch.undo()
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    last = tmp_path / "moved" / "weights" / "last.pt"
    content = load(last)
    content["train_args"] |= {"trust": True, "save_dir": str(tmp_path / "elsewhere")}
    torch.save(content, last)
    before = {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    assert train(resume=str(last)) == tmp_path / "moved"
    assert len((tmp_path / "moved" / "results.csv").read_text().splitlines()) == 3  # header, two epochs
    assert before == {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    assert not (tmp_path / "elsewhere").exists()
    assert YAML.load(tmp_path / "moved" / "args.yaml")["trust"] is False


def test_download_of_a_dataset_is_not_run_by_the_validator(tmp_path, marker):
    import ultralytics.engine.validator

    (tmp_path / "images").mkdir()
    file = tmp_path / "d.yaml"
    script = f"open({str(marker)!r}, 'w')"
    file.write_text(f"path: {tmp_path}\ntrain: images\nval: gone\nnames: [a]\ndownload: {script}\n")
    with guarded(), pytest.raises(FileNotFoundError):
        ultralytics.engine.validator.check_det_dataset(str(file))
    assert not marker.exists()
