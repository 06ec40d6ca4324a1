"""What pages say of the code: the order of the rooms, the architectures that are converted or refused."""

import re

import pytest
from test_architecture import ROOMS
from update_tables import ROOT

from casc_det.errors import ConversionError
from casc_det.training.convertible import check_architecture

README = (ROOT / "README.md").read_text()
LIMIT = " ".join(re.search(r"^\* Detectors with a `Detect` head(.*?)^\*", README, re.DOTALL | re.MULTILINE)[1].split())


def test_the_page_of_the_architecture_has_the_rooms_in_their_order():
    table = (ROOT / "casc_det" / "README.md").read_text().split("## One image")[0]
    assert re.findall(r"^\| \[?`(\w+)`", table, re.MULTILINE) == [room for room in ROOMS if room != "__main__"]


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov5n6", "yolov8n", "yolov8n-p2"])
def test_architectures_of_the_readme_can_be_converted(name):
    check_architecture(f"{name}.yaml")
    assert "YOLOv3, v5 and v8" in LIMIT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("yolov6n", "v6"),
        ("yolov9t", "v9"),
        ("yolov10n", "v10"),
        ("yolo11n", "11"),
        ("yolo12n", "12"),
        ("yolo26n", "26"),
        ("yolov8n-seg", "segmentation"),
        ("yolov8n-pose", "pose"),
    ],
)
def test_other_architectures_are_refused(name, said):
    with pytest.raises(ConversionError):
        check_architecture(f"{name}.yaml")
    assert re.search(rf"\b{said}\b", LIMIT.partition("Others")[2])
