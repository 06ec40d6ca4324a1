"""How many threads are taken: what is asked for, or the cores that others leave."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from casc_det import SpikingYOLO
from casc_det.base import threads
from casc_det.cli.run import main
from casc_det.errors import ArgumentError


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of four cores, of which this process may use three; times are set by the tests."""
    now = {"clock": 0.0, "own": 0.0, "idle": [0.0] * 4, "load": 0.0}

    def look(idle, own=0.0, clock=10.0):
        now["clock"] += clock
        now["own"] += own
        now["idle"] = [a + b for a, b in zip(now["idle"], idle, strict=True)]
        write()

    def write():
        lines = ["cpu 0 0 0 0 0 0 0 0"]
        lines += [f"cpu{i} 7 7 7 {round(100 * x) - 3} 3 0 0 0 0 0" for i, x in enumerate(now["idle"])]
        (tmp_path / "stat").write_text("\n".join([*lines, "intr 0", ""]))

    write()
    monkeypatch.setattr(threads, "STAT", tmp_path / "stat")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(threads, "core_numbers", lambda: {0, 1, 3})
    monkeypatch.setattr(threads.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (now["load"], 9.0, 9.0))
    monkeypatch.setattr(threads.time, "monotonic", lambda: now["clock"])
    monkeypatch.setattr(threads.time, "process_time", lambda: now["own"])
    return now, look, tmp_path


@pytest.mark.parametrize(
    ("idle", "own", "free"),
    [
        ([10, 10, 0, 10], 0, 3),  # nothing but the core that is not ours is busy
        ([0, 10, 0, 10], 0, 2),
        ([0, 0, 0, 0], 0, 1),
        ([0, 0, 0, 0], 30, 3),  # all of that is this process
        ([0, 0, 0, 0], 10, 1),
        ([2, 2, 0, 2], 10, 2),  # others use 1.4 cores
        ([9, 9, 0, 9], 0, 3),  # little
    ],
)
def test_free_cores_are_those_that_others_leave(machine, idle, own, free):
    _, look, _ = machine
    use = threads.Use()
    look(idle, own)
    assert use.free() == free
    look([0, 0, 0, 0], 0, clock=0.1)  # too soon to tell
    assert use.free() == free
    look([10, 10, 10, 10], 0)
    assert use.free() == 3


@pytest.mark.parametrize(("load", "free"), [(0.0, 3), (0.9, 2), (2.2, 1), (50.0, 1)])
def test_at_first_the_load_average_counts(machine, load, free):
    now, _, _ = machine
    now["load"] = load
    assert threads.Use().free() == free


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)
def test_quota_of_a_container_counts(machine, files, free):
    _, look, folder = machine
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    use = threads.Use()
    look([10, 10, 10, 10])
    assert use.free() == free


def test_without_proc_all_cores_are_free(machine):
    *_, folder = machine
    (folder / "stat").unlink()
    assert threads.Use().free() == 3


def test_threads_are_set_inside_only(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads.USE, "free", lambda: 5)
    try:
        torch.set_num_threads(3)
        seen = lambda: torch.get_num_threads()
        with threads.computing(2):
            assert seen() == 2
        with threads.computing("auto"):
            assert seen() == 3  # never more than torch has
        monkeypatch.setattr(threads.USE, "free", lambda: 1)
        steps = threads.stepwise("auto", (seen() for _ in range(2)))
        assert [(step, seen()) for step in steps] == [(1, 3), (1, 3)]
        with pytest.raises(ZeroDivisionError), threads.computing(1):
            1 / 0  # noqa: B018
        assert seen() == 3
    finally:
        torch.set_num_threads(before)


def test_python_threads_at_once_leave_torchs_number(monkeypatch):
    """A new Python thread takes over what was set last, here by one that computes with one thread."""
    before, free = torch.get_num_threads(), iter([1, 3])
    monkeypatch.setattr(threads.USE, "free", lambda: next(free))

    def other() -> list[int]:
        seen = [torch.get_num_threads()]
        with threads.computing("auto"):
            seen.append(torch.get_num_threads())
        return [*seen, torch.get_num_threads()]

    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(1) as pool, threads.computing("auto"):
            assert torch.get_num_threads() == 1
            assert pool.submit(other).result() == [1, 2, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None, 5000])
def test_threads_that_cannot_work_are_refused(value):
    with pytest.raises(ArgumentError, match="threads: expected an integer from 1 to 1024 or 'auto'"):
        SpikingYOLO(threads=value)


@pytest.mark.parametrize("verb", ["predict", "demo", "val", "study"])
def test_threads_of_the_command_line(verb, capsys):
    words = {"predict": ["source=x"], "val": ["data=x"], "study": ["data=x"]}.get(verb, [])
    assert main([verb, *words, "threads=0"]) == 1
    assert "threads: expected" in capsys.readouterr().err
    assert main([verb, *words, "threads=some"]) in (1, 2)
    assert "threads: expected an integer or auto" in capsys.readouterr().err
