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
