"""Studies of networks that follow other functions than ReLU, in bursts: cells, counts, figures and words."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import simulate, small_graph

from casc_det import study
from casc_det.cli.run import main
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError
from casc_det.graph.file import load_graph, save_graph
from casc_det.simulation.step import payload_bits
from casc_det.simulation.twin import ann_forward
from casc_det.studies.cells import CellLoader
from casc_det.studies.curves import smallest_step
from casc_det.studies.figures.bursts import plot_bursts
from casc_det.studies.figures.neurons import plot_mapping, plot_neurons
from casc_det.studies.neurons import neuron_paths
from casc_det.studies.records import label, plain
from casc_det.studies.settings import StudySettings
from casc_det.studies.summary import answers, price_rows, summarise
from casc_det.studies.variants import make_grid
from casc_det.yolo.images import letterbox, read_image


@pytest.fixture
def silu(place):
    """The file of a network that follows SiLU, with Q = 8, and recommends bursts of 4 with the ramp rule."""
    graph = to_integer(convert_graph(small_graph("max", "add", levels=8, function="silu"))[0])
    return save_graph(replace(graph, defaults={"burst": 4, "ramp": True}), place / "silu.safetensors")


def run(place, weights, **options):
    asked = {"images": place / "images", "imgsz": 32, "policies": "quiescent", "project": place / "runs"}
    return study(weights, place / "data.json", timesteps="1..60", **asked, **options)


def methods(weights, **axes):
    loader = CellLoader(60, torch.device("cpu"))
    cells = [loader.load(variant) for variant in make_grid(str(weights), StudySettings(**axes))]
    return [(cell.variant.method, cell.recommended) for cell in cells]


def test_what_is_not_asked_for_is_what_the_file_recommends(place, silu):
    assert methods(silu) == [("CIF + WSC, burst 4, ramp", True)]
    assert methods(silu, levels=2) == [("CIF + WSC, burst 2, ramp", True)]  # Q is the largest burst
    found = methods(silu, burst="1,4", delay=0.5)
    assert found[2:] == [("CIF + WSC, burst 4, ramp", True), ("CIF + WSC, burst 4, ramp, delay 0.5", False)]
    assert [method for method, _ in found[:2]] == ["CIF + WSC, ramp", "CIF + WSC, ramp, delay 0.5"]
    relu = place / "net.safetensors"  # its steps are equal: the ramp rule changes nothing
    assert methods(relu, ramp="false,true") == [("CIF + WSC", True)] * 2
    with pytest.raises(ArgumentError, match="^burst: expected an integer from 1 to the levels Q = 4, got 8"):
        methods(relu, burst=8)
    with pytest.raises(ArgumentError, match="^neuron: 'if' cannot follow the tables of this network"):
        methods(silu, neurons="cif,if")


def test_cells_of_bursts_hold_what_plain_simulation_gives(place, silu):
    _, records = run(place, silu, burst="1,3", ramp="false,true", report=False)
    graph = load_graph(silu)
    images = [letterbox(read_image(place / f"images/{k}.png").image, (32, 32), 32, False)[None] for k in range(3)]
    anns = [ann_forward(graph, image).counts.values() for image in images]
    wanted = np.mean([[float(n.abs().sum()) for n in counts] for counts in anns], 0)
    for record in records:
        variant, result = record["variant"], record["result"]
        bits = payload_bits(variant["burst"])
        totals, rests, peaks = np.zeros(3), [], 0
        for image in images:
            ways = {"burst": variant["burst"], "ramp": variant["ramp"], "engine": "reference"}
            for step in simulate(graph, image, **ways):
                totals += [step.fired.sum() / 3, step.messages.sum() / 3, step.sops[0] / 3]
                peaks = np.maximum(peaks, step.peaks[:, 0].numpy())
            rests.append(step.t)
        curves, layers = result["curves"], result["layers"]
        assert np.allclose([curves[key][-1] for key in ("spikes", "messages", "sops")], totals)
        assert np.allclose(np.array(curves["messages"]) * bits, curves["payload_bits"])
        assert np.allclose(np.sum(layers["messages"], 0), curves["messages"])
        assert np.allclose(layers["ann_counts"], wanted)  # by magnitude: some are negative
        assert result["steps_to_rest"] == rests and result["wake"] == -(-8 // variant["burst"])
        assert curves["mse"][-1] == curves["more"][-1] == curves["fewer"][-1] == 0
        assert record["activation"] == "silu" and result["bits_a_message"] == bits
        read = record["reads"]["convolutions"].values()
        assert [one["seen"] for one in read if one["reads"] == "spikes"] == peaks.tolist()
        assert (
            answers([record], summarise([record]))[-1]
            == f"What silu, {summarise([record])[0]['method']} reads: {record['reads']['summary']}."
        )
    assert max(records[2]["result"]["steps_to_rest"]) < min(records[0]["result"]["steps_to_rest"])
    assert plain(records) == records[:1] and list(records[2]["result"]["layers"]["error"]) == ["3", "4", "6"]


def test_nothing_is_simulated_after_rest(place, silu, monkeypatch):
    from casc_det.studies import runner

    known = []
    trace = runner.trace_image
    monkeypatch.setattr(runner, "trace_image", lambda *given: known.append(trace(*given)) or known[-1])
    run(place, silu, burst=8, report=False)
    assert all(len(one.sops) == one.rest < 40 for one in known) and len(known) == 4


def test_words_tables_and_figures_of_bursts(place, silu, capsys):
    words = ["study", f"data={place}/data.json", f"images={place}/images", f"weights={silu},{place}/net.safetensors"]
    words += ["timesteps=1..60", "imgsz=32", "burst=1,4", "ramp=false,true", "limit=2", f"project={place}/runs"]
    assert main([*words, "policies=quiescent"]) == 0
    out, folder = capsys.readouterr().out, place / "runs/study"
    assert "silu (silu), CIF + WSC, burst 4, ramp" in out and "quiescent: mean T" in out
    assert "net (relu), CIF + WSC, burst 4 " in out
    cells, layers = (list(csv.DictReader((folder / f"{name}.csv").open())) for name in ("cells", "layers"))
    summary = json.loads((folder / "summary.json").read_text())["cells"]
    assert len(cells) == len(summary) == 6 and [row["burst"] for row in cells] == ["1", "1", "4", "4", "1", "4"]
    for row, entry in zip(cells, summary, strict=True):
        assert float(row["quiescent_mean"]) == entry["rest"]["mean"] and row["activation"] == entry["activation"]
        assert float(row["quiescent_messages_a_neuron"]) <= float(row["quiescent_spikes_a_neuron"])
        mine = [one for one in layers if all(one[key] == row[key] for key in ("weights", "burst", "ramp"))]
        for key in ("spikes", "messages", "payload_bits"):
            total = sum(float(one[key]) for one in mine) / sum(float(one["neurons"]) for one in mine)
            assert total == pytest.approx(entry["rest"][f"{key}_a_neuron"])
    assert (folder / "bursts.png").stat().st_size > 5000
    assert not [name for name in ("map", "mapping", "neurons", "more_fewer") if not (folder / f"{name}.png").is_file()]


def test_the_figure_of_bursts_marks_time_and_energy(tiny_study, place, silu):
    assert plot_bursts(tiny_study[1]) is None  # there is one burst only
    _, records = run(place, silu, burst="1,2,4,8", ramp="false,true", report=False)
    for record in records:  # as if something was detected
        record["result"]["ann"]["mAP50-95"], record["result"]["curves"]["mAP50-95"] = 0.5, [0.5] * 60
        record["result"]["gap_95"] = {"1": [0, 0]}
    figure = plot_bursts(records)
    left, right = figure.axes
    assert len(left.lines) == 8 + 1 and len(right.lines) == 8 + 2  # the ANN's mAP, and its energy
    assert {line.get_label() for line in left.lines} >= {"burst 1", "burst 8, ramp"}
    marks = [tuple(path.get_offsets()[0]) for path in left.collections if len(path.get_offsets())]
    rests = [np.mean(record["result"]["steps_to_rest"]) for record in records]
    assert sorted(x for x, _ in marks) == pytest.approx(sorted([1] * 8 + rests))
    assert smallest_step(records[0]["result"], 0.99) == 1 and len(price_rows(summarise(records))) == 9
    without = [json.loads(json.dumps(record)) for record in records]
    for record in without:
        record["result"]["ann"]["energy_mJ"] = 0  # mac_pj=0
    assert plot_bursts(without).axes[1].get_xlabel() == "energy an image, mJ"
    assert price_rows(summarise(without))[1][-1] == ""


def test_labels_name_activations_where_they_differ(tiny_study):
    record = tiny_study[1][0]
    other = {**record, "activation": "silu", "variant": {**record["variant"], "weights": "b"}}
    assert label(record, [record, other]) == "live (relu)" and label(other, [record, other]) == "b (silu)"
    assert label(other, [other, {**other, "variant": record["variant"]}]) == "b"


@pytest.mark.parametrize(("burst", "ramp"), [(1, False), (3, True), (8, False)])
def test_single_neurons_end_at_their_function(place, silu, burst, ramp):
    """Four of a network at the ANN's counts, and those of unsteady input at the count of their table."""
    simulation = CellLoader(60, torch.device("cpu")).load(
        make_grid(str(silu), StudySettings(burst=burst, ramp=ramp))[0]
    )
    graph, settings = simulation.graph, simulation.variant.simulation
    paths = neuron_paths(graph, torch.rand(1, 3, 32, 32), settings, 60)
    for path in paths:
        assert path.counts == np.cumsum(path.spikes).tolist() and path.counts[-1] == path.ann == path.wanted[-1]
        assert max(map(abs, path.spikes)) <= burst
    record = {"activation": "silu", "clip": 3.0, "method": "", "result": {"levels": 8, "wake": -(-8 // burst)}}
    record["variant"] = {"weights": "a", "neuron": "cif", "schedule": "wsc", "burst": burst, "ramp": ramp}
    plot_neurons(paths, record, "image")
    left, _ = plot_mapping(record).axes
    counts, _, wanted, _ = (line.get_ydata() for line in left.lines)
    assert np.array_equal(counts, wanted) and min(wanted) == -1 and max(wanted) == 8
