"""The files of each result: names that no two inputs share, flags that are true or false, faults that are noted."""

import numpy as np
import pytest

from casc_det.errors import ArgumentError
from casc_det.heads.detect.detections import Detections
from casc_det.prediction.outputs import Outputs, Saving
from casc_det.yolo.images import Frame
from casc_det.yolo.results import make_results


def result(path: str, number: int, boxes=((2, 3, 30, 20),)):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    frame = Frame(image, path, number=number)
    count = len(boxes)
    found = Detections(np.array(boxes, float).reshape(-1, 4), np.full(count, 0.5), np.zeros(count, np.int64))
    return make_results(found, frame, ["a/b"], (48, 64), None)


def test_inputs_of_one_name_and_boxes_of_one_class_get_files_of_their_own(tmp_path):
    outputs = Outputs(tmp_path, Saving(save_txt=True, save_crop=True), True, taken={"x.jpg"})
    two = ((2, 3, 30, 20), (30, 20, 60, 40))
    written = [outputs.write(result(path, i, two)) for i, path in enumerate(("a/x.png", "b/x.png"))]
    assert written == [{"saved": f"x{i}.jpg", "labels": f"labels/x{i}.txt"} for i in (2, 3)]
    crops = sorted(path.name for path in (tmp_path / "crops").rglob("*.jpg"))
    assert crops == ["x2.jpg", "x22.jpg", "x3.jpg", "x32.jpg"] and not outputs.unwritten
    assert len((tmp_path / "labels/x2.txt").read_text().splitlines()[0].split()) == 5


def test_nothing_is_written_that_was_not_asked_for_or_has_no_boxes(tmp_path):
    assert Outputs(tmp_path, Saving(save=False), True).write(result("x.png", 0)) == {"saved": None, "labels": None}
    assert not list(tmp_path.iterdir())
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/x.txt").write_text("of an earlier run")
    outputs = Outputs(tmp_path, Saving(save_txt=True), True)
    assert outputs.write(result("x.png", 0, ())) == {"saved": "x.jpg", "labels": None}
    assert not (tmp_path / "labels/x.txt").exists()


@pytest.mark.parametrize("name", ["save", "save_txt", "save_conf", "save_crop"])
def test_flags_are_true_or_false(name):
    with pytest.raises(ArgumentError, match=f"{name}: expected True or False, got 'no'"):
        Saving(**{name: "no"})
