"""What is in a `.pt` file from a stranger is refused by name, and nothing of it runs."""
# ruff: noqa: F811  fixtures are imported

import os
import pickle

import pytest
import torch
from conftest import float_yolo
from strangers import ACTIVATION, Runs, evil, marker  # noqa: F401
from torch import nn
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from casc_det import convert
from casc_det.errors import WeightsError
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.unpickle import load


class Touch(nn.Module):
    """A layer that is nobody's but this test's."""


def test_the_fixture_runs_a_command(evil, marker):
    torch.load(evil, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, torch.load, torch.hub.load, yaml_model_load])
def test_pickle_that_calls_a_function_is_refused_by_name(tmp_path, function):
    torch.save({"model": Runs(function, "1")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=rf"evil.pt' asks for [\w.]*{function.__name__}, .*trust=true"):
        load(tmp_path / "evil.pt")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("how", ["torch", "old", "plain"])
def test_every_form_of_pickle_is_refused(tmp_path, marker, protocol, how):
    content = {"model": Runs(os.system, f"touch {marker}")}
    file = tmp_path / "evil.pt"
    if how == "plain":
        file.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError, match=r"asks for posix.system, .*trust=true"):
        load(file)
    assert not marker.exists()


@pytest.mark.parametrize("kind", [DetectionModel, nn.Linear, CQReLUModel])
def test_constructors_of_allowed_classes_cannot_be_called(tmp_path, marker, kind):
    description = yaml_model_load("yolov8n.yaml") | {"activation": ACTIVATION.format(marker)}
    torch.save({"model": Runs(kind, description)}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=rf"call of [\w.]*{kind.__name__}.*trust=true"):
        load(tmp_path / "evil.pt")
    assert not marker.exists()


def test_what_others_have_allowed_in_torch_stays_theirs(tmp_path):
    torch.save({"model": Runs(yaml_model_load, "x.yaml")}, tmp_path / "evil.pt")
    with torch.serialization.safe_globals([yaml_model_load]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(WeightsError, match="trust=true"):
            load(tmp_path / "evil.pt")
        assert set(torch.serialization.get_safe_globals()) == before
        assert yaml_model_load in before


def test_names_of_layers_cannot_carry_code(tmp_path, marker):
    model = DetectionModel("yolov8n.yaml", nc=1, verbose=False)
    name = f'x"), __import__("os").system("touch {marker}"), getattr(self, "x'
    model.model[0].conv = nn.Sequential()
    model.model[0].conv._modules[name] = nn.Conv2d(3, 16, 3, 2, 1)
    torch.save({"model": model}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"a layer with the name 'x\"\).*trust=true"):
        convert(tmp_path / "evil.pt")
    assert not marker.exists()


def test_foreign_layers_need_trust_and_are_named(tmp_path):
    model = float_yolo("yolov8n")
    model.more = Touch()
    torch.save({"model": model}, tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match=r"asks for test_unpickle_refused.Touch, .*trust=true"):
        read_checkpoint(tmp_path / "foreign.pt")
    assert isinstance(read_checkpoint(tmp_path / "foreign.pt", trust=True).more, Touch)


@pytest.mark.parametrize("owner", [nn.ReLU(), "text", torch.ones(1)])
@pytest.mark.parametrize("name", ["__class__", "apply", "forward_fuse.__globals__", "register_forward_hook"])
def test_no_other_attribute_can_be_fetched(tmp_path, owner, name):
    torch.save({"model": Runs(getattr, owner, name)}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"asks for getattr, .*trust=true"):
        load(tmp_path / "evil.pt")


def test_format_before_torch_1_6_is_a_question_of_trust(tmp_path):
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    torch.save({"model": model, "train_args": {}}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="source code of its layers.*trust=true"):
        read_checkpoint(tmp_path / "x.pt")
    assert isinstance(read_checkpoint(tmp_path / "x.pt", trust=True), DetectionModel)
