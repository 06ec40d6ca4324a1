"""Float networks become spiking ones without training, from every kind of file, or are refused in one line."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import live_float, live_yolo
from PIL import Image
from safetensors.torch import save_file

from casc_det import convert, load
from casc_det import graph as g
from casc_det.cli.convert import format_report
from casc_det.cli.run import main
from casc_det.errors import ArgumentError, CascError, ConversionError, SourceError, WeightsError
from casc_det.neurons.activation import CQ
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.calibration import HELD_OUT, Calibration, read_images
from casc_det.yolo.capture import capture
from casc_det.yolo.convert import Conversion
from casc_det.yolo.install import cq_sites, install_cq


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a float network in each kind of file, images, and class names."""
    folder = tmp_path_factory.mktemp("float")
    model, _ = live_float()
    torch.save({"model": model}, folder / "float.pt")
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "plain.safetensors")
    save_file(state, folder / "named.safetensors", {"model": "yolov8n"})
    (folder / "names.yaml").write_text("names: [a, b, c, d, e]\n")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        Image.fromarray(rng.integers(0, 256, (40 + 8 * k, 64, 3), dtype=np.uint8)).save(folder / "images" / f"{k}.png")
    return folder


def converted(source: object, folder: Path, **options: object) -> Conversion:
    return convert(source, **({"imgsz": 64, "data": folder / "images", "levels": 8, "images": 2} | options))


def tensors(graph: g.SpikingGraph) -> dict[str, torch.Tensor]:
    return {f"{node.name}.{key}": value for node in graph.nodes for key, value in g.tensors(node).items()}


def test_every_kind_of_file_gives_the_same_graph(place):
    names = {"names": place / "names.yaml"}
    first = converted(place / "float.pt", place)
    others = [
        converted(live_float()[0], place),
        converted(place / "named.safetensors", place, **names),
        converted(place / "plain.safetensors", place, **names, architecture="yolov8n.yaml"),
    ]
    expected = tensors(first.graph)
    for other in others:
        assert other.report == first.report
        found = tensors(other.graph)
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    assert others[1].graph.names == ["a", "b", "c", "d", "e"]


def test_graph_has_the_functions_levels_and_report_that_were_asked_for(place, tmp_path):
    conversion = converted(place / "float.pt", place, seed=3)
    graph, report = conversion.graph, conversion.report
    assert graph.integer and graph.levels == 8 and graph.imgsz == 64
    assert {node.function for node in graph.of_type(g.Neuron)} == {"silu"} and graph.defaults == {
        "burst": 4,
        "ramp": True,
    }
    asked = {"levels": 8, "activation": "keep", "images": 2, "seed": 3, "held_out": 3}
    assert {key: report[key] for key in asked} == asked
    layers = {node.name for node in (*graph.of_type(g.Neuron), *graph.of_type(g.Readout))}
    assert set(report["layers"]) == layers and all(0 < error < 2 for error in report["layers"].values())
    assert 0 < report["readout_error"] < 1
    loaded = load(conversion.save(tmp_path / "m.safetensors"))
    assert (
        loaded.meta["calibration"] == json.loads(json.dumps(report)) and loaded.meta["architecture"] == "yolov8n.yaml"
    )


def test_relu_makes_the_network_of_the_paper(place):
    graph = converted(place / "float.pt", place, activation="relu").graph
    assert {node.function for node in graph.of_type(g.Neuron)} == {"relu"} and not graph.defaults


def test_more_levels_are_nearer_to_the_float_network(place):
    errors = [converted(place / "float.pt", place, levels=levels).report["readout_error"] for levels in (2, 64)]
    assert errors[0] > errors[1]


def test_report_is_that_of_a_plain_comparison(place):
    """The error of the readout, computed from the two networks' outputs alone."""
    conversion = converted(place / "float.pt", place, precision="float")
    _, held_out = read_images(Calibration(place / "images", images=2), (64, 64), 32)
    error = square = 0.0
    for image in held_out:
        with torch.no_grad():
            raw = live_float()[0](image)[1]
        ann = ann_forward(conversion.graph, image.double()).readout
        for kind in ("boxes", "scores"):
            found = torch.cat([ann[f"{kind}{level}"].flatten(2) for level in range(3)], 2)
            error += float((found - raw[kind]).square().sum())
            square += float(raw[kind].square().sum())
    assert conversion.report["readout_error"] == pytest.approx((error / square) ** 0.5, rel=1e-3)


def test_the_model_is_left_as_it_is(place):
    model = live_float()[0]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    converted(model, place)
    assert not cq_sites(model) and not any("forward" in vars(module) for module in model.modules())
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("activation", ["keep", "relu"])
def test_a_captured_cq_network_computes_what_torch_computes(place, activation):
    model, images = live_float()
    install_cq(model.double(), 8, activation)
    for number, site in enumerate({site.learned: site for site in cq_sites(model)}.values()):
        site.set_clip(1 + number % 5)
    graph = capture(model)
    assert [node.function for node in graph.of_type(g.Activation)] == [site.function for site in cq_sites(model)]
    ann = ann_forward(convert(model, 64, "float").graph, images.double()).readout
    with torch.no_grad():
        raw = model(images.double())[1]
    for kind in ("boxes", "scores"):
        maps = torch.cat([ann[f"{kind}{level}"].flatten(2) for level in range(3)], 2)
        torch.testing.assert_close(maps, raw[kind], rtol=0, atol=1e-9)


def test_checkpoints_with_cq_are_read_without_trust(tmp_path):
    model, _ = live_float()
    install_cq(model, 8)
    torch.save({"model": model}, tmp_path / "cq.pt")
    graph = convert(tmp_path / "cq.pt", 64).graph
    assert {node.function for node in graph.of_type(g.Neuron)} == {"silu"}


# images ---------------------------------------------------------------------------------------------------------------


def test_images_are_chosen_by_the_seed_and_none_is_held_out_that_was_fitted_to(place):
    taken = [read_images(Calibration(place / "images", images=2, seed=seed), (64, 64), 32) for seed in (0, 0, 1)]
    sums = [[float(image.sum()) for image in (*fitted, *held)] for fitted, held in taken]
    assert sums[0] == sums[1] != sums[2] and sorted(sums[0]) == sorted(sums[2])
    assert [(len(fitted), len(held)) for fitted, held in taken] == [(2, 3)] * 3


@pytest.mark.parametrize(("count", "images", "parts"), [(2, 24, (1, 1)), (5, 24, (4, 1)), (5, 4, (4, 1))])
def test_few_images_are_shared_out(place, tmp_path, count, images, parts):
    for k in range(count):
        (tmp_path / f"{k}.png").write_bytes((place / "images" / f"{k}.png").read_bytes())
    fitted, held = read_images(Calibration(tmp_path, images=images), (64, 64), 32)
    assert (len(fitted), len(held)) == parts
    assert not [image for image in held for other in fitted if image is other]


def test_one_image_is_too_few(place, tmp_path):
    (tmp_path / "0.png").write_bytes((place / "images" / "0.png").read_bytes())
    with pytest.raises(
        SourceError, match="^data: of '[^']*' 1 of 1 images can be read, expected at least 2: one to cal"
    ):
        read_images(Calibration(tmp_path), (64, 64), 32)


def test_images_of_a_dataset_are_those_to_train_on(place, tmp_path):
    (tmp_path / "val").mkdir()
    lines = [f"path: {place}", "train: images", f"val: {tmp_path / 'val'}", "names: [a]"]
    (tmp_path / "data.yaml").write_text("\n".join(lines))
    both = [
        read_images(Calibration(data, images=2), (64, 64), 32) for data in (place / "images", tmp_path / "data.yaml")
    ]
    assert [[float(image.sum()) for part in parts for image in part] for parts in both] == [
        [float(image.sum()) for part in both[0] for image in part]
    ] * 2


def test_no_more_images_are_read_than_needed(place):
    fitted, held = read_images(Calibration(",".join([str(place / "images")] * 5), images=3), (64, 64), 32)
    assert (len(fitted), len(held)) == (3, HELD_OUT)


def test_images_that_cannot_be_read_are_named_and_left_out(place, tmp_path, caplog):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes((place / "images" / f"{k}.png").read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        fitted, held = read_images(Calibration(tmp_path), (64, 64), 32)
    assert len(fitted) + len(held) == 3
    assert [record.message for record in caplog.records if "broken.jpg" in record.message]


# what is refused ------------------------------------------------------------------------------------------------------

REFUSED = {
    "levels 0": ({"levels": 0}, ArgumentError, "levels: expected an integer from 1 to 64, got 0"),
    "levels 65": ({"levels": 65}, ArgumentError, "levels: expected an integer from 1 to 64, got 65"),
    "activation": ({"activation": "silu"}, ArgumentError, "activation: expected one of keep, relu, got 'silu'"),
    "images": ({"images": 0}, ArgumentError, "images: expected an integer from 1 to 512, got 0"),
    "seed": ({"seed": -1}, ArgumentError, "seed: expected an integer from 0 on, got -1"),
    "unknown": ({"level": 8}, ArgumentError, "level: convert has no such argument.*levels"),
    "no data": ({"data": None}, ArgumentError, "data: missing; give a folder of images"),
    "no folder": ({"data": "nowhere"}, SourceError, "data: 'nowhere' does not exist"),
}


@pytest.mark.parametrize(("options", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_arguments_that_cannot_work_are_refused(place, options, kind, words):
    with pytest.raises(kind, match=f"^{words}") as caught:
        converted(place / "float.pt", place, **options)
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_refused(place, tmp_path):
    with pytest.raises(SourceError, match="^data: no images found in"):
        converted(place / "float.pt", place, data=tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="^data: of .* 0 of 1 images can be read"):
        converted(place / "float.pt", place, data=tmp_path)


def test_state_dicts_without_architecture_or_names_are_refused(place):
    with pytest.raises(ArgumentError, match="^model: .*does not name its architecture; give model=yolov8n.yaml"):
        converted(place / "plain.safetensors", place, names=place / "names.yaml")
    with pytest.raises(ArgumentError, match="^names: .* without class names; give names="):
        converted(place / "named.safetensors", place)
    with pytest.raises(ArgumentError, match="^model: .*float.pt' has architecture and class names; leave"):
        converted(place / "float.pt", place, names=place / "names.yaml")
    with pytest.raises(ConversionError, match="^model: expected an Ultralytics detection model.*got int"):
        converted(5, place)
    with pytest.raises(WeightsError, match="^weights: .* does not fit the architecture"):
        converted(place / "named.safetensors", place, names=place / "names.yaml", architecture="yolov5n.yaml")


def test_networks_that_have_cq_or_are_spiking_already_are_not_calibrated(place, tmp_path):
    with pytest.raises(ArgumentError, match="^data: the network has CQ activations"):
        converted(live_yolo("yolov8n")[0], place)
    graph = convert(live_yolo("yolov8n")[0], 64).save(tmp_path / "s.safetensors")
    with pytest.raises(ArgumentError, match="^data: .* is a spiking graph already"):
        converted(graph, place)


class Odd(torch.nn.ELU):
    """A subclass is no activation that is known either."""


@pytest.mark.parametrize("kind", [torch.nn.ELU, torch.nn.Softplus])
def test_activations_that_nobody_knows_are_named_with_those_that_are_known(place, kind):
    model = live_float()[0]
    model.model[3].act = kind()
    with pytest.raises(
        ConversionError, match=f"^model: layer 'model.3.act' has the activation {kind.__name__}; known"
    ) as caught:
        converted(model, place)
    assert all(name in str(caught.value) for name in ("SiLU", "ReLU6", "Hardswish", "GELU", "Mish", "Hardtanh"))
    model.model[3].act = Odd()
    with pytest.raises(CascError, match="Odd"):
        converted(model, place)


KNOWN = {
    "relu6": torch.nn.ReLU6(), "hardswish": torch.nn.Hardswish(), "gelu": torch.nn.GELU(), "mish": torch.nn.Mish(),
    "gelu_tanh": torch.nn.GELU("tanh"), "leaky_relu(0.1)": torch.nn.LeakyReLU(0.1), "relu": torch.nn.ReLU(),
    "hardtanh(-2.0,3.0)": torch.nn.Hardtanh(-2.0, 3.0),
}  # fmt: skip


@pytest.mark.parametrize(("text", "activation"), KNOWN.items(), ids=KNOWN)
def test_every_known_activation_keeps_its_function(text, activation):
    model = live_float("yolov3-tiny")[0]
    model.model[3].act = activation
    install_cq(model, 8)
    site, z = model.model[3].act, torch.linspace(-5, 5, 101)
    assert type(site) is CQ and site.function.replace(" ", "") == text
    torch.testing.assert_close(site.plain(z), activation(z.clone()))


# command line ---------------------------------------------------------------------------------------------------------


def test_the_command_prints_audit_and_report_and_writes_the_file(place, tmp_path, capsys):
    words = [
        "convert",
        f"weights={place / 'named.safetensors'}",
        f"names={place / 'names.yaml'}",
        "levels=8",
        "imgsz=64",
    ]
    assert main([*words, f"data={place / 'images'}", "images=2", f"out={tmp_path / 'm.safetensors'}"]) == 0
    shown = capsys.readouterr().out
    assert (
        "57 x Activation" in shown and "relative error of the readout" in shown and "Largest relative errors" in shown
    )
    assert load(tmp_path / "m.safetensors").levels == 8


@pytest.mark.parametrize(
    ("levels", "activation", "share", "ways"),
    [
        (16, "keep", 0.5, "levels=32 or casc-det train"),
        (48, "relu", 0.0, "activation=keep or levels=64 or casc-det train"),
        (64, "keep", None, "For a nearer one: casc-det train"),
        (64, "keep", 0.9, None),
    ],
)
def test_the_report_says_what_to_do_where_it_is_poor(levels, activation, share, ways):
    report = {
        "levels": levels,
        "activation": activation,
        "equal_boxes": share,
        "images": 6,
        "held_out": 3,
        "readout_error": 0.1,
    }
    shown = format_report(report | {"layers": {f"layer{k}": k / 10 for k in range(9)}})
    assert "layer8 80.0%, layer7 70.0%" in shown and "layer3" not in shown
    assert "For a nearer one" not in shown if ways is None else ways in shown


def test_nothing_is_written_where_a_calibration_is_refused(place, tmp_path, capsys):
    words = ["convert", f"weights={place / 'float.pt'}", "levels=8", f"data={tmp_path / 'nowhere'}"]
    assert main([*words, f"out={tmp_path / 'm.safetensors'}"]) == 1
    assert list(tmp_path.iterdir()) == [] and "data: '" in capsys.readouterr().err
