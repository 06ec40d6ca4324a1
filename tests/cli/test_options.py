"""The option tables: every default is the one of what it is handed to, and no torch is needed to show them."""

import dataclasses
import inspect
import subprocess
import sys

import pytest

from casc_det import SpikingYOLO, convert
from casc_det.cli.help import default_words, option_table, overview, verb_help
from casc_det.cli.options import ENERGY, MODEL, REQUIRED, Option, taken
from casc_det.cli.parsing import option_of
from casc_det.cli.verbs import VERBS
from casc_det.evaluation.energy import EnergyModel
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.neurons import NEURONS
from casc_det.neurons.schedule import SCHEDULES
from casc_det.prediction.outputs import Saving
from casc_det.simulation.settings import ENGINES, SimulationSettings
from casc_det.studies.settings import StudySettings


def defaults(function) -> dict:
    """Name -> default of all arguments that have one."""
    parameters = inspect.signature(function).parameters.values()
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        *((verb, SpikingYOLO) for verb in ("predict", "demo", "val")),
        *((verb, DetectionSettings) for verb in ("predict", "demo")),
        *((verb, SimulationSettings) for verb in ("predict", "demo", "val")),
        ("predict", SpikingYOLO.predict),
        ("predict", Saving),
        ("demo", SpikingYOLO.anytime),
        ("val", SpikingYOLO.val),
        ("val", EnergyModel),
        ("study", EnergyModel),
        ("convert", convert),
    ],
)
def test_defaults_are_those_of_the_functions(verb, given):
    here = {key: option.default for key, option in VERBS[verb].options.items()}
    there = {key: value for key, value in defaults(given).items() if value is not None}  # None: as the verb has it
    shared = here.keys() & there.keys()
    assert shared
    for key in sorted(shared):
        kind = VERBS[verb].options[key].kind
        assert there[key] in (here[key], kind.value(key, str(here[key]))), (key, here[key])


def test_defaults_of_a_study_are_those_of_its_settings():
    fields = {field.name for field in dataclasses.fields(StudySettings)} - {"energy", "project"}
    given = {key: option.default for key, option in VERBS["study"].options.items() if key in fields}
    assert len(given) > 12 and StudySettings(**given) == StudySettings()


def test_engines_are_those_of_the_simulation():
    for engine in ENGINES:
        assert MODEL["engine"].kind.value("engine", engine) == engine
    assert ", ".join(ENGINES) in MODEL["engine"].kind.words
    assert ENERGY.keys() == {field.name for field in dataclasses.fields(EnergyModel)}


def test_a_study_takes_every_kind_of_neuron_and_every_schedule():
    for key, known in (("neurons", NEURONS), ("schedule", SCHEDULES)):
        kind = VERBS["study"].options[key].kind
        assert kind.value(key, ",".join(known)) == list(known) and kind.words == f"some of {', '.join(known)}"


def test_taken_options_are_gone():
    options = {"weights": "w", "conf": 0.5}
    assert taken(options, {"weights": MODEL["weights"]}) == {"weights": "w"} and options == {"conf": 0.5}


def test_help_and_tables_name_every_option_with_its_default():
    for name, verb in VERBS.items():
        shown, table = verb_help(name), option_table(name)
        assert f"  {name} " in overview() and verb.summary in shown and verb.example.startswith(f"casc-det {name}")
        for key, option in verb.options.items():
            assert f"  {key} " in shown and option.help in shown and f"| `{key}` | " in table
            assert option_of(name, key) is option and "picture" not in option.help
    assert default_words(Option(None, True, "")) == "true" and default_words(Option(None, 0.7, "")) == "0.7"
    assert default_words(Option(None, None, "")) == default_words(Option(None, REQUIRED, "")) == ""


def test_help_needs_no_large_package():
    large = "{'torch', 'numpy', 'ultralytics', 'cv2', 'matplotlib', 'numba'}"
    code = "import sys; from casc_det.cli.run import main\n"
    verbs = "['--help'], ['predict', '--help'], ['train', '--help'], ['study', '--help'], ['predict', 'conf=x']"
    code += f"for words in ({verbs}): main(words)\n"
    code += f"assert not {large} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
