"""SIGTERM, SIGHUP and Ctrl-C end a verb with what is done until then."""

import ctypes
import json
import os
import signal
import threading

import pytest
from runs import numbers, words

from casc_det.cli import run as cli
from casc_det.cli.run import main
from casc_det.yolo.progress import Progress

pytestmark = pytest.mark.usefixtures("signals_of_a_terminal")


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
        threading.Event().wait(10)  # the signal ends it

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
        threading.Event().wait(10)  # the signal ends it
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
