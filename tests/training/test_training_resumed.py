"""A training that was ended goes on; its files are whole or absent."""

import os
import signal
from pathlib import Path

import pytest
from runs import fails, held, size_limit

from casc_det.cli.run import main
from casc_det.errors import OutputError
from casc_det.training import whole
from casc_det.training.trainer import CascTrainer
from casc_det.training.whole import WholePath, strip_whole, trim_results

pytestmark = pytest.mark.usefixtures("signals_of_a_terminal")


def test_a_training_in_use_is_not_resumed_twice(place, monkeypatch, capsys):
    folder = place / "runs" / "train"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "last.pt").write_bytes(b"")
    monkeypatch.setattr("casc_det.training.preflight.read_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr("casc_det.training.run._train", lambda _: folder)
    with held(folder) as process:
        assert f"'{folder}' is in use by process {process}; wait" in fails(capsys, "train", f"resume={folder}")
    assert main(["train", f"resume={folder}"]) == 0


def test_results_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("epoch,x\n1,0.1\n2,0.2\n2,0.25\n3,0.3\n4,0.")
    trim_results(file, 2)
    assert file.read_text() == "epoch,x\n1,0.1\n2,0.2\n"
    trim_results(tmp_path / "none.csv", 2)


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = WholePath(tmp_path) / "weights" / "last.pt"
    file.write_bytes(b"old")
    with size_limit(1000), pytest.raises(OutputError, match="last.pt' cannot be written"):
        file.write_bytes(bytes(5000))
    assert file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1

    def full(file, s, updates):
        Path(s).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(whole, "strip_optimizer", full)
    assert strip_whole(file) == {} and file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1


def test_training_that_was_ended_goes_on_and_a_finished_one_says_so(place, monkeypatch, capsys):
    (place / "labels").mkdir()
    for k in range(3):
        (place / "labels" / f"{k}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (place / "d.yaml").write_text(f"path: {place}\ntrain: images\nval: images\nnames: [cat, dog]\n")
    common = [f"data={place / 'd.yaml'}", "model=yolov8n.yaml", "imgsz=32", "epochs=3", "batch=4", "plots=false"]
    inner = CascTrainer.save_metrics

    def save_metrics(self, metrics):
        inner(self, metrics)
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # behind the line of epoch 2, before its checkpoint

    with monkeypatch.context() as context:
        context.setattr(CascTrainer, "save_metrics", save_metrics)
        assert main(["train", *common, "levels=4", f"project={place / 'runs'}"]) == 143
    folder = place / "runs" / "train"
    assert f"go on with casc-det train resume={folder}" in capsys.readouterr().err
    assert [line.split(",")[0] for line in (folder / "results.csv").read_text().split()] == ["epoch", "1", "2"]
    resume = f"resume={folder}"
    assert main(["train", resume]) == 0
    assert [line.split(",")[0] for line in (folder / "results.csv").read_text().split()] == ["epoch", "1", "2", "3"]
    assert [path.name for path in (place / "runs").iterdir()] == ["train"]
    assert "is finished, there is nothing to go on with" in fails(capsys, "train", resume)
    (folder / "weights" / "last.pt").write_bytes(b"garbage")
    assert "last.pt" in fails(capsys, "train", resume)


def test_training_that_was_ended_before_its_first_epoch_says_so(place, monkeypatch, capsys):
    (place / "d.yaml").write_text(f"path: {place}\ntrain: images\nval: images\nnames: [cat, dog]\n")
    monkeypatch.setattr(CascTrainer, "preprocess_batch", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    common = [f"data={place / 'd.yaml'}", "model=yolov8n.yaml", "imgsz=32", "epochs=3", "plots=false"]
    assert main(["train", *common, "levels=4", f"project={place / 'runs'}"]) == 130
    assert "there is nothing to go on with" in capsys.readouterr().err
    folder = place / "runs" / "train"
    for resume in (folder, folder / "weights" / "last.pt"):
        assert "its training stopped before the first epoch ended" in fails(capsys, "train", f"resume={resume}")
    assert "is no run folder of casc-det train" in fails(capsys, "train", f"resume={place / 'images'}")
    assert "'gone' does not exist" in fails(capsys, "train", "resume=gone")
