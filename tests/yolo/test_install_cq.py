"""Installing CQReLU in Ultralytics models: a module for each site, shared clips where activations are added."""

import pytest
import torch
from conftest import YOLOS, float_yolo, live_yolo
from torch import nn

from casc_det import graph as g
from casc_det.errors import ArgumentError, ConversionError
from casc_det.neurons.activation import CQReLU
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cq_sites, install_cq, set_alpha

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
    sites = cq_sites(model)
    owners = [child for parent in model.modules() for child in parent.children() if isinstance(child, CQReLU)]
    assert len(sites) == len(owners) == len({id(site) for site in owners}) == activations
    assert len({id(site.lam) for site in sites}) == clips
    assert {site.levels for site in sites} == {4}
    assert not [m for m in model.modules() if isinstance(m, nn.SiLU) and not any(m is s.original for s in sites)]


@pytest.mark.parametrize("name", YOLOS)
def test_clips_are_shared_where_activations_are_added_and_nowhere_else(name):
    model = live_yolo(name)[0]
    owners = {}
    for number, site in enumerate(cq_sites(model)):
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
    assert install_cq(float_yolo("yolov3-tiny"), 8, "relu") == 19


def test_install_keeps_the_weights_and_the_old_activation():
    model = float_yolo("yolov8n")
    before, images = state(model), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)[0]
        install_cq(model, 8, "relu")
        assert not torch.equal(model(images)[0], expected)
        set_alpha(model, 0)
        assert torch.equal(model(images)[0], expected)
    after = state(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(key.endswith(".lam") for key in after.keys() - before.keys())


def test_install_refuses_a_model_that_has_cqrelu_and_leaves_it_alone():
    model = float_yolo("yolov3-tiny")
    install_cq(model, 8, "relu")
    sites = cq_sites(model)
    with pytest.raises(ConversionError, match="has CQ activations already; nothing was replaced"):
        install_cq(model, 4, "relu")
    assert all(a is b for a, b in zip(cq_sites(model), sites, strict=True))


def test_install_refuses_a_model_without_activations():
    model = float_yolo("yolov3-tiny")
    for module in model.modules():
        if hasattr(module, "act"):
            module.act = nn.Identity()
    with pytest.raises(ConversionError, match="no activation was found to replace"):
        install_cq(model, 8, "relu")


def test_install_refuses_levels_before_it_replaces_anything():
    model = float_yolo("yolov3-tiny")
    with pytest.raises(ArgumentError, match="^levels: "):
        install_cq(model, 0, "relu")
    assert not cq_sites(model)


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
    assert install_cq(model, 4, "relu") == 19 + 5
    clips = [id(layer.act.lam) for layer in (sums.a, sums.b, sums.c, sums.d, sums.e)]
    assert clips[0] == clips[1] == clips[2] and len(set(clips)) == 3
    assert len({id(site.lam) for site in cq_sites(model)}) == 19 + 3
