"""Files from strangers: nothing in a `.pt` file, a YAML file or a graph's metadata runs without trust=true."""

import os
import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import float_yolo, live_yolo
from safetensors.torch import save_file
from torch import nn
from ultralytics.nn.tasks import DetectionModel, load_checkpoint, yaml_model_load
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.torch_utils import strip_optimizer

from casc_det import SpikingYOLO, convert
from casc_det.cli.run import main
from casc_det.errors import ArgumentError, WeightsError
from casc_det.graph.file import load_graph, save_graph
from casc_det.training.run import train
from casc_det.training.trainer import CascTrainer
from casc_det.yolo.architecture import (
    is_plain_activation,
    is_plain_layer,
    read_architecture,
    shipped_architecture,
    shipped_files,
)
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.float_network import FloatNetwork
from casc_det.yolo.guard import guarded
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.unpickle import load

ACTIVATION = "__import__('os').system('touch {}') or nn.SiLU()"


class Runs:
    """Its pickle calls a function with an argument."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Touch(nn.Module):
    """A layer that is nobody's but this test's."""


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def evil(tmp_path, marker) -> Path:
    """A checkpoint that is whole, and runs a command besides."""
    content = {"model": live_yolo("yolov8n")[0], "train_args": {}, "more": Runs(os.system, f"touch {marker}")}
    torch.save(content, tmp_path / "evil.pt")
    return tmp_path / "evil.pt"


@pytest.fixture(scope="module")
def spiking(tmp_path_factory) -> Path:
    return convert(live_yolo("yolov8n")[0], imgsz=64).save(tmp_path_factory.mktemp("w") / "live.safetensors")


def test_the_fixture_runs_a_command(evil, marker):
    torch.load(evil, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, torch.load, torch.hub.load, yaml_model_load])
def test_pickle_that_calls_a_function_is_refused_by_name(tmp_path, function):
    torch.save({"model": Runs(function, "1")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=rf"evil.pt' asks for [\w.]*{function.__name__}, .*trust=true"):
        load(tmp_path / "evil.pt")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("how", ["torch", "old", "plain"])
def test_every_form_of_pickle_is_refused(tmp_path, marker, protocol, how):
    content = {"model": Runs(os.system, f"touch {marker}")}
    file = tmp_path / "evil.pt"
    if how == "plain":
        file.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError, match=r"asks for posix.system, .*trust=true"):
        load(file)
    assert not marker.exists()


@pytest.mark.parametrize("kind", [DetectionModel, nn.Linear, CQReLUModel])
def test_constructors_of_allowed_classes_cannot_be_called(tmp_path, marker, kind):
    description = yaml_model_load("yolov8n.yaml") | {"activation": ACTIVATION.format(marker)}
    torch.save({"model": Runs(kind, description)}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=rf"call of [\w.]*{kind.__name__}.*trust=true"):
        load(tmp_path / "evil.pt")
    assert not marker.exists()


def test_what_others_have_allowed_in_torch_stays_theirs(tmp_path):
    torch.save({"model": Runs(yaml_model_load, "x.yaml")}, tmp_path / "evil.pt")
    with torch.serialization.safe_globals([yaml_model_load]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(WeightsError, match="trust=true"):
            load(tmp_path / "evil.pt")
        assert set(torch.serialization.get_safe_globals()) == before
        assert yaml_model_load in before


def test_names_of_layers_cannot_carry_code(tmp_path, marker):
    model = DetectionModel("yolov8n.yaml", nc=1, verbose=False)
    name = f'x"), __import__("os").system("touch {marker}"), getattr(self, "x'
    model.model[0].conv = nn.Sequential()
    model.model[0].conv._modules[name] = nn.Conv2d(3, 16, 3, 2, 1)
    torch.save({"model": model}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"a layer with the name 'x\"\).*trust=true"):
        convert(tmp_path / "evil.pt")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"# a text", "no file that torch.save"),
        (b"PK\x03\x04 half a zip", "no"),
        (b"\x80\x02", ""),
    ],
)
def test_damaged_files_are_no_question_of_trust(tmp_path, content, reason):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="no Ultralytics checkpoint") as error:
        load(tmp_path / "x.pt")
    assert reason in str(error.value) and "trust" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{"a": 1}, {"model": None}, {"model": {"x": torch.ones(1)}}, [1], 5, torch.ones(2)])
def test_files_of_other_content_have_a_plain_reason(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"is no Ultralytics checkpoint \((it|its dictionary) holds") as error:
        convert(tmp_path / "x.pt")
    assert "yolo26n" not in str(error.value) and "attribute" not in str(error.value)


def test_random_bytes_have_a_plain_reason(tmp_path):
    for seed in range(20):
        (tmp_path / "x.pt").write_bytes(random.Random(seed).randbytes(3000))
        with pytest.raises(WeightsError, match="no file that torch.save wrote|empty or cut short"):
            convert(tmp_path / "x.pt")


def test_torchscript_is_named(tmp_path):
    torch.jit.script(nn.ReLU()).save(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="TorchScript"):
        load(tmp_path / "x.pt")


def verbs(evil, spiking, data) -> dict[str, list[str]]:
    """A command for each argument that takes a `.pt` file."""
    training = ["train", f"data={data}", "epochs=1", "imgsz=64", f"project={evil.parent}"]
    yaml = [*training, "model=yolov8n.yaml"]
    return {
        "convert": ["convert", f"weights={evil}", f"out={evil.parent / 'out.safetensors'}"],
        "against": ["val", f"weights={spiking}", f"data={data}", f"against={evil}", f"project={evil.parent}"],
        "model": [*training, f"model={evil}"],
        "resume": ["train", f"resume={evil}"],
        **{key: [*yaml, f"{key}={evil}"] for key in ("weights", "teacher", "pretrained", "distill_model")},
        "unlabelled": [*training, "model=yolov8n.yaml", f"data={data.parent}", f"teacher={evil}"][2:],
    }


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two pictures with a box each."""
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    file = tmp_path / "data.yaml"
    file.write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames: ['0', '1', '2', '3', '4']\n")
    return file


ARGUMENTS = ["convert", "against", "model", "resume", "weights", "teacher", "pretrained", "distill_model"]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_every_argument_refuses_before_anything_runs(evil, marker, spiking, dataset, argument, capsys):
    before = sorted(evil.parent.iterdir())
    assert main(verbs(evil, spiking, dataset)[argument]) == 1
    said = capsys.readouterr().err
    name = "weights" if argument == "convert" else argument
    assert f"casc-det: {name}: '{evil}' asks for posix.system" in said and "trust=true" in said
    assert not marker.exists() and sorted(evil.parent.iterdir()) == before  # no run folder, no output


def test_teacher_of_pictures_without_labels_is_refused(evil, marker, dataset, capsys):
    words = ["train", "model=yolov8n.yaml", f"data={dataset.parent / 'images'}", f"teacher={evil}"]
    assert main(words) == 1
    assert "teacher: " in (said := capsys.readouterr().err) and "trust=true" in said and not marker.exists()


def test_python_refuses_too(evil, marker, spiking, dataset):
    for call in (
        lambda: convert(evil),
        lambda: SpikingYOLO(spiking).val(dataset, against=evil),
        lambda: train(model=str(evil), data=str(dataset)),
    ):
        with pytest.raises(WeightsError, match="trust=true"):
            call()
    assert not marker.exists()


@pytest.mark.parametrize("trust", ["no", "false", 1, None])
def test_trust_is_true_or_false(evil, marker, dataset, trust):
    for call in (lambda: convert(evil, trust=trust), lambda: train(model=str(evil), data=str(dataset), trust=trust)):
        with pytest.raises(ArgumentError, match="trust: expected"):
            call()
    assert not marker.exists()


def test_with_trust_the_file_is_used(evil, marker):
    assert convert(evil, imgsz=64, trust=True).graph.integer
    assert marker.exists()


def test_val_with_trust_uses_the_file(evil, marker, spiking, dataset, capsys):
    words = [*verbs(evil, spiking, dataset)["against"], "trust=true", "imgsz=64", "bootstrap=0", "timesteps=4"]
    assert main(words) == 0, capsys.readouterr().err
    assert marker.exists()


def test_foreign_layers_need_trust_and_are_named(tmp_path):
    model = float_yolo("yolov8n")
    model.more = Touch()
    torch.save({"model": model}, tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match=r"asks for test_trust.Touch, .*trust=true"):
        read_checkpoint(tmp_path / "foreign.pt")
    assert isinstance(read_checkpoint(tmp_path / "foreign.pt", trust=True).more, Touch)


def test_ultralytics_reads_through_the_guard(evil, marker):
    """What the trainer does at its end, with a best.pt that somebody put into the folder."""
    with guarded():
        with pytest.raises(WeightsError, match="trust=true"):
            load_checkpoint(evil)
        assert strip_optimizer(evil) == {}  # it says so in a warning
    assert not marker.exists()
    load_checkpoint(evil)  # outside, Ultralytics is its user's own
    assert marker.exists()


ORDINARY = (
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n",
    "yolov8n-ghost",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo26n",
)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_checkpoints_need_no_trust(tmp_path, name):
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.args = IterableSimpleNamespace(imgsz=64)
    model.criterion = model.init_criterion()
    import numpy as np

    content = {"model": None, "ema": model.half(), "best_fitness": np.float64(0.5), "train_args": {"imgsz": 64}}
    torch.save(content | {"save_dir": Path("runs")}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert load(tmp_path / "x.pt")["best_fitness"] == 0.5
    for (key, value), (other, expected) in zip(found.state_dict().items(), model.state_dict().items(), strict=True):
        assert key == other and torch.equal(value, expected.to(value.dtype))


@pytest.mark.parametrize("name", ["yolov8n", "yolov10n"])
def test_folded_checkpoint_needs_no_trust(tmp_path, name):
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False).eval().fuse(verbose=False)
    torch.save({"model": model, "train_args": {}}, tmp_path / "x.pt")
    found, images = read_checkpoint(tmp_path / "x.pt").eval(), torch.rand(1, 3, 64, 64)
    assert torch.equal(found(images)[0], model(images)[0])
    assert found.model[0].forward.__self__ is found.model[0]


@pytest.mark.parametrize("owner", [nn.ReLU(), "text", torch.ones(1)])
@pytest.mark.parametrize("name", ["__class__", "apply", "forward_fuse.__globals__", "register_forward_hook"])
def test_no_other_attribute_can_be_fetched(tmp_path, owner, name):
    torch.save({"model": Runs(getattr, owner, name)}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"asks for getattr, .*trust=true"):
        load(tmp_path / "evil.pt")


def test_format_before_torch_1_6_is_a_question_of_trust(tmp_path):
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    torch.save({"model": model, "train_args": {}}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="source code of its layers.*trust=true"):
        read_checkpoint(tmp_path / "x.pt")
    assert isinstance(read_checkpoint(tmp_path / "x.pt", trust=True), DetectionModel)


def test_checkpoint_with_cqrelu_needs_no_trust(tmp_path):
    model, images = live_yolo("yolov8n")
    own = CQReLUModel("yolov8n.yaml", nc=5, verbose=False)
    own.model = model.model
    torch.save({"model": own.eval(), "train_args": {}}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert type(found) is CQReLUModel
    assert torch.equal(found(images.float())[0], own.float()(images.float())[0])
    model.double()


# architectures --------------------------------------------------------------------------------------------------------


def own_yaml(folder: Path, **entries) -> Path:
    file = folder / "own.yaml"
    description = {k: v for k, v in yaml_model_load("yolov8n.yaml").items() if k not in ("scale", "yaml_file")}
    YAML.save(file, description | entries)
    return file


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov5nu.yaml", "yolov8x6.yaml", "yolov9t.yaml", "yolo26m.yaml"])
def test_shipped_architecture_is_what_ultralytics_reads(name):
    assert {**shipped_architecture(name), "yaml_file": 0} == {**yaml_model_load(name), "yaml_file": 0}


def test_every_shipped_detection_file_is_plain():
    for name in shipped_files():
        if "rtdetr" not in name and "world" not in name and not name.startswith("yoloe"):
            description = shipped_architecture(name)
            layers = [row[2] for row in (*description["backbone"], *description["head"])]
            assert [layer for layer in layers if not is_plain_layer(layer) and layer != "TorchVision"] == []


@pytest.mark.parametrize("name", [{}, None, 3, "../yolov8n.yaml", "/etc/x.yaml", "own.yaml", "coco.yaml", "yolov8n"])
def test_other_names_are_no_shipped_architecture(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_yaml(tmp_path)
    assert shipped_architecture(name) is None


def test_shipped_name_is_not_looked_up_in_the_working_folder(tmp_path, monkeypatch, marker):
    own_yaml(tmp_path, activation=ACTIVATION.format(marker)).rename(tmp_path / "yolov8n.yaml")
    monkeypatch.chdir(tmp_path)
    assert "activation" not in shipped_architecture("yolov8n.yaml")
    with pytest.raises(WeightsError, match="trust=true"):  # as train model= it is an own file
        read_architecture("yolov8n.yaml")


def float_state(folder: Path) -> Path:
    save_file(float_yolo("yolov8n").state_dict(), folder / "float.safetensors")
    return folder / "float.safetensors"


@pytest.mark.parametrize("form", ["dict", "path", "name"])
def test_architecture_of_metadata_is_a_shipped_name(tmp_path, marker, monkeypatch, form):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    monkeypatch.chdir(tmp_path)
    described = {"dict": YAML.load(own), "path": str(own), "name": own.name}[form]
    with pytest.raises(WeightsError, match="against: .*no architecture of Ultralytics"):
        FloatNetwork(float_state(tmp_path), described, ["a"] * 5)
    assert not marker.exists()
    assert FloatNetwork(float_state(tmp_path), "yolov8n.yaml", ["a"] * 5).strides == [8, 16, 32]


def test_metadata_of_a_graph_runs_nothing(tmp_path, marker, spiking, dataset, capsys):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    graph = load_graph(spiking, torch.float64)
    save_graph(replace(graph, meta=graph.meta | {"architecture": str(own)}), tmp_path / "evil.safetensors")
    words = [f"weights={tmp_path / 'evil.safetensors'}", f"data={dataset}", "imgsz=64", f"project={tmp_path}"]
    assert main(["val", *words, f"against={float_state(tmp_path)}"]) == 1
    assert "no architecture of Ultralytics" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("trust", ["false", "true"])
def test_own_yaml_with_activation_needs_trust(tmp_path, marker, dataset, trust, capsys):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    words = ["train", f"model={own}", f"data={dataset}", f"trust={trust}", "epochs=1", "imgsz=32", "plots=false"]
    code = main([*words, f"project={tmp_path / 'runs'}", "pretrained=nothing.pt"])
    said = capsys.readouterr().err
    assert code == 1 and not marker.exists() and "pretrained" in said  # stops before
    assert main([*words, f"project={tmp_path / 'runs'}", "val=false"]) == (0 if trust == "true" else 1)
    assert marker.exists() == (trust == "true") == (tmp_path / "runs").exists()
    assert ("activation" in capsys.readouterr().err) or trust == "true"


def test_own_yaml_without_activation_is_read_as_before(tmp_path):
    own = own_yaml(tmp_path)
    description = read_architecture(own)
    assert description == yaml_model_load(own)
    assert DetectionModel(description, verbose=False).yaml["scale"] == description["scale"]


@pytest.mark.parametrize(
    "layer", ["check_requirements", "load_checkpoint", "DetectionModel", "TorchVision", "nn.init", 3]
)
def test_own_yaml_with_another_layer_needs_trust(tmp_path, layer):
    rows = yaml_model_load("yolov8n.yaml")["backbone"]
    own = own_yaml(tmp_path, backbone=[[-1, 1, layer, ["x"]], *rows])
    with pytest.raises(WeightsError, match=rf"{layer}.*trust=true"):
        read_architecture(own)
    assert read_architecture(own, trust=True)["backbone"][0][2] == layer


def test_description_in_a_checkpoint_is_checked(tmp_path, marker, dataset, capsys):
    model = float_yolo("yolov8n")
    model.yaml = model.yaml | {"activation": ACTIVATION.format(marker)}
    torch.save({"model": model}, tmp_path / "x.pt")
    words = ["train", f"model={tmp_path / 'x.pt'}", f"data={dataset}", "epochs=1", "imgsz=32", f"project={tmp_path}"]
    assert main(words) == 1
    assert "activation" in (said := capsys.readouterr().err) and "trust=true" in said
    assert not marker.exists()


def test_plain_activation():
    assert all(map(is_plain_activation, ("nn.SiLU()", "torch.nn.ReLU()", "nn.LeakyReLU(0.1, inplace=True)")))
    for text in (
        "nn.SiLU",
        "nn.SiLU() or print()",
        "print()",
        "nn.X()",
        "nn.ReLU(print())",
        "nn.ReLU(*[1])",
        {},
        "a\n",
    ):
        assert not is_plain_activation(text)


# caches of data sets --------------------------------------------------------------------------------------------------


def test_label_cache_beside_a_data_set_is_not_unpickled(tmp_path, marker, dataset):
    import numpy as np

    cache = tmp_path / "labels.cache"
    with open(cache, "wb") as file:
        np.save(file, np.array(Runs(os.system, f"touch {marker}"), dtype=object))
    content = cache.read_bytes()
    folder = train(model="yolov8n.yaml", data=str(dataset), epochs=1, imgsz=32, plots=False, project=str(tmp_path))
    assert not marker.exists() and cache.read_bytes() == content
    assert read_checkpoint(folder / "weights" / "best.pt").args["epochs"] == 1  # trained here: no trust needed
    assert convert(folder / "weights" / "last.pt").graph.integer


def test_resume_writes_where_the_checkpoint_lies_and_takes_no_trust_from_it(tmp_path, dataset, monkeypatch):
    class Stopped(Exception):
        pass

    def save(trainer):
        whole(trainer)
        raise Stopped

    whole = CascTrainer.save_model
    monkeypatch.setattr(CascTrainer, "save_model", save)
    with pytest.raises(Stopped):
        train(model="yolov8n.yaml", data=str(dataset), epochs=2, imgsz=32, plots=False, project=str(tmp_path), name="a")
    monkeypatch.undo()
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    last = tmp_path / "moved" / "weights" / "last.pt"
    content = load(last)
    content["train_args"] |= {"trust": True, "save_dir": str(tmp_path / "elsewhere")}
    torch.save(content, last)
    before = {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    assert train(resume=str(last)) == tmp_path / "moved"
    assert len((tmp_path / "moved" / "results.csv").read_text().splitlines()) == 3  # header, two epochs
    assert before == {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    assert not (tmp_path / "elsewhere").exists()
    assert YAML.load(tmp_path / "moved" / "args.yaml")["trust"] is False


def test_download_of_a_dataset_is_not_run_by_the_validator(tmp_path, marker):
    import ultralytics.engine.validator

    (tmp_path / "images").mkdir()
    file = tmp_path / "d.yaml"
    script = f"open({str(marker)!r}, 'w')"
    file.write_text(f"path: {tmp_path}\ntrain: images\nval: gone\nnames: [a]\ndownload: {script}\n")
    with guarded(), pytest.raises(FileNotFoundError):
        ultralytics.engine.validator.check_det_dataset(str(file))
    assert not marker.exists()
