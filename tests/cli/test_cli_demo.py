"""`casc-det demo`, and `info`."""

import json
import shutil

from clips import clip
from PIL import Image
from runs import fails, run


def test_demo_draws_ann_and_snn_side_by_side(capsys, weights, image_file, tmp_path):
    code, out, _ = run(capsys, "demo", f"weights={weights}", f"source={image_file}", "conf=0", f"project={tmp_path}")
    assert code == 0 and "equal to the ANN's" in out and "quiescent" in out
    content = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert [s["spiking"]["timesteps"] for s in content["steps"]] == list(range(1, len(content["steps"]) + 1))
    with Image.open(tmp_path / "demo" / "demo.png") as drawn:
        assert drawn.size[0] > 900


def test_demo_refuses_what_is_not_one_image(capsys, weights, image_file, tmp_path):
    shutil.copy(image_file, tmp_path / "second.png")
    for source in (tmp_path, clip(tmp_path / "clip.avi", 2)):
        assert "source: demo looks at one image, got" in fails(capsys, "demo", f"weights={weights}", f"source={source}")


def test_info_describes_the_graph(capsys, weights):
    code, out, _ = run(capsys, "info", f"weights={weights}", "json=true")
    facts = json.loads(out)
    assert (
        code == 0 and facts["levels"] == 4 and facts["neuron layers"] == 57 and facts["architecture"] == "yolov8n.yaml"
    )
    assert run(capsys, "info", f"weights={weights}")[0] == 0


def test_demo_follows_the_burst(capsys, weights, image_file, tmp_path):
    words = ("demo", f"weights={weights}", f"source={image_file}", "conf=0", f"project={tmp_path}", "burst=2")
    code, out, _ = run(capsys, *words)
    assert code == 0 and "messages (M)" in out and "every convolution but 1 reads spikes (|s| <= 6; seen " in out
    content = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert (content["settings"]["burst"], content["settings"]["ramp"]) == (2, False)
    last, layers = content["steps"][-1]["spiking"], content["layers"].values()
    for key in ("spikes", "messages", "payload_bits"):
        assert last[key] == sum(layer[key] for layer in layers)
    assert last["payload_bits"] == 2 * last["messages"] and last["messages"] < last["spikes"]
    lines = (tmp_path / "demo" / "layers.csv").read_text().splitlines()
    assert len(lines) == 1 + len(content["layers"]) + len(content["layer_sops"])
    shown = [int(line.split()[0]) for line in out.splitlines() if line[:4].strip().isdigit() and "[" not in line]
    assert shown == sorted({1, *range(2, len(content["steps"]), 2), len(content["steps"])})  # wake has Q/2 = 2 steps


def test_info_says_what_convolutions_read_and_how_the_network_is_simulated(capsys, weights):
    out = run(capsys, "info", f"weights={weights}", "burst=3")[1]
    assert "relu x 57" in out and "0 to 4" in out and "bits of a message  3" in out
    assert "(|s| <= 9)" in out and "read pixels: 1 (" in out
    assert "burst: expected an integer from 1 to the levels Q = 4, got 5" in fails(
        capsys, "info", f"weights={weights}", "burst=5"
    )


def test_models_lists_activation_and_burst(capsys):
    (line,) = (line for line in run(capsys, "models")[1].splitlines() if "(default)" in line)
    assert " relu  Q = 16  burst 1 " in line
    entries = json.loads(run(capsys, "models", "json=true")[1])
    assert {(entry["activation"], entry["burst"]) for entry in entries if entry["name"] == "yolov8n-cq16"} == {
        ("relu", 1)
    }
