"""The grid of a study, and what its cells are called: names and keys stay, so that old folders go on."""

import hashlib
import json
from dataclasses import replace

import pytest

from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS
from casc_det.simulation import PAPER
from casc_det.studies.settings import StudySettings
from casc_det.studies.variants import Variant, make_grid


def grid_of(weights, **fields):
    return make_grid(weights, StudySettings(**fields))


def test_grid_has_corrections_and_corruptions_for_cif_with_wsc_only():
    grid = grid_of(
        "a,b",
        neurons="cif,if",
        schedule="wsc,constant",
        hysteresis="0,0.25",
        delay=0.5,
        corruptions="noise",
        severities="1,3",
    )
    assert len(grid) == len({(variant.weights, variant.key("")) for variant in grid}) == 2 * (4 + 2 + 2)
    corrected = [v for v in grid if v.simulation.hysteresis or v.simulation.delay or v.severity]
    assert len(corrected) == 2 * 4 and all(v.rests and not v.plain for v in corrected)
    assert grid[0] == Variant("a") and grid[0].plain and grid[0].method == "CIF + WSC"
    grid = grid_of("x/a.safetensors", hysteresis=0.25, corruptions="fog", severities=1, levels="4,8")
    assert [variant.levels for variant in grid] == [4] * 3 + [8] * 3 and grid[3].network == "a at Q = 8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": ""}, "weights: expected at least one"),
        ({"neurons": "cif,lif"}, f"neurons: expected some of {', '.join(NEURONS)}, got 'lif'"),
        ({"schedule": []}, "schedule: expected at least one"),
        ({"hysteresis": "-1"}, "hysteresis: expected a number from 0"),
        ({"hysteresis": "0,1e9"}, "hysteresis: expected a number from 0"),
        ({"delay": "nan"}, "delay: expected a number from 0"),
        ({"delay": "much"}, "delay: expected numbers"),
        ({"corruptions": "rain"}, "corruptions: expected some of none, noise"),
        ({"severities": "4"}, "severities: expected some of 1, 2, 3"),
        ({"levels": "4,65"}, "levels: expected an integer from 1 to 64"),
    ],
)
def test_grids_that_cannot_work_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        grid_of(**{"weights": "a", **options})


@pytest.mark.parametrize(
    ("variant", "key"),
    [
        (Variant("a"), "ca0dd3a33a5a"),
        (Variant("b", replace(PAPER, neuron="signed_if", schedule="constant"), levels=4), "ad3a9dfb136c"),
        (Variant("c/d.safetensors", replace(PAPER, hysteresis=1, delay=0.25)), "84897468ff5e"),
        (Variant("a", corruption="fog", severity=3), "f8fa3313e8da"),
    ],
)
def test_keys_and_values_are_those_of_the_first_studies(variant, key):
    """As in the folders that were made before a variant held its settings as an object."""
    names = ["weights", "neuron", "schedule", "hysteresis", "delay", "corruption", "severity", "levels"]
    values = variant.values()
    assert list(values) == names and Variant.of(values) == variant and variant.key("x") == key
    assert type(values["hysteresis"]) is type(values["delay"]) is float
    text = json.dumps({**values, "weights": "x"}, sort_keys=True)
    assert variant.key("x") == hashlib.sha256(text.encode()).hexdigest()[:12]
