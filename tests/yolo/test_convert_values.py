"""Networks with values that are no numbers never convert."""

import math

import pytest
from conftest import live_yolo

from casc_det.errors import ConversionError
from casc_det.yolo.convert import convert
from casc_det.yolo.install import cq_sites

NAN, INF = math.nan, math.inf


SPOILED = {  # what is put where; layer 2.cv1 is one with BatchNorm
    "weight": (lambda m: m.model[2].cv1.conv.weight.data[0, 0, 0], NAN, "'model.2.cv1.conv' has values of weight"),
    "bias": (lambda m: m.model[22].cv2[0][2].bias.data, INF, "'model.22.cv2.0.2' has values of bias"),
    "NaN variance": (lambda m: m.model[2].cv1.bn.running_var, NAN, "'model.2.cv1.bn' has values of statistics"),
    "negative variance": (lambda m: m.model[2].cv1.bn.running_var, -1.0, "'model.2.cv1.bn' has values of statistics"),
    "infinite mean": (lambda m: m.model[2].cv1.bn.running_mean, INF, "'model.2.cv1.bn' has values of shift"),
    "NaN clip": (lambda m: cq_sites(m)[3].lam.data, NAN, "has values of clip"),
    "infinite clip": (lambda m: cq_sites(m)[3].lam.data, INF, "has values of clip"),
    "clip 0": (lambda m: cq_sites(m)[3].lam.data, 0.0, "has the clip lam=0,"),
    "negative clip": (lambda m: cq_sites(m)[3].lam.data, -0.5, "has the clip lam=-0.5"),
}


@pytest.mark.parametrize(("place", "value", "words"), SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("precision", ["integer", "float"])
def test_values_that_are_no_numbers_are_refused_naming_the_layer(place, value, words, precision):
    model = live_yolo("yolov8n")[0]
    place(model).fill_(value)
    with pytest.raises(ConversionError, match=words) as caught:
        convert(model, 64, precision)
    assert "convert an earlier checkpoint" in str(caught.value)


@pytest.mark.parametrize("precision", ["integer", "float"])
def test_channels_that_are_switched_off_are_zeros(precision):
    """An infinite variance and a BatchNorm scale of 0 are numbers that a network may have."""
    model = live_yolo("yolov8n")[0]
    norm = model.model[2].cv1.bn
    norm.running_var.fill_(INF)
    norm.weight.data.fill_(0)
    graph = convert(model, 64, precision).graph
    assert not next(node for node in graph.nodes if node.name == "model_2_cv1_conv").weight.any()
