"""Nothing connects anywhere unless the user gave a URL: `tests/offline` forbids it and notes what was tried."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from casc_det import convert
from casc_det.cli.run import main
from casc_det.yolo.guard import guarded

NAMES = ["人", "собака", "été $x_^$"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of two images whose classes are not ASCII, and a network that finds them everywhere."""
    folder = tmp_path_factory.mktemp("data")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for name in ("a", "b"):
        Image.effect_noise((64, 64), 80).convert("RGB").save(folder / "images" / f"{name}.png")
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.3 0.3 0.2 0.2\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: {NAMES}\n", encoding="utf-8")
    return folder


def test_attempts_are_seen_here_and_in_processes(attempts):
    with pytest.raises(RuntimeError, match="forbidden"):
        socket.getaddrinfo("example.org", 80)
    assert "example.org" in attempts.read_text()
    attempts.unlink()
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 9))\nexcept RuntimeError: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "192.0.2.1" in attempts.read_text()
    attempts.unlink()
    with pytest.raises(RuntimeError, match="forbidden"):
        subprocess.run(["curl", "example.org"], check=False)
    attempts.unlink()


def test_every_verb_stays_offline(data, tmp_path, attempts):
    """In a fresh process with a fresh configuration, where nothing is cached."""
    yaml, best, graph = data / "data.yaml", tmp_path / "t" / "weights" / "best.pt", tmp_path / "m.safetensors"
    project = f"project={tmp_path}"
    verbs = [
        ["train", "model=yolov8n.yaml", f"data={yaml}", "epochs=1", "imgsz=64", "plots=true", project, "name=t"],
        ["convert", f"weights={best}", f"out={graph}"],
        ["val", f"weights={graph}", f"data={yaml}", "timesteps=4", f"against={best}", "bootstrap=10", project],
        ["predict", f"weights={graph}", f"source={data / 'images'}", "timesteps=4", "conf=0.0", project],
        ["demo", f"weights={graph}", "imgsz=64", "timesteps=4", "conf=0.0", project],
        ["info", f"weights={graph}"],
    ]
    code = f"from casc_det.cli.run import main\nfor words in {verbs!r}: assert main(words) == 0, words"
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "MPLBACKEND": "agg"}
    for name in ("YOLO_CONFIG_DIR", "YOLO_OFFLINE", "NO_ALBUMENTATIONS_UPDATE"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not attempts.exists()
    assert (tmp_path / "predict" / "a.jpg").exists() and (tmp_path / "t" / "val_batch0_pred.jpg").exists()


def test_class_names_are_drawn_with_a_font_of_this_machine(data):
    """Letters that the font has look different from one another."""
    from ultralytics.utils.plotting import Annotator

    drawn = []
    for name in ("собака", "кошка!"):
        annotator = Annotator(Image.new("RGB", (200, 80)), example=NAMES[0])
        annotator.box_label((10, 40, 190, 70), name)
        drawn.append(annotator.result().tobytes())
    assert annotator.font.getname()[0] and drawn[0] != drawn[1]


def test_the_trainer_downloads_nothing_and_calls_no_service():
    import ultralytics.utils.callbacks
    import ultralytics.utils.downloads
    from ultralytics.utils.events import events

    trainer = SimpleNamespace(callbacks={})  # the real function would fail
    with guarded():
        with pytest.raises(ConnectionError, match="nothing is downloaded"):
            ultralytics.utils.downloads.safe_download("https://example.org/x.pt")
        ultralytics.utils.callbacks.add_integration_callbacks(trainer)
    assert not events.enabled


def test_check_of_amp_needs_no_weights(monkeypatch):
    """Ultralytics tries a network of its own, which it fetches."""
    import ultralytics.engine.trainer

    class Gpu(torch.nn.Module):
        def parameters(self):
            yield type("Parameter", (), {"device": torch.device("cuda")})

        stride = torch.tensor([32])

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    with guarded():
        assert ultralytics.engine.trainer.check_amp(Gpu())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce GTX 1660")
    with guarded():
        assert not ultralytics.engine.trainer.check_amp(Gpu())


@pytest.mark.parametrize("argument", ["weights", "teacher", "pretrained", "distill_model", "model", "resume"])
def test_official_names_are_not_fetched(argument, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "model=yolov8n.yaml", f"data={data / 'data.yaml'}"]
    assert main([word for word in words if not word.startswith(argument)] + [f"{argument}=yolov8n.pt"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_convert_of_an_official_name_is_not_fetched(tmp_path, monkeypatch):
    from casc_det.errors import WeightsError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        convert("yolov8n.pt", trust=True)
