"""Training that keeps the network's own functions: from calibration on, with steps in the EMA and the checkpoint."""

import numpy as np
import pytest
import torch
from conftest import simulate
from PIL import Image
from runs import fails
from ultralytics.nn.tasks import DetectionModel

from casc_det import convert
from casc_det import graph as g
from casc_det.errors import ArgumentError
from casc_det.neurons.activation import CQ
from casc_det.simulation.twin import ann_forward
from casc_det.training import run
from casc_det.training.distill import DistillationLoss, load_teacher, mean_losses
from casc_det.training.trainer import CascTrainer
from casc_det.yolo.calibrate import calibrate, calibrate_clips
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.install import cq_sites, install_cq

RATES = {"optimizer": "AdamW", "lr0": 1e-3, "norm_lr": 2e-3, "clip_lr": 3e-3, "warmup_epochs": 0, "nbs": 4, "mosaic": 0}

DECAY = 0.5
SMALL = """
nc: 5
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C2f, [32, True]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[3, 4], 1, Detect, [nc]]
"""
SITES, STEPS = 16, 15


def steps(model) -> dict[str, torch.Tensor]:
    """The learned steps of a network, by name of their site."""
    return {key: value.clone() for key, value in model.state_dict().items() if key.endswith(".delta")}


def live_float(architecture):
    """A float network of random weights whose activations do not fade away."""
    model = DetectionModel(str(architecture), verbose=False)
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.momentum = 1.0  # the running statistics are those of the one batch below
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 64, 64))
    model.args = {"imgsz": 64}
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(trainer, run folder, place): a distillation of four epochs that keeps SiLU."""
    place, rng, kept = tmp_path_factory.mktemp("kept"), np.random.default_rng(0), []
    (place / "images").mkdir()
    for k in range(8):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / "images" / f"{k}.png")
    (place / "small.yaml").write_text(SMALL)
    torch.manual_seed(0)
    torch.save({"model": live_float(place / "small.yaml"), "train_args": {}}, place / "float.pt")

    class Kept(CascTrainer):
        def _setup_train(self) -> None:
            super()._setup_train()
            kept.append(self)
            self.ema.decay = lambda updates: DECAY  # that of Ultralytics is near 0 in the first steps
            self.seen = [steps(self.network)]

        def optimizer_step(self) -> None:
            super().optimizer_step()
            self.seen.append(steps(self.network))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CascTrainer", Kept)
        weights = {"weights": str(place / "float.pt"), "teacher": str(place / "float.pt")}
        asked = {"data": str(place / "images"), "imgsz": 64, "batch": 4, "epochs": 4, "plots": False, "workers": 0}
        asked |= {"model": str(place / "small.yaml"), "activation": "silu", "levels": 4, "project": str(place)}
        folder = run.train(**asked, **weights, **RATES)
    return kept[0], folder, place


def test_distillation_begins_at_the_calibrated_network(trained):
    trainer, folder, place = trained
    sites = cq_sites(trainer.network)
    assert len(sites) == SITES and {(site.function, site.levels, site.alpha) for site in sites} == {("silu", 4, 1.0)}
    model = read_checkpoint(place / "float.pt")
    install_cq(model, 4, "keep")
    for _ in calibrate(model, [image for batch in trainer.calibration_images() for image in batch.split(1)]):
        pass
    assert steps(model) == trainer.seen[0]
    header, *rows = (folder / "results.csv").read_text().splitlines()
    assert "val/feature_loss" in header and len(rows) == 4


def test_some_steps_lower_the_loss_of_calibration(trained):
    images = torch.rand(4, 3, 64, 64)
    model = read_checkpoint(trained[2] / "float.pt").requires_grad_()
    teacher = load_teacher(trained[2] / "float.pt", model, 5, False)
    install_cq(model, 4, "keep")
    calibrate_clips(model, [images])
    before = sum(mean_losses(model, teacher, [images]).values())
    criterion, optimizer = DistillationLoss(model, teacher), torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        criterion(model(images), {"img": images})[0].backward()
        optimizer.step()
    criterion.close()
    assert all(site.delta.grad.abs() > 0 for site in cq_sites(model))
    assert sum(mean_losses(model, teacher, [images]).values()) < 0.9 * before


def test_steps_are_a_group_of_their_own_each_once_without_decay(trained):
    trainer = trained[0]
    (group,) = [group for group in trainer.optimizer.param_groups if group.get("param_group") == "clip"]
    deltas = {id(site.delta) for site in cq_sites(trainer.network)}
    assert len(group["params"]) == len(deltas) == STEPS and {id(p) for p in group["params"]} == deltas
    assert group["initial_lr"] == RATES["clip_lr"] and group["weight_decay"] == 0
    every = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len(every) == len(set(every)) == len(list(trainer.network.parameters()))


def test_steps_are_averaged_like_weights_and_the_average_is_what_is_saved(trained):
    trainer, folder, _ = trained
    average, saved = steps(trainer.ema.ema), steps(read_checkpoint(folder / "weights" / "last.pt"))
    sites = {name: site.delta for name, site in trainer.network.named_modules() if isinstance(site, CQ)}
    assert len(average) == SITES and len(trainer.seen) > 3
    for key, value in average.items():
        expected, *others = (seen[key] for seen in trainer.seen)
        times = sum(delta is sites[key.removesuffix(".delta")] for delta in sites.values())  # once for each site
        for other in others:
            expected = other + (expected - other) * DECAY**times
        assert torch.isclose(value, expected, rtol=1e-5)
        assert saved[key] == value.half().float()


def test_checkpoint_becomes_an_integer_graph_whose_rest_is_its_ann(trained):
    graph = convert(trained[1] / "weights" / "best.pt").graph
    assert graph.integer and graph.levels == 4 and graph.imgsz == 64
    neurons = graph.of_type(g.Neuron)
    assert {neuron.function for neuron in neurons} == {"silu"} and min(neuron.span[0] for neuron in neurons) < 0
    images = torch.rand(1, 3, 64, 64)
    *_, rest = simulate(graph, images, engine="reference")
    ann = ann_forward(graph, images)
    assert bool(rest.quiescent.all()) and all(torch.equal(rest.readout[key], ann.readout[key]) for key in ann.readout)


def test_another_training_goes_on_with_what_a_checkpoint_or_a_graph_has(trained, tmp_path):
    _, folder, place = trained
    best = folder / "weights" / "best.pt"
    path = convert(best).save(tmp_path / "cq.safetensors")
    asked = {"data": str(place / "images"), "teacher": str(place / "float.pt"), "imgsz": 64, "batch": 8, "epochs": 1}
    asked |= {"plots": False, "workers": 0, "project": str(tmp_path / "runs"), "clip_lr": 0}
    for start in ({"model": str(best)}, {"model": str(place / "small.yaml"), "weights": str(path)}):
        with pytest.raises(ArgumentError, match="^activation: expected keep for a network of quantised silu, got relu"):
            run.train(activation="relu", **start, **asked)
        again = read_checkpoint(run.train(**start, **asked) / "weights" / "last.pt")
        for site, former in zip(cq_sites(again), cq_sites(read_checkpoint(best)), strict=True):
            assert (site.function, site.levels) == ("silu", 4) and torch.isclose(site.delta, former.delta, rtol=2e-3)
    fewer = read_checkpoint(run.train(model=str(best), levels=2, **asked) / "weights" / "last.pt")
    for site, former in zip(cq_sites(fewer), cq_sites(read_checkpoint(best)), strict=True):
        assert site.levels == 2 and torch.isclose(site.clip, former.clip, rtol=2e-3)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["train", "train-2", "train-3"]


def test_training_that_was_stopped_goes_on_with_its_functions(trained, tmp_path, capsys, monkeypatch):
    place = trained[2]
    words = ("train", f"model={place}/small.yaml", f"data={place}/images", f"teacher={place}/float.pt", "imgsz=64")
    words += ("activation=keep", "levels=4", "epochs=2", "batch=8", "plots=false", f"project={tmp_path}", "workers=0")
    with monkeypatch.context() as context:
        context.setattr(CascTrainer, "validate", _stop_in_second_epoch(CascTrainer.validate))
        fails(capsys, *words)
    assert "activation: keep" in (tmp_path / "train" / "args.yaml").read_text()
    run.train(resume=str(tmp_path / "train"))
    sites = cq_sites(read_checkpoint(tmp_path / "train" / "weights" / "last.pt"))
    assert {(site.function, site.levels) for site in sites} == {("silu", 4)}


def _stop_in_second_epoch(inner):
    def validate(self):
        if self.epoch == 1:
            raise ArgumentError("stopped: by the test")
        return inner(self)

    return validate
