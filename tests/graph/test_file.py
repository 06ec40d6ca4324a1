import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from fuzz_models import BLOCKS, small_detector
from safetensors import safe_open
from safetensors.torch import save_file

from casc_det import graph as g
from casc_det.errors import ArgumentError, ConversionError, OutputError, WeightsError
from casc_det.graph.file import CHECKSUM, KEY, VERSION, checksum, load_graph, save_graph
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.convert import Conversion


def spiking(*blocks) -> g.SpikingGraph:
    return small_detector(*blocks, integer=False)


def refusal(path) -> str:
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        load_graph(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.fixture
def saved(tmp_path):
    return save_graph(spiking("add"), tmp_path / "model.safetensors", torch.float64)


def read(path) -> tuple[dict, dict]:
    """(metadata, tensors) of a file."""
    with safe_open(path, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def rewrite(path, change, sign: bool = True) -> None:
    """Save the file again with `change(header, tensors)` applied; `sign`: with a checksum that fits."""
    metadata, tensors = read(path)
    header = json.loads(metadata[KEY])
    change(header, tensors)
    text = json.dumps(header)
    save_file(tensors, path, {KEY: text, CHECKSUM: checksum(text, tensors) if sign else metadata[CHECKSUM]})


@pytest.mark.parametrize("blocks", [(), *((block,) for block in BLOCKS), BLOCKS], ids=lambda x: "+".join(x) or "plain")
def test_round_trip_keeps_everything(blocks, tmp_path):
    graph = spiking(*blocks)
    loaded = load_graph(save_graph(graph, tmp_path / "model.safetensors", torch.float64), torch.float64)
    assert len(loaded.nodes) == len(graph.nodes)
    for node, old in zip(loaded.nodes, graph.nodes, strict=True):
        assert (type(node), node.name, node.inputs) == (type(old), old.name, old.inputs)
        assert g.settings(node) == g.settings(old)
        assert g.tensors(node).keys() == g.tensors(old).keys()
        assert all(torch.equal(value, g.tensors(old)[key]) for key, value in g.tensors(node).items())
    for field in ("names", "strides", "reg_max", "imgsz", "levels", "meta"):
        assert getattr(loaded, field) == getattr(graph, field)
    images = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    answer, expected = ann_forward(loaded, images), ann_forward(graph, images)
    assert all(torch.equal(answer.readout[name], value) for name, value in expected.readout.items())
    assert all(torch.equal(answer.counts[name], value) for name, value in expected.counts.items())


def test_round_trip_covers_every_node_type_of_a_spiking_graph():
    seen = {type(node) for node in spiking(*BLOCKS).nodes}
    assert seen == set(g.NODE_TYPES.values()) - {g.BatchNorm, g.Activation, g.Unsupported}


def test_dtype_is_chosen_when_saving_and_when_loading(tmp_path):
    graph = spiking()
    path = save_graph(graph, tmp_path / "half.safetensors", torch.float16)
    for node, old in zip(load_graph(path).of_type(g.Conv), graph.of_type(g.Conv), strict=True):
        assert node.weight.dtype == torch.float32 and torch.equal(node.weight, old.weight.half().float())


def test_saving_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    for blocks in ((), ("max",)):
        save_graph(spiking(*blocks), path)
        assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    assert len(load_graph(path).of_type(g.MaxPool)) == 1


def test_failed_saving_leaves_no_file(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(OutputError, match="model.safetensors. cannot be written"):
        save_graph(spiking(), tmp_path / "model.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_missing_file_is_refused(tmp_path):
    assert "make a spiking graph with: casc-det convert" in refusal(tmp_path / "none.safetensors")
    assert "(and data=images/ levels=32 for a float network)" in refusal(tmp_path / "yolov8n.pt")
    assert "is no file" in refusal(tmp_path)


def test_checkpoint_is_refused_with_the_command_that_converts_it(tmp_path):
    (tmp_path / "my best.pt").write_bytes(b"x")
    assert f"casc-det convert weights='{tmp_path}/my best.pt' out=model.safetensors" in refusal(tmp_path / "my best.pt")


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
    assert "(and data=images/ levels=32 for a float network)" in refusal(path)
    assert (f"casc-det convert weights={path} out=model.safetensors" in refusal(path)) == (suffix == ".pt")


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
        "import sys, torch; from casc_det.graph.file import load_graph; from casc_det.simulation import simulate\n"
        "graph = load_graph(sys.argv[1]); *_, last = simulate(graph, torch.ones(1, 3, 8, 8))\n"
        "assert last.quiescent.all() and not {'ultralytics', 'cv2', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tensors_may_be_shared_between_nodes(tmp_path):
    graph = spiking("add")
    first, second = [node for node in graph.of_type(g.Conv) if node.weight.shape == (8, 8, 3, 3)][:2]
    shared = [replace(node, weight=first.weight) if node is second else node for node in graph.nodes]
    graph = replace(graph, nodes=shared)
    loaded = load_graph(save_graph(graph, tmp_path / "m.safetensors", torch.float64), torch.float64)
    assert torch.equal(next(node for node in loaded.nodes if node.name == second.name).weight, first.weight)


def test_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="^.*m.safetensors. cannot be written"):
        save_graph(spiking(), tmp_path / "file" / "m.safetensors")


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
def test_damaged_header_is_refused(saved, damage):
    rewrite(saved, lambda header, tensors: damage(header))
    with pytest.raises(WeightsError, match="is damaged"):
        load_graph(saved)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_a_flipped_bit_is_found_by_the_checksum(saved, place):
    content = bytearray(saved.read_bytes())
    length = int.from_bytes(content[:8], "little")
    content[8 + length + int(place * (len(content) - length - 8))] ^= 1
    saved.write_bytes(content)
    assert "checksum" in refusal(saved)


def test_a_changed_description_is_found_by_the_checksum(saved):
    rewrite(saved, lambda header, tensors: header.update(names=["cat", "dog", "dove"]), sign=False)
    assert "checksum" in refusal(saved)


def test_version_and_checksum_belong_together(saved):
    """A bit that makes version 2 of 3 does not switch the checksum off."""
    rewrite(saved, lambda header, tensors: header.update(version=2))
    assert "checksum" in refusal(saved)
    metadata, tensors = read(saved)
    save_file(tensors, saved, {KEY: metadata[KEY].replace('"version": 2', '"version": 3')})
    assert "checksum" in refusal(saved)


def test_files_of_version_2_without_checksum_are_read(saved):
    expected = load_graph(saved).of_type(g.Conv)
    rewrite(saved, lambda header, tensors: header.update(version=2))
    metadata, tensors = read(saved)
    save_file(tensors, saved, {KEY: metadata[KEY]})
    found = load_graph(saved).of_type(g.Conv)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(expected, found, strict=True))


def test_values_that_do_not_fit_the_chosen_dtype_are_refused(tmp_path):
    graph = spiking()
    graph.of_type(g.Conv)[0].bias[0] = 1e5
    with pytest.raises(ConversionError, match="do not fit into torch.float16"):
        save_graph(graph, tmp_path / "m.safetensors", torch.float16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["NaN", "[" * 5000 + "]" * 5000, "1" * 5000, '{"a": 1, "a": 2}', '"\\ud800"'])
def test_odd_json_is_refused(saved, text):
    metadata, tensors = read(saved)
    changed = metadata[KEY].replace('"meta": {', f'"meta": {{"odd": {text}, ')
    save_file(tensors, saved, {KEY: changed, CHECKSUM: checksum(changed, tensors)})
    assert "damaged" in refusal(saved)


def test_header_beyond_all_measure_is_refused_before_it_is_read(saved):
    saved.write_bytes((2**40).to_bytes(8, "little") + saved.read_bytes()[8:])
    assert "is no safetensors file (it does not begin as one), or damaged" in refusal(saved)


def test_integer_graph_is_read_only_in_a_type_that_holds_it(tmp_path):
    path = save_graph(small_detector(), tmp_path / "m.safetensors")
    with pytest.raises(ArgumentError, match="float32 or float64"):
        load_graph(path, torch.float16)


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.pt"])
def test_a_graph_is_saved_over_no_other_file(name, tmp_path):
    (tmp_path / name).write_bytes(b"mine")
    for save in (save_graph, lambda graph, path: Conversion(graph, [], {}).save(path)):
        with pytest.raises(ArgumentError, match="^path: expected a file that ends in .safetensors, got"):
            save(small_detector(), tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
