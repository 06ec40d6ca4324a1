"""Words of the command line as values, and what wrong usage gets."""

from functools import partial

import pytest
from runs import fails
from ultralytics.utils import DEFAULT_CFG_DICT

from casc_det.cli.absent import ABSENT
from casc_det.cli.parsing import option_of, parse_pairs, parse_value
from casc_det.cli.run import main
from casc_det.cli.verbs import VERBS
from casc_det.neurons import NEURONS


def test_values_are_python_where_they_can_be():
    pairs = parse_pairs(["a=1", "--b", "0.5", "--c=true", "d=[1,2]", "e=auto", "f=4e-4", "g=none", "h=-1", "--flag"])
    assert pairs == {"a": 1, "b": 0.5, "c": True, "d": [1, 2], "e": "auto", "f": 4e-4, "g": None, "h": -1, "flag": True}
    assert parse_value("runs/x") == "runs/x" and parse_value("0,1") == (0, 1)


def typed(verb: str, *words: str) -> dict:
    return parse_pairs(list(words), partial(option_of, verb))


def test_values_have_the_type_of_their_argument():
    words = ("source=2024", "name=7", "--project", "2025", "save=no", "rect=0", "--save-txt", "ON", "conf=1e-1")
    assert typed("predict", *words, "timesteps=8", "imgsz=64,96", "weights=1e3", "classes=0") == {
        "source": "2024",
        "name": "7",
        "project": "2025",
        "save": False,
        "rect": False,
        "save_txt": True,
        "conf": 0.1,
        "timesteps": 8,
        "imgsz": [64, 96],
        "weights": "1e3",
        "classes": "0",
    }
    assert typed("predict", "imgsz=none", "name=none", "classes=[0,2]") == {
        "imgsz": None,
        "name": "none",
        "classes": "[0,2]",
    }
    assert typed("predict", "source= a .png ", "conf= 0.5 ") == {"source": " a .png ", "conf": 0.5}
    assert typed("val", "timesteps=8,auto") == {"timesteps": [8, "auto"]}
    study = typed("study", "neurons=cif,if", "delay=0.25,1", "levels=[4,8]", "weights=8", "timesteps=1..3")
    assert study == {
        "neurons": ["cif", "if"],
        "delay": [0.25, 1],
        "levels": [4, 8],
        "weights": "8",
        "timesteps": "1..3",
    }
    train = typed("train", "epochs=1e2", "batch=16", "lr0=1", "cache=ram", "--resume", "amp=bf16", "name=8", "val=no")
    assert train == {
        "epochs": 100,
        "batch": 16,
        "lr0": 1,
        "cache": "ram",
        "resume": True,
        "amp": "bf16",
        "name": "8",
        "val": False,
    }
    assert isinstance(train["batch"], int) and typed("train", "imgsz=64", "freeze=3") == {"imgsz": 64, "freeze": 3}


@pytest.mark.parametrize(
    ("verb", "word", "expected"),
    [
        ("predict", "save=maybe", "save: expected true or false, got 'maybe'"),
        ("predict", "save=", "save: expected true or false, got nothing"),
        ("predict", "source=", "source: expected a text, got nothing"),
        ("predict", "timesteps=3.5", "timesteps: expected an integer or auto, got '3.5'"),
        ("predict", "timesteps=true", "timesteps: expected an integer or auto, got 'true'"),
        ("predict", "conf=nan", "conf: expected a number, got 'nan'"),
        ("predict", "conf=0,5", "conf: expected a number, got '0,5'"),
        ("predict", "conf=none", "conf: expected a number, got 'none'"),
        ("predict", "imgsz=big", "imgsz: expected an integer or height,width, got 'big'"),
        ("predict", "batch=99999999999999999999", "batch: expected an integer, got '99999999999999999999'"),
        ("predict", "engine=fats", "engine: expected one of fast, reference, got 'fats' (did you mean 'fast'?)"),
        ("study", "neurons=cif,lif", f"neurons: expected some of {', '.join(NEURONS)}, got 'cif,lif'"),
        ("study", "levels=4,x", "levels: expected integers, comma-separated, got '4,x'"),
        ("train", "epochs=many", "epochs: expected an integer, got 'many'"),
        ("train", "cos_lr=perhaps", "cos_lr: expected true or false, got 'perhaps'"),
        ("train", "cache=disc", "cache: expected true, false or one of ram, disk, got 'disc'"),
    ],
)
def test_value_of_a_wrong_type_is_one_line(capsys, verb, word, expected):
    assert fails(capsys, verb, word) == f"casc-det: {expected}"


def test_bare_flag_takes_no_argument_that_follows(capsys):
    assert typed("predict", "--json", "source=x", "--save", "--rect", "no") == {
        "json": True,
        "source": "x",
        "save": True,
        "rect": False,
    }
    assert typed("predict", "--source", "a=b.jpg") == {"source": "a=b.jpg"}
    assert "name: the value is missing; give name=<a text>" in fails(capsys, "predict", "--name", code=2)
    assert "name: the value is missing" in fails(capsys, "predict", "--name", "--save", code=2)


def test_usage_errors_have_code_2_and_the_nearest_word(capsys):
    assert "did you mean 'predict'?" in fails(capsys, "predit", code=2)
    assert "give weights=" in fails(capsys, "predict", "source=x", "model=y", code=2)
    assert "did you mean 'timesteps'?" in fails(capsys, "predict", "source=x", "timestep=3", code=2)
    assert "did you mean 'epochs'?" in fails(capsys, "train", "epoch=3", code=2)
    assert "source is missing" in fails(capsys, "predict", code=2)
    assert "given twice" in fails(capsys, "predict", "source=a", "source=b", code=2)
    assert "expected key=value" in fails(capsys, "predict", "bus.jpg", code=2)
    assert main([]) == 2


def test_arguments_of_ultralytics_that_are_not_there_say_what_to_do(capsys):
    assert "no 'show' here: no window is opened" in fails(capsys, "predict", "source=x", "show=true", code=2)
    assert "no 'half' here: give precision=" in fails(capsys, "val", "data=x", "--half", code=2)
    assert ABSENT.keys() - {"half", "int8"} < DEFAULT_CFG_DICT.keys()  # those two are of earlier releases
    for verb in ("predict", "val", "study", "demo"):
        for key in ABSENT.keys() - VERBS[verb].options.keys():
            fails(capsys, verb, f"{key}=1", code=2)
    others = [verb for name, verb in VERBS.items() if name not in ("train", "convert")]  # they have `model`
    assert not ABSENT.keys() & {key for verb in others for key in verb.options}
