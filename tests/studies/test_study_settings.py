"""Settings of a study: read from texts and lists, checked once, and named where they cannot work."""

import pytest

from casc_det import study
from casc_det.errors import ArgumentError
from casc_det.heads.policies import Policy
from casc_det.studies.settings import StudySettings, read_timesteps


def test_timesteps_are_ranges_or_lists():
    assert read_timesteps("1..4") == (1, 2, 3, 4) and read_timesteps(7) == (7,)
    assert read_timesteps("8, 16") == read_timesteps((8, 16)) == read_timesteps([8, 16]) == (8, 16)


@pytest.mark.parametrize(
    "value", ["", "4..1", "1..", "0..3", "3,2", "2,2", "1,-2", "a", 0, "1..5000", "1..2..3", (2, 2)]
)
def test_timesteps_out_of_order_or_bounds_are_refused(value):
    with pytest.raises(ArgumentError, match="timesteps: "):
        read_timesteps(value)


@pytest.mark.parametrize(("value", "words"), [("24..1", "write 1..24"), ("auto", "1..64"), ("8,auto", "1..64")])
def test_timesteps_that_are_refused_say_what_to_write(value, words):
    with pytest.raises(ArgumentError, match=words):
        read_timesteps(value)


def test_texts_of_the_shell_and_lists_of_python_are_the_same_settings():
    texts = StudySettings("8, 16", "cif,if", hysteresis="0,0.5", severities="1,3", policies="confident(0.5),quiescent")
    policies = (Policy("confident", 0.5), Policy())
    lists = StudySettings([8, 16], ["cif", "if"], hysteresis=(0, 0.5), severities=[1, 3], policies=policies)
    assert StudySettings(burst="1,8", ramp="no,yes") == StudySettings(burst=[1, 8], ramp=(False, True))
    assert StudySettings(burst=8).burst == (8,) and StudySettings(ramp=True).ramp == (True,)
    assert texts == lists and texts.timesteps == (8, 16) and texts.levels == (0,)
    assert StudySettings() == StudySettings("1..64", "cif", "wsc", None, None, "none", "1,2,3", 0, device="cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"timestep": "1..4"},
            r"timestep: study has no such argument \(did you mean 'timesteps'\?\); it has timesteps,",
        ),
        ({"settings": "1..4"}, "settings: expected StudySettings, got str; give its fields by name"),
        ({"limit": 0}, "limit: expected an integer above 0, got 0"),
        ({"threads": "all"}, "threads: expected an integer"),
        ({"device": "tpu"}, "device: expected cpu, cuda"),
        ({"exist_ok": "no"}, "exist_ok: expected True or False, got 'no'"),
        ({"report": 1}, "report: expected True or False, got 1"),
        ({"name": ""}, "name: expected a text"),
        ({"energy": 4.6}, "energy: expected an EnergyModel, got float"),
        ({"policies": "quiescent,never"}, "policies: expected quiescent, boxes-stable"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_data_are_read(fields, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        study(data="gone.json", **fields)
