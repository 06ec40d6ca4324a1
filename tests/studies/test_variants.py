"""The grid of a study, and what its cells are called: names and keys stay, so that old folders go on."""

import hashlib
import json
from dataclasses import replace

import pytest

from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS
from casc_det.simulation import PAPER, PLAIN
from casc_det.studies.settings import StudySettings
from casc_det.studies.variants import Variant, make_grid


def grid_of(weights, **fields):
    return make_grid(weights, StudySettings(**fields))


def test_grid_has_corrections_and_corruptions_for_cif_with_wsc_only():
    grid = grid_of(
        "a,b",
        neurons="cif,if",
        schedule="wsc,constant",
        hysteresis="0.25",
        delay=0.5,
        corruptions="noise",
        severities="1,3",
    )
    assert len(grid) == len({(variant.weights, variant.key("")) for variant in grid}) == 2 * (4 + 2 + 2)
    corrected = [v for v in grid if v.simulation.hysteresis or v.simulation.delay or v.severity]
    assert len(corrected) == 2 * 4 and all(v.rests for v in corrected)
    assert grid[0] == Variant("a", PLAIN) and grid[0].method == "CIF + WSC"
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
        ({"burst": 0}, "burst: expected an integer from 1 to the levels Q, got 0"),
        ({"burst": [1, 1.5]}, "burst: expected an integer from 1 to the levels Q, got 1.5"),
        ({"burst": "1,two"}, "burst: expected numbers"),
        ({"ramp": "true,maybe"}, "ramp: expected true or false, got 'maybe'"),
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
    old = {name: values[name] for name in names}
    assert list(values) == [*names, "burst", "ramp"] and Variant.of(values) == Variant.of(old) == variant
    assert type(values["hysteresis"]) is type(values["delay"]) is float and variant.key("x") == key
    text = json.dumps({**old, "weights": "x"}, sort_keys=True)
    assert variant.key("x") == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_bursts_and_the_ramp_rule_are_axes_and_part_of_the_key():
    grid = grid_of("a", burst="1,2,8", ramp="false,true", neurons="cif,if", delay=0.5, levels=8)
    resting = [variant for variant in grid if variant.rests]
    assert len(grid) == 6 * 2 + 6 and len(resting) == 6 * 2
    methods = [variant.method for variant in resting]
    assert methods[:4] == ["CIF + WSC", "CIF + WSC, delay 0.5", "CIF + WSC, ramp", "CIF + WSC, ramp, delay 0.5"]
    assert methods[-1] == "CIF + WSC, burst 8, ramp, delay 0.5" and len(set(methods)) == 12
    assert len({variant.key("x") for variant in grid}) == len(grid)
    assert all(Variant.of(variant.values()).values() == variant.values() for variant in grid)
