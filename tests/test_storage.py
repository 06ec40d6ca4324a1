import json
import subprocess
import sys

import pytest
import torch
from conftest import OPS, small_graph, small_images
from safetensors import safe_open
from safetensors.torch import save_file

from casc_det import graph as g
from casc_det.ann import ann_forward
from casc_det.conversion import convert_graph
from casc_det.errors import WeightsError
from casc_det.storage import KEY, VERSION, load_graph, save_graph


def spiking(*ops) -> g.SpikingGraph:
    return convert_graph(small_graph(*ops))[0]


def refusal(path) -> str:
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        load_graph(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.fixture
def saved(tmp_path):
    return save_graph(spiking("conv", "add"), tmp_path / "model.safetensors", torch.float64)


def rewrite(path, change) -> None:
    """Save the file again with `change(header, tensors)` applied."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[KEY])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, {KEY: json.dumps(header)})


@pytest.mark.parametrize("ops", [(), *((op,) for op in OPS), OPS], ids=lambda ops: "+".join(ops) or "plain")
def test_round_trip_keeps_everything(ops, tmp_path):
    graph = spiking(*ops)
    loaded = load_graph(save_graph(graph, tmp_path / "model.safetensors", torch.float64), torch.float64)
    assert len(loaded.nodes) == len(graph.nodes)
    for node, old in zip(loaded.nodes, graph.nodes, strict=True):
        assert (type(node), node.name, node.inputs) == (type(old), old.name, old.inputs)
        assert g.settings(node) == g.settings(old)
        assert g.tensors(node).keys() == g.tensors(old).keys()
        assert all(torch.equal(value, g.tensors(old)[key]) for key, value in g.tensors(node).items())
    for field in ("names", "strides", "reg_max", "imgsz", "levels", "meta"):
        assert getattr(loaded, field) == getattr(graph, field)
    images = small_images()
    answer, expected = ann_forward(loaded, images), ann_forward(graph, images)
    assert all(torch.equal(answer.readout[name], value) for name, value in expected.readout.items())
    assert all(torch.equal(answer.counts[name], value) for name, value in expected.counts.items())


def test_round_trip_covers_every_node_type_of_a_spiking_graph():
    seen = {type(node) for node in spiking(*OPS).nodes}
    assert seen == set(g.NODE_TYPES.values()) - {g.BatchNorm, g.Activation, g.Unsupported}


def test_dtype_is_chosen_when_saving_and_when_loading(tmp_path):
    graph = spiking("conv")
    path = save_graph(graph, tmp_path / "half.safetensors", torch.float16)
    for node, old in zip(load_graph(path).of_type(g.Conv), graph.of_type(g.Conv), strict=True):
        assert node.weight.dtype == torch.float32 and torch.equal(node.weight, old.weight.half().float())


def test_saving_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    for ops in (("conv",), ("max",)):
        save_graph(spiking(*ops), path)
        assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    assert len(load_graph(path).of_type(g.MaxPool)) == 1


def test_failed_saving_leaves_no_file(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(WeightsError, match="out: .* cannot be written"):
        save_graph(spiking(), tmp_path / "model.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_missing_file_is_refused(tmp_path):
    assert "make a spiking graph with: casc-det convert" in refusal(tmp_path / "none.safetensors")
    assert "does not exist" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in refusal(saved)


def test_random_bytes_are_refused(saved):
    saved.write_bytes(bytes(torch.randint(0, 256, (5000,), generator=torch.Generator().manual_seed(0)).tolist()))
    assert "damaged" in refusal(saved)


def test_plain_state_dict_is_refused(tmp_path):
    path = tmp_path / "float.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    assert "no spiking graph" in refusal(path)
    save_file({"weight": torch.ones(3)}, path, {"format": "pt"})
    assert "no spiking graph" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".onnx"])
def test_checkpoint_of_another_kind_is_refused_with_the_way_out(tmp_path, suffix):
    path = tmp_path / f"best{suffix}"
    path.write_bytes(b"\x80\x04.")
    assert "casc-det convert weights=best.pt" in refusal(path)


@pytest.mark.parametrize("change", [{"version": VERSION + 1}, {"format": "other"}])
def test_other_version_is_refused(saved, change):
    rewrite(saved, lambda header, tensors: header.update(change))
    assert f"another format version than {VERSION}" in refusal(saved)


DAMAGE = {
    "no nodes": lambda header, tensors: header.pop("nodes"),
    "no version": lambda header, tensors: header.pop("version"),
    "unknown type": lambda header, tensors: header["nodes"][1].update(type="Attention"),
    "unknown field": lambda header, tensors: header["nodes"][1].update(colour="red"),
    "unknown setting": lambda header, tensors: header.update(colour="red"),
    "dangling input": lambda header, tensors: header["nodes"][1].update(inputs=["nowhere"]),
    "duplicate name": lambda header, tensors: header["nodes"].append(header["nodes"][0]),
    "node is no object": lambda header, tensors: header["nodes"].append(7),
    "tensor missing": lambda header, tensors: tensors.pop(next(key for key in tensors if key.endswith(".weight"))),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_graph_is_refused(saved, change):
    rewrite(saved, change)
    assert "damaged" in refusal(saved)


def test_header_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    for text in ("{", "[]", "7"):
        save_file({"weight": torch.ones(3)}, path, {KEY: text})
        assert "damaged" in refusal(path)


def test_loading_and_running_needs_no_ultralytics(saved):
    code = (
        "import sys, torch; from casc_det.storage import load_graph; from casc_det.engine import simulate\n"
        "graph = load_graph(sys.argv[1]); *_, last = simulate(graph, torch.ones(1, 3, 6, 6))\n"
        "assert last.quiescent.all() and not {'ultralytics', 'cv2', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tensors_may_be_shared_between_nodes(tmp_path):
    weight, bias = torch.ones(4, 3, 1, 1), torch.zeros(4)
    nodes = [g.Input("image", ()), *(g.Conv(name, ("image",), weight, bias) for name in "ab")]
    path = save_graph(g.SpikingGraph(nodes, ["thing"], [1], 1, 64), tmp_path / "m.safetensors")
    assert torch.equal(load_graph(path).of_type(g.Conv)[1].weight, weight)


def test_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    graph = convert_graph(small_graph("conv"))[0]
    with pytest.raises(WeightsError, match="^out: .* cannot be written"):
        save_graph(graph, tmp_path / "file" / "m.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header.update(levels=0),
        lambda header: header.update(strides="ab"),
        lambda header: header.update(nodes=[]),
        lambda header: header["nodes"][2].update(theta=0.0),
        lambda header: header["nodes"][2].update(inputs=[]),
        lambda header: header.pop("names"),
    ],
)
def test_damaged_header_is_refused(tmp_path, damage):
    path = save_graph(convert_graph(small_graph("conv"))[0], tmp_path / "m.safetensors")
    with safe_open(path, "pt") as file:
        header, tensors = json.loads(file.metadata()[KEY]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damage(header)
    save_file(tensors, path, {KEY: json.dumps(header)})
    with pytest.raises(WeightsError, match="is damaged"):
        load_graph(path)
