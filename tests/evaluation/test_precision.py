"""Interpolated precision against its definition, and the mean over recalls in both forms."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from casc_det.evaluation.precision import RECALLS, at_recalls, interpolated, mean_at_recalls

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=30)


@given(OUTCOMES)
def test_interpolated_precision_is_the_largest_from_there_on(outcomes):
    hits, shown = np.cumsum(outcomes), np.arange(1, len(outcomes) + 1)
    expected = [max(h / n for h, n in zip(hits[k:], shown[k:], strict=True)) for k in range(len(hits))]
    assert interpolated(hits, shown).tolist() == expected
    draws = np.stack([hits, 3 * hits])  # every image three times: the same precision
    assert interpolated(draws, np.stack([shown, 3 * shown])).tolist() == [expected] * 2


@given(OUTCOMES, st.integers(0, 5))
def test_mean_over_recalls_is_that_of_the_curve_at_each_recall(outcomes, missed):
    hits, shown = np.cumsum(outcomes), np.arange(1, len(outcomes) + 1)
    recall, precision = hits / max(hits[-1] + missed, 1), interpolated(hits, shown)
    at = at_recalls(precision, recall)
    for r, value in zip(RECALLS, at, strict=True):
        assert value == max(precision[recall >= r], default=0.0)
    begins = np.flatnonzero(outcomes)  # other places are no steps of the curve
    mean = mean_at_recalls(precision[None, begins], recall[None, begins])
    assert np.allclose(mean, at.mean() if len(begins) else 0.0, atol=1e-15)
