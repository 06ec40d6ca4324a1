"""What is left of a run that did not end well: resuming, damaged files, signals, full disks, figures that fail."""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import float_yolo, small_graph
from PIL import Image
from safetensors.torch import save_file

from casc_det.base.files import write_bytes
from casc_det.base.folders import run_folder
from casc_det.base.lines import append_lines, read_lines
from casc_det.cli import run as cli
from casc_det.cli.run import main
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import OutputError, SourceError
from casc_det.evaluation import report
from casc_det.evaluation.bootstrap import Outcomes, bootstrap_gap
from casc_det.evaluation.figures import plot_confusion
from casc_det.graph.file import load_graph, save_graph
from casc_det.show import figures as plots
from casc_det.studies import report as study_report
from casc_det.studies.figures import FIGURES
from casc_det.studies.run import study
from casc_det.training import whole
from casc_det.training.trainer import CascTrainer
from casc_det.training.whole import WholePath, strip_whole, trim_results
from casc_det.yolo.progress import Progress

VAL = ("timesteps=4,auto", "bootstrap=10")
STUDY = ("timesteps=2,4,12", "policies=quiescent,boxes-stable(2)")


@pytest.fixture(scope="module")
def spiking():
    """A network of a few layers, so small that a process takes longer to start than to run it."""
    return to_integer(convert_graph(small_graph("max", "add"))[0])


@pytest.fixture
def place(tmp_path, spiking):
    """Weights, a COCO data set of three images, and a float network for against=."""
    save_graph(spiking, tmp_path / "net.safetensors")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
    for k in range(3):
        values = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "images" / f"{k}.png")
        content["images"].append({"id": k + 1, "file_name": f"{k}.png", "width": 64, "height": 48})
        box = {"bbox": [8, 8, 24, 20], "area": 480, "iscrowd": 0}
        content["annotations"].append({"id": k + 1, "image_id": k + 1, "category_id": k % 2 + 1, **box})
    (tmp_path / "data.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch):
    """Runs whose figures do not matter take a tenth of the time without them."""
    for module in (report, study_report):
        monkeypatch.setattr(module, "save_figures", lambda *_: [])


def words(place: Path, verb: str, *more) -> list[str]:
    common = [f"data={place / 'data.json'}", f"images={place / 'images'}", f"weights={place / 'net.safetensors'}"]
    return [verb, *common, "imgsz=32", f"project={place / 'runs'}", *(VAL if verb == "val" else STUDY), *more]


def fails(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert not any("Traceback" in line for line in error)
    return error[-1]


def numbers(folder: Path):
    """What a run says, without clock, machine and folder."""
    if (folder / "results.json").exists():
        rows = json.loads((folder / "results.json").read_text())["rows"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    cells = read_lines(folder / "cells.jsonl")
    for cell in cells:
        del cell["result"]["seconds"], cell["result"]["curves"]["seconds"], cell["made"], cell["variant"]
    return sorted(cells, key=lambda cell: cell["key"])


def change_weight(place):
    graph = load_graph(place / "net.safetensors")
    node = next(node for node in graph.nodes if hasattr(node, "weight"))
    node.weight[0, 0, 0, 0] += 1
    save_graph(graph, place / "net.safetensors")


def change_name(place):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = ["dog", "cat"]
    save_graph(graph, place / "net.safetensors")


def change_box(place):
    content = json.loads((place / "data.json").read_text())
    content["annotations"][1]["bbox"][2] += 1
    (place / "data.json").write_text(json.dumps(content))


def change_crowd(place):
    content = json.loads((place / "data.json").read_text())
    content["annotations"][2]["iscrowd"] = 1
    (place / "data.json").write_text(json.dumps(content))


def change_image(place):
    """One pixel; size and time of the file stay."""
    file = place / "images" / "1.png"
    values = np.asarray(Image.open(file)).copy()
    values[5, 5] ^= 1
    before = file.stat()
    Image.fromarray(values).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    change_weight: "weights=",
    change_name: "weights=",
    change_box: "other objects, classes or image sizes (data=",
    change_crowd: "other objects, classes or image sizes (data=",
    change_image: "other content of its image files",
}


@pytest.mark.parametrize("verb", ["val", "study"])
def test_a_run_goes_on_with_the_same_content_only(place, no_figures, tmp_path_factory, capsys, verb):
    assert main(words(place, verb, "name=a")) == 0
    whole, folder = numbers(place / "runs" / "a"), place / "runs" / "a"
    kept = tmp_path_factory.mktemp("kept")
    shutil.copytree(place, kept, dirs_exist_ok=True)
    for change, message in CHANGES.items():
        change(place)
        error = fails(capsys, *words(place, verb, f"resume={folder}"))
        assert error.startswith("casc-det: resume: ") and message in error, error
        assert numbers(folder) == whole
        shutil.copytree(kept, place, dirs_exist_ok=True)
    (kept / "data.json").rename(kept / "other.json")  # other paths, the same content
    (kept / "net.safetensors").rename(kept / "other.safetensors")
    shutil.rmtree(place / "images")
    again = [f"data={kept}/other.json", f"images={kept}/images", f"weights={kept}/other.safetensors", "imgsz=32"]
    assert main([verb, *again, *(VAL if verb == "val" else STUDY), f"resume={folder}"]) == 0
    assert numbers(folder) == whole


def test_val_goes_on_with_the_same_float_network_only(place, no_figures, capsys):
    torch.manual_seed(0)
    state = {key: value.contiguous() for key, value in float_yolo("yolov8n", 2).state_dict().items()}
    save_file(state, place / "float.safetensors")
    more = (f"against={place / 'float.safetensors'}", "limit=1")
    assert main(words(place, "val", "name=a", *more)) == 0
    resumed = f"resume={place / 'runs' / 'a'}"
    assert main(words(place, "val", resumed, *more)) == 0
    next(value for value in state.values() if value.ndim == 4)[0, 0, 0, 0] += 1e-3
    save_file(state, place / "float.safetensors")
    assert "another float network (against=)" in fails(capsys, *words(place, "val", resumed, *more))
    assert "has float True, not False" in fails(capsys, *words(place, "val", resumed, "limit=1"))


def run_study(place: Path, weights, **options) -> Path:
    asked = {"images": place / "images", "imgsz": 32, "policies": "quiescent", "project": place / "runs"}
    return study(weights, place / "data.json", timesteps="2,4,12", report=False, **asked, **options)[0]


def test_cells_and_traces_of_another_network_are_not_taken(place, caplog):
    """Two files of one name in two folders: both are studied, and nothing of one is taken for the other's."""
    first, other = place / "net.safetensors", place / "other" / "net.safetensors"
    other.parent.mkdir()
    shutil.copy(first, other)
    change_weight(other.parent)
    folder = run_study(place, first)
    run_study(place, other, resume=folder)
    both, theirs = numbers(folder), numbers(run_study(place, other))
    assert len(both) == 2 and theirs[0] in both
    assert len({cell["made"]["graph"] for cell in read_lines(folder / "cells.jsonl")}) == 2
    shutil.copy(first, place / "copy.safetensors")  # one network under two names: one cell
    assert len(numbers(run_study(place, [str(first), str(place / "copy.safetensors")]))) == 1
    assert "is the same network as" in caplog.text


# damaged files ----------------------------------------------------------------------------------------------------


def changed_digit(line: bytes) -> bytes:
    at = line.index(b'"scores": [0.') + 14
    return line[:at] + (b"1" if line[at : at + 1] != b"1" else b"2") + line[at + 1 :]


DAMAGE = {
    "garbage": lambda line: b"garbage",
    "no text": lambda line: b"\xff\xfe\x00" + line,
    "half": lambda line: line[: len(line) // 2],
    "list": lambda line: b"[1, 2]",
    "keys": lambda line: b'{"key": 2}',
    "types": lambda line: line.replace(b'"rows": {', b'"rows": 3, "x": {'),
    "nothing": lambda line: b"",
    "deep": lambda line: b"[" * 100_000,
    "number": changed_digit,
}


def test_lines_come_back_as_they_were_or_not_at_all(tmp_path):
    records = [{"key": k, "x": [0.1 * k, None, float("inf"), "\ud800 \u00e9"], "y": {"z": True}} for k in range(4)]
    append_lines(tmp_path / "a", records)
    assert read_lines(tmp_path / "a") == records
    whole = (tmp_path / "a").read_bytes().splitlines()
    for at in range(0, len(whole[1]), 7):  # every bit counts, but for the white space between values
        for bit in (1, 64):
            byte = bytes([whole[1][at] ^ bit])
            line = whole[1][:at] + byte + whole[1][at + 1 :]
            (tmp_path / "b").write_bytes(b"\n".join([whole[0], line, *whole[2:]]) + b"\n")
            named = []
            assert read_lines(tmp_path / "b", named.append) == [records[0], *records[2:]] and named


def test_damaged_detections_are_named_and_made_again(place, no_figures, capsys):
    assert main(words(place, "val", "name=a")) == 0
    folder = place / "runs" / "a"
    whole, file = numbers(folder), folder / "detections.0.jsonl"
    lines = file.read_bytes().splitlines()
    for kind, damage in DAMAGE.items():
        file.write_bytes(b"\n".join([lines[0], damage(lines[1]), lines[2]]) + b"\n")
        (folder / "results.json").unlink()
        capsys.readouterr()
        assert main(words(place, "val", f"resume={folder}")) == 0, kind
        assert "line 2 is damaged" in capsys.readouterr().err and numbers(folder) == whole, kind
    file.write_bytes(b"")
    assert main(words(place, "val", f"resume={folder}")) == 0 and numbers(folder) == whole
    file.unlink()
    file.mkdir()
    assert "detections.0.jsonl" in fails(capsys, *words(place, "val", f"resume={folder}"))


def test_damaged_cells_and_traces_are_named_and_made_again(place, caplog):
    weights, calls = place / "net.safetensors", []

    def stop(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    whole = numbers(run_study(place, weights, name="whole"))
    with pytest.raises(KeyboardInterrupt):
        run_study(place, weights, name="a", progress=stop)
    folder = place / "runs" / "a"
    first, second, third = sorted((folder / "traces").rglob("*.npz"))
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-40])
    data = bytearray(third.read_bytes())
    data[len(data) // 2] ^= 4
    third.write_bytes(data)
    run_study(place, weights, resume=folder)
    assert numbers(folder) == whole and caplog.text.count("is damaged; its picture is simulated again") == 3
    file = folder / "cells.jsonl"
    file.write_bytes(b"garbage\n" + file.read_bytes().replace(b'"pictures": 3', b'"pictures": 4'))
    run_study(place, weights, resume=folder)
    assert numbers(folder) == whole and "line 2 is damaged" in caplog.text


def test_a_study_whose_networks_are_not_noted_is_damaged(place):
    weights = place / "net.safetensors"
    folder = run_study(place, weights, name="a")
    for graphs in (3, None, "x"):
        content = json.loads((folder / "study.json").read_text()) | {"graphs": graphs}
        (folder / "study.json").write_text(json.dumps(content))
        with pytest.raises(SourceError, match="study.json' is damaged"):
            run_study(place, weights, resume=folder)


@pytest.mark.parametrize("verb", ["val", "study"])
def test_settings_that_cannot_be_read_are_one_line(place, capsys, verb):
    folder = place / "runs" / "a"
    folder.mkdir(parents=True)
    file = folder / ("settings.json" if verb == "val" else "study.json")
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"version": 4, "graphs": 3}'):
        file.write_bytes(content)
        assert fails(capsys, *words(place, verb, f"resume={folder}")).startswith("casc-det: resume: ")
    file.unlink()
    file.mkdir()
    assert f"is no folder of casc-det {verb}" in fails(capsys, *words(place, verb, f"resume={folder}"))


# signals ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def signals_of_a_terminal():
    """Under nohup or in the background of a script some signals are ignored from the start."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_predict_with_what_is_done(place, monkeypatch, number):
    seen = []

    def frame(self, result, total):
        seen.append(result)
        if len(seen) == 2:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM if number == signal.SIGHUP else number)  # a second one at once

    monkeypatch.setattr(Progress, "frame", frame)
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    asked = [f"source={place / 'images'}", f"weights={place / 'net.safetensors'}", "imgsz=32"]
    code = main(["predict", *asked, "name=p", f"project={place / 'runs'}"])
    content = json.loads((place / "runs" / "p" / "predictions.json").read_text())
    assert code == 128 + number and content["interrupted"] and len(content["results"]) == 2
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before


@pytest.mark.parametrize(("verb", "method"), [("val", "images"), ("study", "cells")])
def test_a_signal_ends_val_and_study_which_go_on_later(place, no_figures, monkeypatch, capsys, verb, method):
    assert main(words(place, verb, "name=whole")) == 0
    whole = numbers(place / "runs" / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Progress, method, lambda self, done, *_: done == 2 and os.kill(os.getpid(), signal.SIGTERM))
        capsys.readouterr()
        assert main(words(place, verb, "name=a")) == 143
        last = capsys.readouterr().err.strip().splitlines()[-1]
        done = {"val": "2 of 3 images done", "study": "0 of 1 cells done, 2 of 3 images of the next one"}[verb]
        remedy = f"go on with the same arguments and resume={place / 'runs' / 'a'}"
        assert last == f"casc-det: interrupted (SIGTERM); {done}; {remedy}"
    assert main(words(place, verb, f"resume={place / 'runs' / 'a'}")) == 0
    assert numbers(place / "runs" / "a") == whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_inside_a_callback_is_not_lost(monkeypatch, number):
    """What is raised inside a callback of C code is ignored by Python, as inside the compiler of numba."""

    def work(words):
        ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), number))()
        for _ in range(1000):
            time.sleep(0.01)

    monkeypatch.setattr(cli, "dispatch", work)
    assert main([]) == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module, whole", [("numba.core.codegen", True), ("llvmlite", True), ("numbat", False)])
def test_compilation_is_not_interrupted(monkeypatch, number, module, whole):
    done = []
    space = {"__name__": module, "kill": lambda: os.kill(os.getpid(), number), "done": done}
    exec("def compile():\n    kill()\n    done.append(sum(range(100)))", space)

    def work(words):
        space["compile"]()
        for _ in range(1000):
            time.sleep(0.01)
        done.append("went on")

    monkeypatch.setattr(cli, "dispatch", work)
    assert main([]) == 128 + number
    assert done == ([4950] if whole else [])


def test_a_hangup_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        monkeypatch.setattr(cli, "dispatch", lambda words: os.kill(os.getpid(), signal.SIGHUP) or 0)
        assert main([]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# files ------------------------------------------------------------------------------------------------------------


def test_run_folders_are_made_at_once_and_never_twice(tmp_path):
    def work(number):
        with run_folder(tmp_path / "deep" / "runs", "predict") as folder:
            assert not list(folder.iterdir())
            write_bytes(folder / "x", str(number).encode())
            return folder

    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(work, range(64)))
    assert len(set(folders)) == 64 and {f.name for f in folders} == {"predict", *(f"predict-{i}" for i in range(2, 65))}
    assert sorted(int((f / "x").read_text()) for f in folders) == list(range(64))


HOLD = "import sys, pathlib; from casc_det.base.folders import locked\nwith locked(pathlib.Path(sys.argv[1])):\n"
HOLD += "  print(1, flush=True); sys.stdin.read()"


@contextmanager
def held(folder: Path):
    """The number of a process that has a run folder in use, and is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        yield other.pid
        other.kill()


@pytest.mark.parametrize("verb", ["val", "study", "predict"])
def test_a_run_folder_in_use_is_refused_until_its_process_ends(place, no_figures, capsys, verb):
    folder, start = place / "runs" / "a", words(place, verb)
    if verb == "predict":
        start = [verb, f"source={place / 'images'}", *start[3:5], f"project={place / 'runs'}"]
    assert main([*start, "name=a"]) == 0
    ways = [["name=a", "exist_ok=true"], *([[f"resume={folder}"]] if verb != "predict" else [])]
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with held(folder) as process:
        for way in ways:
            assert f"'{folder}' is in use by process {process}; wait" in fails(capsys, *start, *way)
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert all(main([*start, *way]) == 0 for way in ways)


def test_a_training_in_use_is_not_resumed_twice(place, monkeypatch, capsys):
    folder = place / "runs" / "train"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "last.pt").write_bytes(b"")
    monkeypatch.setattr("casc_det.training.preflight.read_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr("casc_det.training.run._train", lambda _: folder)
    with held(folder) as process:
        assert f"'{folder}' is in use by process {process}; wait" in fails(capsys, "train", f"resume={folder}")
    assert main(["train", f"resume={folder}"]) == 0


def test_a_study_takes_the_place_of_an_older_one(place, no_figures):
    assert main(words(place, "study", "name=a", "neurons=cif,if")) == 0
    folder = place / "runs" / "a"
    (folder / "map.png").write_bytes(b"old")
    (folder / "notes.txt").write_bytes(b"mine")
    assert main([*words(place, "study", "name=a", "exist_ok=true", "limit=2")]) == 0
    assert len((folder / "cells.jsonl").read_text().splitlines()) == 1 and not (folder / "map.png").exists()
    assert (folder / "notes.txt").read_bytes() == b"mine" and len(list((folder / "traces").iterdir())) == 1


def test_the_longest_names_can_be_written(tmp_path):
    assert write_bytes(tmp_path / ("x" * 255), b"1").read_bytes() == b"1"
    with pytest.raises(OutputError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 256), b"1")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_folder_without_anything_in_it_is_removed(tmp_path):
    with pytest.raises(KeyError), run_folder(tmp_path / "new" / "runs", "val") as folder:
        assert folder.is_dir()
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old" / "val").mkdir(parents=True)
    with run_folder(tmp_path / "old", "val", exist_ok=True) as folder:
        assert folder == tmp_path / "old" / "val"
    assert folder.is_dir()
    (tmp_path / "file").write_text("")
    for project, name in ((tmp_path / "file", "x"), (tmp_path, "file"), (tmp_path, "x" * 300)):
        with pytest.raises(OutputError, match="cannot be written"), run_folder(project, name, exist_ok=True):
            pass


@contextmanager
def size_limit(size: int):
    """Inside, no file can be larger than so many bytes, as on a full disk; pytest's own must not be written there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("verb", ["val", "study", "demo", "convert"])
def test_a_full_disk_is_named_and_leaves_nothing_half_written(place, spiking, capsys, verb):
    arguments = {"val": words(place, "val", "name=a"), "study": words(place, "study", "name=a")}
    weights = f"weights={place / 'net.safetensors'}"
    runs = [f"project={place / 'runs'}", "name=a"]
    arguments["demo"] = ["demo", f"source={place / 'images' / '0.png'}", weights, "imgsz=32", *runs]
    real = save_graph(convert_graph(small_graph("max", "add"))[0], place / "real.safetensors")
    arguments["convert"] = ["convert", f"weights={real}", f"out={place / 'runs' / 'out.safetensors'}"]
    for size in (0, 1500, 6000, 40_000):
        with size_limit(size):
            code = main(arguments[verb])
        error = capsys.readouterr().err
        if code:
            error = error.strip().splitlines()[-1]
            assert code == 1 and "cannot be written (File too large)" in error and str(place / "runs") in error
        written = [file for file in (place / "runs").rglob("*") if file.is_file()]
        assert size or (code == 1 and not any(file.stat().st_size for file in written))
        for file in written:
            assert not file.name.endswith(".tmp")
            if file.suffix == ".json":
                json.loads(file.read_text())
            if file.suffix == ".png":
                Image.open(file).load()
        shutil.rmtree(place / "runs", ignore_errors=True)


# training ---------------------------------------------------------------------------------------------------------


def test_results_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("epoch,x\n1,0.1\n2,0.2\n2,0.25\n3,0.3\n4,0.")
    trim_results(file, 2)
    assert file.read_text() == "epoch,x\n1,0.1\n2,0.2\n"
    trim_results(tmp_path / "none.csv", 2)


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = WholePath(tmp_path) / "weights" / "last.pt"
    file.write_bytes(b"old")
    with size_limit(1000), pytest.raises(OutputError, match="last.pt' cannot be written"):
        file.write_bytes(bytes(5000))
    assert file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1

    def full(file, s, updates):
        Path(s).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(whole, "strip_optimizer", full)
    assert strip_whole(file) == {} and file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1


def test_training_that_was_ended_goes_on_and_a_finished_one_says_so(place, monkeypatch, capsys):
    (place / "labels").mkdir()
    for k in range(3):
        (place / "labels" / f"{k}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (place / "d.yaml").write_text(f"path: {place}\ntrain: images\nval: images\nnames: [cat, dog]\n")
    common = [f"data={place / 'd.yaml'}", "model=yolov8n.yaml", "imgsz=32", "epochs=3", "batch=4", "plots=false"]
    inner = CascTrainer.save_metrics

    def save_metrics(self, metrics):
        inner(self, metrics)
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # behind the line of epoch 2, before its checkpoint

    with monkeypatch.context() as context:
        context.setattr(CascTrainer, "save_metrics", save_metrics)
        assert main(["train", *common, "levels=4", f"project={place / 'runs'}"]) == 143
    folder = place / "runs" / "train"
    assert f"go on with casc-det train resume={folder}" in capsys.readouterr().err
    assert [line.split(",")[0] for line in (folder / "results.csv").read_text().split()] == ["epoch", "1", "2"]
    resume = f"resume={folder}"
    assert main(["train", resume]) == 0
    assert [line.split(",")[0] for line in (folder / "results.csv").read_text().split()] == ["epoch", "1", "2", "3"]
    assert [path.name for path in (place / "runs").iterdir()] == ["train"]
    assert "is finished, there is nothing to go on with" in fails(capsys, "train", resume)
    (folder / "weights" / "last.pt").write_bytes(b"garbage")
    assert "last.pt" in fails(capsys, "train", resume)


def test_training_that_was_ended_before_its_first_epoch_says_so(place, monkeypatch, capsys):
    (place / "d.yaml").write_text(f"path: {place}\ntrain: images\nval: images\nnames: [cat, dog]\n")
    monkeypatch.setattr(CascTrainer, "preprocess_batch", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    common = [f"data={place / 'd.yaml'}", "model=yolov8n.yaml", "imgsz=32", "epochs=3", "plots=false"]
    assert main(["train", *common, "levels=4", f"project={place / 'runs'}"]) == 130
    assert "there is nothing to go on with" in capsys.readouterr().err
    folder = place / "runs" / "train"
    for resume in (folder, folder / "weights" / "last.pt"):
        assert "its training stopped before the first epoch ended" in fails(capsys, "train", f"resume={resume}")
    assert "is no run folder of casc-det train" in fails(capsys, "train", f"resume={place / 'images'}")
    assert "'gone' does not exist" in fails(capsys, "train", "resume=gone")


# figures ----------------------------------------------------------------------------------------------------------


def broken(*_):
    raise ValueError("no such\nglyph")


def test_numbers_outlive_figures_that_fail(place, monkeypatch, capsys):
    monkeypatch.setattr(report, "plot_confusion", broken)
    monkeypatch.setattr(report, "draw_boxes", broken)
    for name in ("curves", "pareto", "more_fewer", "layer_error", "neurons"):
        monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], draw=lambda _: None))  # quicker
    monkeypatch.setitem(FIGURES, "map", replace(FIGURES["map"], draw=broken))
    assert main(words(place, "val", "name=a")) == 0
    error, folder = capsys.readouterr().err, place / "runs" / "a"
    assert "confusion: could not be drawn (ValueError: no such glyph)" in error and "examples: could" in error
    assert numbers(folder) and (folder / "results.csv").exists() and (folder / "precision_recall.png").exists()
    assert not (folder / "confusion.png").exists()
    assert main(words(place, "study", "name=b")) == 0
    folder = place / "runs" / "b"
    assert not (folder / "map.png").exists() and (folder / "mapping.png").exists()
    assert "mAP against time steps" not in (folder / "report.html").read_text()
    monkeypatch.setattr("casc_det.studies.page.example", broken)
    assert main(words(place, "study", f"resume={folder}")) == 0  # the page fails as a whole
    assert not (folder / "report.html").exists() and json.loads((folder / "summary.json").read_text())["answers"]


NAMES = ("US$ a_^ $x", "$", "\\frac{$", "_hidden", "a\nb", "\ud800", "\u732b", "x" * 3000, "%s {}")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are(name):
    figure = plot_confusion(np.array([[3, 1], [0, 2]]), [name], name)
    ax = figure.axes[0]
    figure.canvas.draw()
    (text, _) = ax.get_xticklabels()
    assert not text._preprocess_math(text.get_text())[1]
    assert text._preprocess_math(text.get_text())[0].strip()[:20] in " ".join(name.split()).replace("\ud800", "")[:40]
    legend = figure.add_subplot()
    legend.plot([0, 1], [0, 1], label=plots.literal(name))
    assert len(legend.get_legend_handles_labels()[0]) == 1


def test_class_names_that_matplotlib_would_typeset(place, capsys):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = [NAMES[0], NAMES[6]]
    save_graph(graph, place / "net.safetensors")
    content = json.loads((place / "data.json").read_text())
    for category, name in zip(content["categories"], graph.names, strict=True):
        category["name"] = name
    (place / "data.json").rename(place / "US$ a_^ $x.json")
    (place / "US$ a_^ $x.json").write_text(json.dumps(content))
    shutil.copy(place / "net.safetensors", place / "_$^$.safetensors")
    for verb, figure in (("val", "confusion.png"), ("study", "map.png")):
        asked = [word for word in words(place, verb, f"name={verb}") if word.split("=")[0] not in ("data", "weights")]
        names = f"{place}/net.safetensors,{place}/_$^$.safetensors" if verb == "study" else f"{place}/_$^$.safetensors"
        assert main([*asked, f"data={place}/US$ a_^ $x.json", f"weights={names}"]) == 0
        assert "could not be" not in capsys.readouterr().err and (place / "runs" / verb / figure).exists()


# numbers that cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-5", "1.5", "true", "x", "1000000000", "nan"])
def test_draws_that_cannot_be_are_refused(place, capsys, value):
    asked = [word for word in words(place, "val") if not word.startswith("bootstrap")]
    assert fails(capsys, *asked, f"bootstrap={value}").startswith("casc-det: bootstrap: expected")
    assert not (place / "runs").exists()


@pytest.mark.parametrize(("verb", "file"), [("val", "results.json"), ("study", "summary.json")])
def test_many_absent_images_are_named_in_a_few_lines(place, no_figures, capsys, verb, file):
    content = json.loads((place / "data.json").read_text())
    absent = [{"id": 100 + k, "file_name": f"absent{k}.png", "width": 64, "height": 48} for k in range(25)]
    content["images"] = absent + content["images"]
    (place / "data.json").write_text(json.dumps(content))
    assert "25 files could not be used" in fails(capsys, *words(place, verb, "name=a", "limit=2"))
    assert main(words(place, verb, "name=b", "limit=2", "strict=false")) == 0  # the first two that are there
    error = capsys.readouterr().err
    more = f"... and 15 more like these, all in {place / 'runs' / 'b' / file}"
    assert error.count("absent; skipped") == 10 and more in error
    kept = json.loads((place / "runs" / "b" / file).read_text())["problems"]
    assert sum("absent; skipped" in problem for problem in kept) == 25


def test_intervals_without_detections_and_objects_take_little_memory():
    nothing = [Outcomes(np.zeros((10, 0), np.int8), np.zeros(0, np.int64), np.zeros(200_000, np.int64))]
    tracemalloc.start()
    gaps = bootstrap_gap({"ann": nothing, "snn": list(nothing)}, "ann", 60)
    assert np.isnan(gaps["snn"]).all() and tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()


def test_study_without_anything_to_find_says_so(place, no_figures, capsys):
    content = json.loads((place / "data.json").read_text())
    for annotation in content["annotations"]:
        annotation["bbox"] = [0, 0, 0.5, 0.5]
    (place / "data.json").write_text(json.dumps(content))
    assert main(words(place, "study", "name=a")) == 0
    out = capsys.readouterr().out
    assert (
        "the ANN itself detects next to nothing" in out
        and "mAP50-95 0, less than 0.01" in out
        and "is enough" not in out
        and "no mAP" in out
    )
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    (place / "data.json").write_text(json.dumps(content))
    assert "has no object of a class that the network knows" in fails(capsys, *words(place, "study", "name=b"))
    assert not (place / "runs" / "b").exists()


# text -------------------------------------------------------------------------------------------------------------


def test_text_reaches_every_terminal(place):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = ["\u732b", "\U0001f408"]
    save_graph(graph, place / "net.safetensors")
    picture = place / os.fsdecode(b"p\xff.png")
    shutil.copy(place / "images" / "0.png", picture)
    asked = ["predict", f"source={picture}", f"weights={place / 'net.safetensors'}", "imgsz=32", "conf=0", "save=false"]
    command = [sys.executable, "-m", "casc_det", *asked, f"project={place / 'runs'}", "json=true"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert os.fsencode(result["path"]).endswith(b"p\xff.png") and result["boxes"][0]["name"] in graph.names
