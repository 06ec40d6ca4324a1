"""Training for the spiking network: the penalty on counts and the weights rounded to 8 bits."""

import pytest
import torch
from conftest import float_yolo, live_yolo

from casc_det import convert
from casc_det import graph as g
from casc_det.training.regularise import FakeInt8, SpikePenalty
from casc_det.yolo.calibrate import calibrate_clips
from casc_det.yolo.install import cq_sites, install_cq
from casc_det.yolo.trace import modules_of, trace


def convolutions(model) -> dict[str, torch.nn.Conv2d]:
    found = modules_of(trace(model))
    return {name: module for name, module in found.items() if isinstance(module, torch.nn.Conv2d)}


def silu():
    """A network of random weights with SiLU quantised, some of whose counts are below 0."""
    model = float_yolo("yolov8n")
    install_cq(model, 16, "keep")
    calibrate_clips(model, [torch.rand(4, 3, 64, 64)])
    return model


def relu():
    return live_yolo("yolov8n")[0].float()


@pytest.mark.parametrize("make", [relu, silu])
def test_rounded_weights_are_those_of_the_integer_graph(make):
    model = make()
    whole = {node.name: node.weight for node in convert(model, imgsz=64).graph.of_type(g.Conv)}
    fake, seen, equal, total = FakeInt8(model), {}, 0, 0
    convs = convolutions(model)
    for name, conv in convs.items():
        conv.register_forward_pre_hook(lambda module, _, name=name: seen.update({name: module.weight.detach().clone()}))
    model.eval()(torch.rand(1, 3, 64, 64))
    for name, conv in convs.items():
        weight, index, step = fake.convolutions[conv]
        assert conv.weight is weight and isinstance(weight, torch.nn.Parameter)  # put back after the pass
        integers = seen[name] * fake._amplitudes(index) / step
        assert torch.allclose(integers, integers.round(), atol=1e-2) and integers.abs().max() < 127.5
        assert (integers.round() - whole[name]).abs().max() <= 1, name  # balanced errors
        equal, total = equal + int((integers.round() == whole[name]).sum()), total + weight.numel()
    assert equal > 0.9 * total


def test_gradient_of_rounded_weights_reaches_the_parameters():
    model = live_yolo("yolov8n")[0].float().train()
    FakeInt8(model)
    before = {name: value.clone() for name, value in model.state_dict().items() if "weight" in name}
    maps = model(torch.rand(1, 3, 64, 64))
    (maps["scores"].square().sum() + maps["boxes"].square().sum()).backward()
    for name, conv in convolutions(model).items():
        assert conv.weight.grad is not None and conv.weight.grad.abs().sum() > 0, name
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("make", [relu, silu])
def test_spike_penalty_is_the_mean_size_of_counts_and_pushes_it_down(make):
    model, outputs = make().train(), []
    for site in cq_sites(model):
        site.register_forward_hook(
            lambda site, _, out: outputs.append((out * site.levels / site.clip).detach().flatten())
        )
    plain = lambda predictions, batch: (torch.zeros(3), {"box_loss": torch.zeros(())})
    penalty = SpikePenalty(model, plain, 0.5)
    batch = {"img": torch.rand(2, 3, 64, 64)}
    loss, items = penalty(model(batch["img"]), batch)
    counts, mean = torch.cat(outputs), torch.cat(outputs).abs().mean()
    assert bool((counts.round() < 0).any()) == (make is silu)
    assert torch.isclose(items["count"], mean, rtol=1e-5) and torch.isclose(loss, 0.5 * mean * 2, rtol=1e-5)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        penalty(model(batch["img"]), batch)[0].backward()
        optimizer.step()
    assert penalty(model(batch["img"]), batch)[1]["count"] < 0.95 * mean
    model.eval()(batch["img"])
    assert not penalty.counts
