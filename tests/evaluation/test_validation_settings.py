"""Settings of a validation: what cannot be is refused."""

import pytest
from conftest import small_graph
from runs import fails, words

from casc_det.cli.verbs import VERBS
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError
from casc_det.evaluation.settings import check_rows


def test_rows_may_be_ranges():
    graph = convert_graph(small_graph("add"))[0]
    assert check_rows("5..8, auto,6", graph) == (5, 6, 7, 8, "auto") == check_rows([5, 6, 7, 8, "auto"], graph)
    with pytest.raises(ArgumentError, match=r"timesteps: expected integers, .*got '3,8..5'; write 5..8$"):
        check_rows("3,8..5", graph)
    assert VERBS["val"].options["timesteps"].kind.value("timesteps", "2..4,auto") == [2, 3, 4, "auto"]


@pytest.mark.parametrize("value", ["-5", "1.5", "true", "x", "1000000000", "nan"])
def test_draws_that_cannot_be_are_refused(place, capsys, value):
    asked = [word for word in words(place, "val") if not word.startswith("bootstrap")]
    assert fails(capsys, *asked, f"bootstrap={value}").startswith("casc-det: bootstrap: expected")
    assert not (place / "runs").exists()
