"""Capture of Ultralytics models, and installing CQReLU in them."""

import copy

import pytest
import torch
from conftest import YOLOS, float_yolo, live_yolo
from torch import nn

from casc_det import graph as g
from casc_det.activation import CQReLU
from casc_det.conversion import REFUSED, audit
from casc_det.errors import ArgumentError, ConversionError
from casc_det.yolo.capture import capture
from casc_det.yolo.install import calibrate_clips, cqrelu_sites, install_cqrelu, set_alpha

SITES = {"yolov3-tiny": (19, 19), "yolov5n": (69, 62), "yolov8n": (57, 51)}  # activations, clips


def state(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def added_clips(graph: g.Graph) -> list[set[str]]:
    """The activations whose outputs meet in each addition."""
    reach: dict[str, set[str]] = {}
    for node in graph.nodes:
        if isinstance(node, g.Activation):
            reach[node.name] = {node.name}
        elif isinstance(node, g.Conv):
            reach[node.name] = set()
        else:
            reach[node.name] = set().union(*(reach[name] for name in node.inputs))
    return [reach[node.name] for node in graph.of_type(g.Add)]


@pytest.mark.parametrize("name", YOLOS)
def test_every_site_gets_a_module_of_its_own(name):
    model, _ = live_yolo(name)
    activations, clips = SITES[name]
    sites = cqrelu_sites(model)
    owners = [child for parent in model.modules() for child in parent.children() if isinstance(child, CQReLU)]
    assert len(sites) == len(owners) == len({id(site) for site in owners}) == activations
    assert len({id(site.lam) for site in sites}) == clips
    assert {site.levels for site in sites} == {4}
    assert not [m for m in model.modules() if isinstance(m, nn.SiLU) and not any(m is s.original for s in sites)]


@pytest.mark.parametrize("name", YOLOS)
def test_clips_are_shared_where_activations_are_added_and_nowhere_else(name):
    model = copy.deepcopy(live_yolo(name)[0])
    owners = {}
    for number, site in enumerate(cqrelu_sites(model)):
        owners.setdefault(id(site.lam), (site.lam, number))
    for lam, number in owners.values():
        lam.data.fill_(1.0 + number)  # a clip's value tells which clip it is
    graph = capture(model)
    clip = {node.name: node.lam for node in graph.of_type(g.Activation)}
    groups: list[set[str]] = []
    for names in added_clips(graph):
        names = names.union(*(group for group in groups if group & names))
        groups = [group for group in groups if not group & names] + [names]
    for names in groups:
        assert len(names) > 1 and len({clip[n] for n in names}) == 1
    assert len(set(clip.values())) == len(clip) - sum(len(names) - 1 for names in groups) == SITES[name][1]


def test_install_returns_the_number_of_sites():
    assert install_cqrelu(float_yolo("yolov3-tiny"), 8) == 19


def test_install_keeps_the_weights_and_the_old_activation():
    model = float_yolo("yolov8n")
    before, images = state(model), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)[0]
        install_cqrelu(model, 8)
        assert not torch.equal(model(images)[0], expected)
        set_alpha(model, 0)
        assert torch.equal(model(images)[0], expected)
    after = state(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(key.endswith(".lam") for key in after.keys() - before.keys())


def test_install_refuses_a_model_that_has_cqrelu_and_leaves_it_alone():
    model = float_yolo("yolov3-tiny")
    install_cqrelu(model, 8)
    sites = cqrelu_sites(model)
    with pytest.raises(ConversionError, match="has CQReLU activations already; nothing was replaced"):
        install_cqrelu(model, 4)
    assert all(a is b for a, b in zip(cqrelu_sites(model), sites, strict=True))


def test_install_refuses_a_model_without_activations():
    model = float_yolo("yolov3-tiny")
    for module in model.modules():
        if hasattr(module, "act"):
            module.act = nn.Identity()
    with pytest.raises(ConversionError, match="no SiLU, ReLU or LeakyReLU was found"):
        install_cqrelu(model, 8)


def test_install_refuses_levels_before_it_replaces_anything():
    model = float_yolo("yolov3-tiny")
    with pytest.raises(ArgumentError, match="^levels: "):
        install_cqrelu(model, 0)
    assert not cqrelu_sites(model)


def test_calibration_sets_each_clip_to_a_percentile_of_the_float_network():
    torch.manual_seed(0)
    model, images = float_yolo("yolov3-tiny"), torch.rand(2, 3, 64, 64)
    seen = []
    convs = [m for m in model.modules() if type(getattr(m, "act", None)) is nn.SiLU]
    for conv in convs:
        conv.bn.register_forward_hook(lambda m, i, z: seen.append((m, z.detach())))
    with torch.no_grad():
        model(images)
    expected = {m: max(z[z > 0].quantile(0.9).item(), 1e-2) for m, z in seen}
    install_cqrelu(model, 8)
    calibrate_clips(model, [images], 0.9)
    for conv in convs:
        assert conv.act.lam.item() == pytest.approx(expected[conv.bn], rel=1e-5)


def test_capture_leaves_the_model_unchanged(yolo):
    model, images = yolo
    before, modules = state(model), list(model.modules())
    with torch.no_grad():
        expected = model(images)[0]
        graph = capture(model)
        for node in graph.nodes:
            for value in g.tensors(node).values():
                value.zero_()
        assert torch.equal(model(images)[0], expected)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True)) and not model.training


def test_capture_keeps_training_mode():
    model = copy.deepcopy(live_yolo("yolov3-tiny")[0]).train()
    before = state(model)
    capture(model)
    assert model.training and model.model[0].bn.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_captured_graph_describes_the_detector(yolo):
    model, _ = yolo
    graph = capture(model, imgsz=320)
    head = model.model[-1]
    assert graph.strides == head.stride.int().tolist() and graph.reg_max == head.reg_max and graph.imgsz == 320
    assert graph.names == [model.names[i] for i in range(5)]
    assert [node.name for node in graph.of_type(g.Readout)] == [
        f"{kind}{level}" for level in range(head.nl) for kind in ("boxes", "scores")
    ]
    convs = [m for part in (model.model[:-1], head.cv2, head.cv3) for m in part.modules() if isinstance(m, nn.Conv2d)]
    assert len(graph.of_type(g.Conv)) == len(convs)
    assert len(graph.of_type(g.BatchNorm)) == len(graph.of_type(g.Activation)) == len(cqrelu_sites(model))


def test_sppf_max_pool_becomes_three_nodes():
    model, _ = live_yolo("yolov8n")
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 1
    pools = capture(model).of_type(g.MaxPool)
    assert len({pool.name for pool in pools}) == 3
    assert pools[1].inputs == (pools[0].name,) and pools[2].inputs == (pools[1].name,)


def test_fused_model_is_captured_without_batchnorm():
    fused = copy.deepcopy(live_yolo("yolov8n")[0]).fuse(verbose=False)
    graph = capture(fused)
    assert not graph.of_type(g.BatchNorm) and len(graph.of_type(g.Activation)) == 57
    assert not [row for row in audit(graph) if row.status == REFUSED]


class Roll(nn.Module):
    def forward(self, x):
        return torch.roll(x, 1, 2)


@pytest.mark.parametrize(
    ("module", "op"),
    [(nn.GELU(), "activation GELU"), (nn.LayerNorm(6), "module LayerNorm"), (Roll(), "function roll")],
)
def test_unsupported_op_is_listed_and_the_others_too(module, op):
    model = copy.deepcopy(live_yolo("yolov8n")[0])
    complete = audit(capture(model))
    model.model[0].act = module
    rows = audit(capture(model))
    assert [row.op for row in rows if row.status == REFUSED] == [op]
    assert next(row.note for row in rows if row.status == REFUSED)
    assert len(rows) == len(complete)


def test_padding_that_is_not_zero_is_listed():
    model = copy.deepcopy(live_yolo("yolov3-tiny")[0])
    model.model[0].conv.padding_mode = "reflect"
    refused = [row for row in audit(capture(model)) if row.status == REFUSED]
    assert refused[0].op.startswith("Conv2d with padding reflect")


def test_segmentation_model_is_refused():
    from ultralytics.nn.tasks import SegmentationModel

    with pytest.raises(ConversionError, match="expected a detection model whose head is Detect, got Segment"):
        capture(SegmentationModel("yolov8n-seg.yaml", verbose=False))


def test_data_dependent_control_flow_is_refused_in_one_line():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = copy.deepcopy(live_yolo("yolov3-tiny")[0])
    model.model[0].act = Gate()
    with pytest.raises(ConversionError, match="forward pass cannot be captured .*; use an architecture") as caught:
        capture(model)
    assert "\n" not in str(caught.value)
