"""Capture of Ultralytics models, and installing CQReLU in them."""

import copy

import pytest
import torch
from conftest import YOLOS, float_yolo, live_yolo
from torch import nn

from casc_det import graph as g
from casc_det.conversion.audit import REFUSED, audit
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, ConversionError
from casc_det.neurons.activation import CQReLU, cqrelu
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.calibrate import calibrate_clips
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cqrelu_sites, install_cqrelu, set_alpha

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
    model = live_yolo(name)[0]
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


class Sums(nn.Module):
    """a + b and b + c: one clip for a, b, c. d + (a convolution of e without activation): nothing to share."""

    def __init__(self):
        from ultralytics.nn.modules import Conv

        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (Conv(16, 4) for _ in range(5))
        self.plain = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        a, b, c, d, e = (layer(x) for layer in (self.a, self.b, self.c, self.d, self.e))
        return torch.cat([a + b, b + c, d + self.plain(e), d], 1)


def test_additions_that_have_an_activation_in_common_share_one_clip():
    model, sums = float_yolo("yolov3-tiny"), Sums()
    model.model[0] = nn.Sequential(model.model[0], sums)
    model.model[0].f, model.model[0].i = -1, 0
    assert install_cqrelu(model, 4) == 19 + 5
    clips = [id(layer.act.lam) for layer in (sums.a, sums.b, sums.c, sums.d, sums.e)]
    assert clips[0] == clips[1] == clips[2] and len(set(clips)) == 3
    assert len({id(site.lam) for site in cqrelu_sites(model)}) == 19 + 3


def test_calibration_fits_each_clip_to_the_inputs_of_its_sites():
    torch.manual_seed(0)
    model, images = float_yolo("yolov8n"), torch.rand(2, 3, 64, 64)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)  # statistics of a trained network are used as they are
    seen: dict[nn.Module, torch.Tensor] = {}
    convs = [m for m in model.modules() if type(getattr(m, "act", None)) is nn.SiLU]
    for conv in convs:
        conv.bn.register_forward_hook(lambda m, i, z: seen.update({m: z.detach().flatten()}))
    with torch.no_grad():
        model(images)
    install_cqrelu(model, 8)
    calibrate_clips(model, [images])
    error = lambda z, clip: (cqrelu(z, torch.tensor(clip), 8) - z.relu()).square().sum().item()
    for conv in convs:
        z = torch.cat([seen[other.bn] for other in convs if other.act.lam is conv.act.lam])
        lam = conv.act.lam.item()
        assert error(z, lam) <= 1.05 * min(error(z, lam * factor) for factor in (0.5, 0.7, 0.85, 1.2, 1.5, 2.0))


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
    model = live_yolo("yolov3-tiny")[0].train()
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
    fused = live_yolo("yolov8n")[0].fuse(verbose=False)
    graph = capture(fused)
    assert not graph.of_type(g.BatchNorm) and len(graph.of_type(g.Activation)) == 57
    assert not [row for row in audit(graph) if row.status == REFUSED]


class Roll(nn.Module):
    def forward(self, x):
        return torch.roll(x, 1, 2)


class Reversed(nn.Module):
    """The parts that `chunk` or `split` makes, in reverse order."""

    def __init__(self, method, amount):
        super().__init__()
        self.method, self.amount = method, amount

    def forward(self, x):
        return torch.cat(tuple(reversed(getattr(x, self.method)(self.amount, 1))), 1)


CAPTURED = {
    "max pool": nn.Sequential(nn.MaxPool2d(3, 1, 1, dilation=2), nn.ZeroPad2d(1)),
    "ceil mode": nn.Sequential(nn.MaxPool2d((5, 4), (2, 3), (1, 2), ceil_mode=True), nn.Upsample(scale_factor=2)),
    "average pool": nn.Sequential(nn.AvgPool2d((2, 3), 1, (1, 0)), nn.ZeroPad2d((2, 0, 0, 0))),
    "nothing": nn.Sequential(nn.Identity(), nn.Dropout()),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "hardsigmoid": nn.Hardsigmoid(),
    "chunk": Reversed("chunk", 3),
    "split": Reversed("split", (5, 1, 10)),
}


@pytest.mark.parametrize("module", CAPTURED.values(), ids=CAPTURED)
def test_captured_op_computes_what_torch_computes(module):
    model, images = live_yolo("yolov3-tiny")
    model = copy.deepcopy(model)
    model.model[0].act = nn.Sequential(model.model[0].act, module.eval())
    spiking, _ = convert_graph(capture(model))
    answer = ann_forward(spiking, images).readout
    with torch.no_grad():
        raw = model(images)[1]["scores"]
    maps = [answer[f"scores{level}"].flatten(2) for level in range(2)]
    torch.testing.assert_close(torch.cat(maps, 2), raw, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("module", "op"),
    [(nn.GELU(), "activation GELU"), (nn.LayerNorm(6), "module LayerNorm"), (Roll(), "function roll")],
)
def test_unsupported_op_is_listed_and_the_others_too(module, op):
    model = live_yolo("yolov8n")[0]
    complete = audit(capture(model))
    model.model[0].act = module
    rows = audit(capture(model))
    assert [row.op for row in rows if row.status == REFUSED] == [op]
    assert next(row.note for row in rows if row.status == REFUSED)
    assert len(rows) == len(complete)


def test_padding_that_is_not_zero_is_listed():
    model = live_yolo("yolov3-tiny")[0]
    model.model[0].conv.padding_mode = "reflect"
    refused = [row for row in audit(capture(model)) if row.status == REFUSED]
    assert refused[0].op.startswith("Conv2d with padding reflect")


@pytest.mark.parametrize(
    ("kind", "name", "head"),
    [
        ("SegmentationModel", "yolov8n-seg", "Segment"),
        ("PoseModel", "yolov8n-pose", "Pose"),
        ("OBBModel", "yolov8n-obb", "OBB"),
    ],
)
def test_other_task_is_refused_before_anything_is_replaced(kind, name, head):
    from ultralytics.nn import tasks

    model = getattr(tasks, kind)(f"{name}.yaml", verbose=False)
    with pytest.raises(ConversionError, match=f"detection model whose head is Detect, got {head}; "):
        capture(model)
    with pytest.raises(ConversionError, match="head is Detect"):
        install_cqrelu(model, 4)
    assert not cqrelu_sites(model)


def test_mixed_activation_is_refused():
    model = live_yolo("yolov3-tiny")[0]
    cqrelu_sites(model)[3].alpha = 0.5
    refused = [row for row in audit(capture(model)) if row.status == REFUSED]
    assert [row.op for row in refused] == ["CQReLU with alpha=0.5"] and "alpha" in refused[0].note


def with_first_layer(module):
    """yolov3-tiny with CQReLU whose first max pool is replaced by `module`."""
    model = live_yolo("yolov3-tiny")[0]
    old = model.model[1]
    module.i, module.f, module.type, module.np = old.i, old.f, old.type, old.np
    model.model[1] = module
    return model.eval()


class Named(nn.Module):
    """Arguments by name, a BatchNorm without scale, upsampling by a pair: all of it must be read rightly."""

    def __init__(self):
        super().__init__()
        self.pool, self.up = nn.MaxPool2d(4), nn.Upsample(scale_factor=(2, 2))
        self.conv, self.norm = nn.Conv2d(16, 16, 1).double(), nn.BatchNorm2d(16, affine=False).double()

    def forward(self, x):
        a, b = self.up(self.pool(x)).chunk(chunks=2, dim=1)
        return self.norm(self.conv(torch.cat(tensors=[b, a], dim=1)))


def test_arguments_by_name_are_understood():
    model = with_first_layer(Named())
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    readout = ann_forward(convert_graph(capture(model))[0], images).readout
    expected = model(images)[1]["boxes"]
    mine = torch.cat([readout[f"boxes{i}"].flatten(2) for i in range(2)], 2)
    assert torch.allclose(mine, expected, rtol=0, atol=1e-9)


def test_scaled_addition_is_refused():
    class Scaled(nn.Module):
        def forward(self, x):
            return torch.add(x, x, alpha=2)

    refused = [row for row in audit(capture(with_first_layer(Scaled()))) if row.status == REFUSED]
    assert [row.op for row in refused] == ["function add"]


def test_data_dependent_control_flow_is_refused_in_one_line():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = live_yolo("yolov3-tiny")[0]
    model.model[0].act = Gate()
    with pytest.raises(ConversionError, match="forward pass cannot be captured .*; use an architecture") as caught:
        capture(model)
    assert "\n" not in str(caught.value)
