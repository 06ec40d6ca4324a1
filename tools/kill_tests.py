"""Kill val, study, predict and train at random moments: nothing half-written, and the same numbers after resume.

python tools/kill_tests.py [verbs=val,study,predict,train] [kills=100] [seed=0] [out=kill_tests.json] [folder=<scratch>]

Each trial is a fork of this process, in which everything is imported already, running the command line's own `main`. It
gets SIGKILL, SIGTERM, SIGINT or SIGHUP at a moment drawn from the time that an undisturbed run takes; then every file
is read, and the run is gone on with (and, now and then, killed again). Exit code 1 if anything is wrong. Of the figures
of study only two are drawn, which saves most of its time.
"""

import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from make_tiny import make_tiny
from PIL import Image
from ultralytics.nn.tasks import yaml_model_load

from casc_det import SpikingYOLO
from casc_det import graph as g
from casc_det.base.files import write_json
from casc_det.base.lines import read_lines
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.cli.run import main
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.file import save_graph
from casc_det.studies.figures import FIGURES
from casc_det.studies.traces import Trace

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN = 0.25  # how often a run that is gone on with is killed, too
EPOCHS = 3


def small_network(seed: int = 0) -> g.SpikingGraph:
    """An integer graph of three layers with random weights."""
    random_values = torch.Generator().manual_seed(seed)
    values = lambda *shape: torch.randn(shape, generator=random_values, dtype=torch.float64) / 2
    nodes = [g.Input("image", ())]
    for k, source in enumerate(("image", "act0", "act1")):
        weight = values(6, 3 if k == 0 else 6, 3, 3)
        nodes.append(g.Conv(f"conv{k}", (source,), weight=weight, bias=values(6), stride=(2, 2), padding=(1, 1)))
        nodes.append(g.Activation(f"act{k}", (f"conv{k}",), lam=2.0, levels=4))
    for name, kind, count in (("boxes0", "boxes", 4), ("scores0", "scores", 3)):
        nodes.append(
            g.Conv(
                f"head_{kind}",
                ("act2",),
                weight=values(count, 6, 1, 1) / 4,
                bias=values(count) + (2 if kind == "boxes" else 0),
            )
        )
        nodes.append(g.Readout(name, (f"head_{kind}",), kind, 0))
    graph = g.Graph(nodes, ["disc", "square", "triangle"], [8], 1, 64, {"seed": seed})
    return to_integer(convert_graph(graph)[0])


def make_place(folder: Path) -> Path:
    """Weights, a data set in YOLO layout, and a source of images and a video, below `folder`."""
    make_tiny(folder / "tiny", train=4, val=8, size=64)
    save_graph(small_network(), folder / "net.safetensors")
    wait(start(lambda: label_by_network(folder), folder / "log"))
    architecture = yaml_model_load("yolov8n.yaml") | {"scales": {"n": [0.33, 0.0625, 1024]}}
    (folder / "yolov8n.yaml").write_text(json.dumps({k: v for k, v in architecture.items() if "file" not in k}))
    text = f"path: {folder / 'tiny'}\ntrain: images/train\nval: images/val\nnames: [disc, square, triangle]\n"
    (folder / "tiny.yaml").write_text(text)
    shutil.copytree(folder / "tiny" / "images" / "val", folder / "source")
    video = cv2.VideoWriter(str(folder / "source" / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 64))
    for file in sorted((folder / "source").glob("*.png")):
        video.write(cv2.imread(str(file)))
    video.release()
    return folder


def label_by_network(folder: Path) -> int:
    """Take the network's own best boxes as objects, so that there is an mAP that can differ."""
    model = SpikingYOLO(folder / "net.safetensors")
    for file in (folder / "tiny" / "images" / "val").glob("*.png"):
        found = model.ann(str(file), conf=0.001).boxes
        rows = zip(found.cls.tolist(), found.xywhn.clamp(0, 1).tolist(), strict=True)
        lines = [f"{int(label)} {' '.join(map(str, box))}" for label, box in rows if min(box[2:]) > 0.05][:5]
        (folder / "tiny" / "labels" / "val" / f"{file.stem}.txt").write_text("\n".join(lines) + "\n")
    return 0


def words(place: Path, verb: str, runs: Path, resume: Path | None) -> list[str]:
    """The command line of a verb; a run that cannot be resumed yet begins anew."""
    own = {"val": ["timesteps=4,auto", "bootstrap=20"], "study": ["timesteps=2,4,8,16", "neurons=cif,if"]}
    network = [f"weights={place / 'net.safetensors'}", "imgsz=64"]
    begin = [f"project={runs}", "name=run"]
    if verb == "predict":
        return [verb, f"source={place / 'source'}", *network, *begin]
    if verb in own:
        more = [f"resume={resume}"] if resume else begin
        return [verb, f"data={place / 'tiny.yaml'}", *network, *own[verb], *(more)]
    if resume:
        return [verb, f"resume={resume}"]
    data = [f"data={place / 'tiny.yaml'}", f"model={place / 'yolov8n.yaml'}", "levels=4", "imgsz=32", "batch=4"]
    return [verb, *data, f"epochs={EPOCHS}", "plots=false", *begin]


def start(work: Callable[[], int], log: Path) -> int:
    """Fork and do some work there, its output in a file; the process id."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(go)
        os.read(ready, 1)
        os.close(ready)
        return pid
    code = 99
    for number in (signal.SIGTERM, signal.SIGHUP):  # nohup and a shell's background ignore some
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.write(go, b"x")
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        os.write(2, f"Traceback out of main: {traceback.format_exc()}".encode())
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# what may be left ---------------------------------------------------------------------------------------------------


def damaged_files(folder: Path, killed: bool) -> list[str]:
    """What is half-written below a run folder; a killed process may leave temporary files, and a line cut short."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            if file.suffix == ".tmp" or ".tmp." in file.name:
                if not killed:
                    raise ValueError("a temporary file")
            elif file.suffix == ".json":
                json.loads(file.read_text())
            elif file.suffix == ".jsonl":
                lines = file.read_bytes().split(b"\n")
                [json.loads(line) for line in lines[:-1]]
                if lines[-1] and not killed:
                    json.loads(lines[-1])
            elif file.suffix in (".png", ".jpg"):
                Image.open(file).load()
            elif file.suffix == ".npz":
                Trace.load(file)
            elif file.suffix == ".pt":
                if zipfile.ZipFile(file).testzip():
                    raise ValueError("a damaged checkpoint")
            elif file.suffix == ".mp4":
                if not cv2.VideoCapture(str(file)).read()[0]:
                    raise ValueError("a video without frames")
            elif file.suffix in (".csv", ".html", ".yaml") and not file.read_text().endswith(("\n", "</html>")):
                raise ValueError("no end")
        except Exception as error:
            found.append(f"{file.relative_to(folder)}: {type(error).__name__}: {error}")
    return found


def numbers(verb: str, folder: Path):
    """What a finished run says, without clock and paths; None where it is not finished."""
    drop = lambda values, *keys: {key: value for key, value in values.items() if key not in keys}
    if verb == "val":
        file = folder / "results.json"
        return [drop(row, "seconds") for row in json.loads(file.read_text())["rows"]] if file.is_file() else None
    if verb == "study":
        if not (folder / "report.html").is_file():
            return None
        cells = [drop(cell, "made") for cell in read_lines(folder / "cells.jsonl")]
        for cell in cells:
            cell["result"] = drop(cell["result"], "seconds")
            cell["result"]["curves"] = drop(cell["result"]["curves"], "seconds")
        return sorted(cells, key=lambda cell: cell["key"])
    if verb == "predict":
        file = folder / "predictions.json"
        content = json.loads(file.read_text()) if file.is_file() else {"interrupted": True}
        return None if content["interrupted"] else content["results"]
    if not (folder / "results.csv").is_file() or not (folder / "weights" / "last.pt").is_file():
        return None
    with (folder / "results.csv").open() as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    last = torch.load(folder / "weights" / "last.pt", weights_only=False)["epoch"]
    return epochs if last in (EPOCHS - 1, -1) else None  # all epochs are in it, the optimizer perhaps, too


def interrupted_predict(folder: Path) -> list[str]:
    """After a signal that can be caught there is a JSON of what was done, and every file that it names."""
    if not folder.is_dir() or not any(folder.iterdir()):  # it came before the first image
        return []
    file = folder / "predictions.json"
    if not file.is_file():
        return ["predict: no predictions.json"]
    results = json.loads(file.read_text())["results"]
    named = {r["saved"] for r in results if r["saved"]}
    missing = sorted(name for name in named if not (folder / name).is_file())
    unsaved = [r["path"] for r in results[:-1] if not r["saved"]]  # the last one may have been cut off
    problems = [f"predict: {missing} in predictions.json, but not in the folder"] if missing else []
    return problems + ([f"predict: {unsaved} have no file"] if unsaved else [])


def resume_from(verb: str, folder: Path) -> Path | None:
    """What `resume=` needs, if the run came so far."""
    file = folder / {"val": "settings.json", "study": "study.json", "train": "weights/last.pt"}.get(verb, "none")
    return None if not file.is_file() else file if verb == "train" else folder


# trials -------------------------------------------------------------------------------------------------------------


class Trials:
    """The trials of one verb: how often it was killed by what, and what went wrong."""

    def __init__(self, verb: str, place: Path, scratch: Path, seed: int):
        self.verb, self.place, self.scratch = verb, place, scratch
        self.random = random.Random(f"{seed} {verb}")
        self.kills, self.failures, self.too_late, self.resumed, self.too_early = Counter(), [], 0, 0, 0
        code = wait(self.start(scratch / "whole", None, scratch / "log"))
        begin = time.perf_counter()
        code = code or wait(self.start(scratch / "whole2", None, scratch / "log"))  # all is warm now
        self.seconds = time.perf_counter() - begin
        self.whole = numbers(verb, scratch / "whole" / "run")
        if code or self.whole is None or self.whole != numbers(verb, scratch / "whole2" / "run"):
            raise SystemExit(f"{verb}: two undisturbed runs must end and agree; code {code}, see {scratch / 'log'}")

    def start(self, runs: Path, resume: Path | None, log: Path) -> int:
        return start(lambda: main(words(self.place, self.verb, runs, resume)), log)

    def run(self) -> None:
        """One run from its beginning until it is finished, killed at least once on the way."""
        runs = self.scratch / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        log, folder, history = self.scratch / "trial.log", runs / "run", []
        log.unlink(missing_ok=True)
        kill, resume, problems = True, None, []
        while True:
            pid = self.start(runs, resume, log)
            self.resumed += resume is not None
            number = self.random.choice(SIGNALS) if kill else None
            if kill:
                number = self.kill(pid, number, self.random.uniform(0, self.seconds), history)
            code = wait(pid)
            problems += self.problems(number, code, folder, log)
            if numbers(self.verb, folder) is not None or (self.verb == "predict" and number) or problems:
                break
            resume, kill = resume_from(self.verb, folder), self.random.random() < AGAIN
            if resume is None:
                shutil.rmtree(folder, ignore_errors=True)
        if self.verb != "predict" and not problems and numbers(self.verb, folder) != self.whole:
            problems.append("other numbers than those of an undisturbed run")
        if problems:
            kept = self.scratch / f"failure-{len(self.failures)}"
            shutil.copytree(self.scratch / "runs", kept, dirs_exist_ok=True) if runs.exists() else None
            last = log.read_text(errors="replace")[-2000:]
            self.failures.append({"history": history, "problems": problems, "log": last, "folder": str(kept)})

    def kill(self, pid: int, number: signal.Signals, after: float, history: list[str]) -> signal.Signals | None:
        """Send a signal after so many seconds; None where the process ended before, which tells how long it takes."""
        begin = time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < after:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.too_early += 1
                self.seconds = elapsed
                return None
            time.sleep(0.001)
        history.append(f"{number.name} after {after:.3f} s")
        os.kill(pid, number)
        self.kills[number.name] += 1
        return number

    def problems(self, number, code: int, folder: Path, log: Path) -> list[str]:
        """What is wrong after a process has ended, killed by `number` or by itself (None)."""
        late = number is not None and (code == 0 or (code == -number and numbers(self.verb, folder) is not None))
        self.too_late += late
        expected = 0 if number is None or late else -number if number == signal.SIGKILL else 128 + number
        found = [] if late or code == expected else [f"exit code {code}, not {expected}"]
        if "Traceback" in log.read_text(errors="replace"):
            found.append("a traceback")
        found += damaged_files(folder, number == signal.SIGKILL) if folder.is_dir() else []
        if self.verb == "predict" and number not in (None, signal.SIGKILL):
            found += interrupted_predict(folder)
        return found

    def report(self) -> dict:
        counts = {"killed": sum(self.kills.values()), "signals": dict(sorted(self.kills.items()))}
        counts |= {
            "killed_while_ending": self.too_late,
            "ended_before": self.too_early,
            "resumed": self.resumed,
            "failed": len(self.failures),
        }
        return counts | {"seconds_undisturbed": round(self.seconds, 3), "failures": self.failures}


def run(verbs: str = "val,study,predict,train", kills: int = 100, seed: int = 0, out="kill_tests.json", folder=None):
    """All trials; the content of the JSON that is written."""
    for name in ("curves", "pareto", "more_fewer", "layer_error", "neurons"):
        FIGURES[name] = replace(FIGURES[name], draw=lambda _: None)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    scratch = Path(folder or tempfile.mkdtemp(prefix="kills-")).absolute()
    place = make_place(scratch / "place")
    content = {"seed": seed, "verbs": {}, "made": provenance("kill_tests 1")}
    for verb in verbs.split(",") if isinstance(verbs, str) else verbs:
        (scratch / verb).mkdir(parents=True)
        trials = Trials(verb, place, scratch / verb, seed)
        while sum(trials.kills.values()) < kills:
            trials.run()
            content["verbs"][verb] = trials.report()
            write_json(out, content)
        print(verb, json.dumps({k: v for k, v in content["verbs"][verb].items() if k != "failures"}), flush=True)
        for failure in trials.failures:
            print("  ", failure["history"], failure["problems"], flush=True)
    return content


if __name__ == "__main__":
    np.random.seed(0)
    result = run(**script_options(sys.argv[1:], __doc__))
    sys.exit(any(verb["failed"] for verb in result["verbs"].values()))
