"""tools/check_exactness.py: what is equal is called equal, what is not is found, and a stopped command goes on."""

import json
import sys

import check_exactness as tool
import pytest
import torch
from fuzz_models import small_detector
from PIL import Image

from casc_det.graph.file import save_graph
from casc_det.simulation.twin import AnnOutput, ann_forward

ENGINES = ["fast", "reference"]


def images(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32)) / 255


@pytest.fixture(scope="module")
def subject() -> tool.Subject:
    return tool.Subject("small", small_detector("add", "max"))


def test_engines_batches_and_the_ann_are_equal(subject):
    first, second = tool.Comparison(subject, ENGINES, None, None).of(images(), True)
    for record in (first, second):
        assert record["neurons"] > 0 and record["values"] > 0
        assert record["different"] == record["values_different"] == record["readout"] == 0
    assert first["sum_T"] == second["sum_T"] == first["steps"] == first["batched"] > first["largest_T"]
    assert first["spikes_compared"] > 0
    assert first["steps_different"] == first["spikes_different"] == first["batched_different"] == 0


def test_another_ann_is_found(subject, monkeypatch):
    def other(graph, x):
        found = ann_forward(graph, x)
        return AnnOutput({k: y + 0.5 for k, y in found.readout.items()}, {k: n + 1 for k, n in found.counts.items()})

    monkeypatch.setattr(tool, "ann_forward", other)
    (record,) = tool.Comparison(subject, ["fast"], None, None).of(images(1), False)
    assert record["different"] == record["neurons"] and record["values_different"] == record["values"]
    assert record["readout"] == 0.5


def test_other_engines_and_batches_are_found(subject):
    compared, some = tool.Comparison(subject, ENGINES, None, None), images()
    other = tool.Comparison(tool.Subject("other", small_detector("add", "max", seed=1)), ENGINES, None, None)
    steps = [list(one.simulators[0].run(some[:1], record=True)) for one in (compared, other)]
    record = dict.fromkeys(("steps", "steps_different", "spikes_compared", "spikes_different"), 0)
    for pair in [*zip(*steps, strict=False), (steps[0][0], None)]:
        tool.add_comparison(record, *pair)
    assert record["steps_different"] == record["steps"] > 1 and record["spikes_different"] > 0
    wrong = [[tool.of_image(step, 0) for step in steps[0]]] * 4  # the first image four times
    assert compared.batched(some, wrong)["batched_different"] > 0


def test_a_command_in_parts_that_goes_on(tmp_path, monkeypatch, capsys):
    save_graph(small_detector("add"), tmp_path / "net.safetensors")
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images(9).mul(255).byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    words = [
        f"source={tmp_path / 'images'}",
        "limit=9",
        "models=none",
        "sizes=32",
        f"out={tmp_path / 'e.json'}",
    ]
    words += [f"weights={tmp_path / 'net.safetensors'}", "engine=fast,reference"]
    said = []
    for part in ("part=2/2", "part=1/2", "part=1/1", "both=0", "both=8"):
        both = [] if part.startswith("both") else ["both=3"]
        monkeypatch.setattr(sys, "argv", ["check_exactness", *words, part, *both])
        tool.main()
        said.append(capsys.readouterr().out.count("to image"))
    assert said == [1, 2, 0, 0, 1]
    fast, reference = json.loads((tmp_path / "e.json").read_text())["networks"]
    assert (fast["engine"], fast["pictures"], fast["different"]) == ("fast", 9, 0)
    assert (reference["engine"], reference["pictures"], reference["values_different"]) == ("reference", 8, 0)
    assert fast["largest_T"] >= fast["mean_T"] > 0
