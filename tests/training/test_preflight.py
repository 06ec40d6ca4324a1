"""Arguments that cannot work are refused in one line, before anything is written."""

import pytest
from PIL import Image

from casc_det.errors import ArgumentError
from casc_det.training.run import train


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizer": "Nonsense"}, "train: Optimizer 'Nonsense' not found"),
        ({"fraction": 1e-9}, "train: final batch=1 training at imgsz=32"),
        ({"split": "test"}, "split: the data set has no 'test'"),
        ({"classes": [1]}, r"classes: the data set has no class 1; its names are 0\.\.0"),
        ({"classes": 7}, "classes: the data set has no class 7"),
        ({"freeze": 23}, "train: 'freeze=23' froze the entire model"),
        ({"model": "yolov3-tiny.yaml", "batch": 2}, "imgsz: images of 32 pixels give this network 5 places"),
    ],
)
def test_training_refuses_other_arguments_in_one_line_and_leaves_nothing(arguments, words, tmp_path):
    data = tmp_path / "data"
    for part in ("images", "labels"):
        (data / part).mkdir(parents=True)
    for name in "abcd":
        Image.new("RGB", (32, 32), "red").save(data / "images" / f"{name}.png")
        (data / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (data / "d.yaml").write_text(f"path: {data}\ntrain: images\nval: images\nnames: [thing]\n")
    given = {"data": str(data / "d.yaml"), "epochs": 1, "imgsz": 32, "workers": 0}
    arguments = {"model": "yolov8n.yaml"} | arguments
    with pytest.raises(ArgumentError, match=f"^{words}") as caught:
        train(**given, plots=False, project=str(tmp_path / "runs"), **arguments)
    assert "\n" not in str(caught.value) and sorted(path.name for path in tmp_path.iterdir()) == ["data"]
