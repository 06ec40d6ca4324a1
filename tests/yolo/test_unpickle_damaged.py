"""Files that are damaged, or hold something else, are refused in plain words that say nothing of trust."""

import random

import pytest
import torch
from torch import nn

from casc_det import convert
from casc_det.errors import WeightsError
from casc_det.yolo.unpickle import load


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"# a text", "no file that torch.save"), (b"PK\x03\x04 half a zip", "no"), (b"\x80\x02", "")],
)
def test_damaged_files_are_no_question_of_trust(tmp_path, content, reason):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="no Ultralytics checkpoint") as error:
        load(tmp_path / "x.pt")
    assert reason in str(error.value) and "trust" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{"a": 1}, {"model": None}, {"model": {"x": torch.ones(1)}}, [1], 5, torch.ones(2)])
def test_files_of_other_content_have_a_plain_reason(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"is no Ultralytics checkpoint \((it|its dictionary) holds") as error:
        convert(tmp_path / "x.pt")
    assert "yolo26n" not in str(error.value) and "attribute" not in str(error.value)


def test_random_bytes_have_a_plain_reason(tmp_path):
    for seed in range(20):
        (tmp_path / "x.pt").write_bytes(random.Random(seed).randbytes(3000))
        with pytest.raises(WeightsError, match="no file that torch.save wrote|empty or cut short"):
            convert(tmp_path / "x.pt")


def test_torchscript_is_named(tmp_path):
    torch.jit.script(nn.ReLU()).save(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="TorchScript"):
        load(tmp_path / "x.pt")
