"""Traces: read as they were written or not at all; after rest nothing is sent, and all else stays."""

import numpy as np
import pytest

from casc_det.studies.traces import Trace


def trace(rest=3):
    """Three steps of two layers, with one detection more at each."""
    rng, tables = np.random.default_rng(0), [np.full((n, 6), float(n)) for n in (1, 2, 3)]
    layers = {name: rng.random((3, 2)) for name in ("sent", "taken_back", "messages", "more", "fewer", "count_gap")}
    steps = {name: rng.random(3) for name in ("sops", "mse", "relative_error")}
    found = {"detections": np.concatenate(tables), "offsets": np.cumsum([0, 1, 2, 3]), "ann": tables[2]}
    return Trace(
        **layers,
        **steps,
        **found,
        ann_counts=np.ones(2),
        rest=np.array(rest),
        peaks=np.ones(2),
        seconds=rng.random((3, 4)),
    )


def test_steps_after_rest_send_nothing_and_keep_the_answer():
    t = trace()
    assert np.array_equal(t.values("sent", [3, 4]), [t.sent[2], [0, 0]])
    assert np.array_equal(t.values("more", [2, 3, 9]), t.more[[1, 2, 2]])
    assert [len(t.at(step)) for step in (1, 3, 8)] == [1, 3, 3] and t.at(2).labels.tolist() == [2, 2]
    assert [t.at_rest(step) for step in (2, 3, 9)] == [False, True, True] and not trace(rest=0).at_rest(9)


def test_files_are_read_as_they_were_written_or_not_at_all(tmp_path):
    t, file = trace(), tmp_path / "new/a.npz"
    t.save(file)
    again = Trace.load(file)
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(t).items())
    data = bytearray(file.read_bytes())
    for damaged in (data[:-1], data[:40], b"", data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            Trace.load(file)
