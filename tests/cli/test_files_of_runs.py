"""What verbs write: a folder in use, a full disk, any terminal."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import small_graph
from PIL import Image
from runs import fails, held, size_limit, words

from casc_det.cli.run import main
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.file import load_graph, save_graph


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


def test_text_reaches_every_terminal(place):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = ["\u732b", "\U0001f408"]
    save_graph(graph, place / "net.safetensors")
    image = place / os.fsdecode(b"p\xff.png")
    shutil.copy(place / "images" / "0.png", image)
    asked = ["predict", f"source={image}", f"weights={place / 'net.safetensors'}", "imgsz=32", "conf=0", "save=false"]
    command = [sys.executable, "-m", "casc_det", *asked, f"project={place / 'runs'}", "json=true"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert os.fsencode(result["path"]).endswith(b"p\xff.png") and result["boxes"][0]["name"] in graph.names
