"""`casc-det val`: the scores of the spiking network beside its ANN's."""

import sys
from pathlib import Path
from typing import Any

from casc_det.base.kinds import FLAG, INTEGER, PATH, STEPS_LIST, TEXT, choice
from casc_det.base.terminal import printable
from casc_det.cli.damage import exit_code, name_problems
from casc_det.cli.options import DATA, ENERGY, IMGSZ, MODEL, SAVING, TRUST, Option, Verb, taken
from casc_det.errors import ArgumentError
from casc_det.evaluation.energy import EnergyModel

CLASSES = 8  # names of classes on the screen, at most


def run(options: dict[str, Any]) -> int:
    """Score, and print the table of scores."""
    from casc_det.api import SpikingYOLO
    from casc_det.evaluation.report import table
    from casc_det.yolo.progress import Progress

    model, energy = SpikingYOLO(**taken(options, MODEL)), EnergyModel(**taken(options, ENERGY))
    strict, mapping = options.pop("strict"), parse_mapping(options.pop("map"))
    with Progress("val") as bar:
        content = model.val(mapping=mapping, energy=energy, progress=bar.images, **options)
    if content is None:
        return 0
    folder = Path(content["settings"]["folder"])
    name_problems(content, folder / "results.json")
    name_classes(content)
    print(table(content))
    print(f"Written to {folder}")
    return exit_code(content, strict)


def name_classes(content: dict[str, Any]) -> None:
    """Print which classes only one of model and data set has."""
    for key, words in (
        ("classes_not_in_model", "the model does not know"),
        ("classes_not_in_data", "not in the data set"),
    ):
        if names := content[key]:
            named = ", ".join(names[:CLASSES]) + (", ..." if len(names) > CLASSES else "")
            print(printable(f"{len(names)} classes {words}: {named}"), file=sys.stderr)


def parse_mapping(text: str | None) -> dict[str, list[str]]:
    """`tvmonitor:tv,furniture:chair,furniture:couch` as a dictionary: data set name -> model names."""
    pairs = [part.split(":") for part in (text or "").split(",") if part]
    if any(len(pair) != 2 for pair in pairs):
        raise ArgumentError(f"map: expected <data set name>:<model name>,..., got {text!r}")
    mapping: dict[str, list[str]] = {}
    for name, target in pairs:
        mapping.setdefault(name.strip(), []).append(target.strip())
    return mapping


VERB = Verb(
    run,
    "score the spiking network against its ANN on COCO, VOC or your own data",
    "casc-det val data=annotations/instances_val2017.json timesteps=16,32,auto against=float.pt",
    {
        **DATA,
        **MODEL,
        "timesteps": Option(
            STEPS_LIST, "auto", "rows of the spiking network, for example 8,16,32,auto or 5..8; one simulation for all"
        ),
        "against": Option(PATH, None, "float network for the row float: .pt, or .safetensors of the same architecture"),
        "protocol": Option(choice("coco", "voc07", "voc12"), None, "default: voc12 for a VOC folder, else coco"),
        "map": Option(TEXT, None, "class names that differ, as <data set name>:<model name>,..."),
        "imgsz": IMGSZ,
        "rect": Option(FLAG, False, "pad to multiples of the stride instead of a square"),
        "batch": Option(INTEGER, 1, "images simulated together"),
        "bootstrap": Option(INTEGER, 1000, "draws for the interval of the gap to the ANN; 0 for none"),
        "resume": Option(PATH, None, "run folder to go on with; the other arguments as before"),
        "trust": TRUST,
        **ENERGY,
        **SAVING,
    },
)
