"""`casc-det study`: accuracy, error and energy against time steps."""

import json
from typing import Any

from casc_det.base.kinds import FLAGS_LIST, INTEGERS, NUMBERS, PATH, STEP_RANGE, TEXT, choices
from casc_det.cli.damage import exit_code, name_problems
from casc_det.cli.options import DATA, DEVICE, ENERGY, IMGSZ, SAVING, THREADS, Option, Verb, taken
from casc_det.evaluation.energy import EnergyModel
from casc_det.neurons import NEURONS
from casc_det.neurons.schedule import SCHEDULES


def run(options: dict[str, Any]) -> int:
    """Run all cells, and print their table and the answers."""
    from casc_det.studies.run import study
    from casc_det.studies.settings import StudySettings
    from casc_det.studies.summary import tables
    from casc_det.yolo.progress import Progress

    weights, data, resume, strict = (options.pop(key) for key in ("weights", "data", "resume", "strict"))
    settings = StudySettings(energy=EnergyModel(**taken(options, ENERGY)), **options)
    with Progress("study") as bar:
        folder, _ = study(weights, data, settings, resume, bar.cells)
    summary = json.loads((folder / "summary.json").read_text())
    name_problems(summary, folder / "summary.json")
    print("\n".join([tables(summary["cells"]), *summary["answers"]]))
    print(f"Written to {folder}; open {folder / 'report.html'}")
    return exit_code(summary, strict)


VERB = Verb(
    run,
    "accuracy, error, spikes and energy against time steps: figures, tables and a page",
    "casc-det study data=annotations/instances_val2017.json timesteps=1..64 neurons=cif,if limit=100",
    {
        **DATA,
        "weights": Option(TEXT, None, "spiking graphs, files or names, comma-separated [yolov8n-cq16]"),
        "timesteps": Option(STEP_RANGE, "1..64", "time steps of the curves: 1..64, or 8,16,32"),
        "neurons": Option(choices(*NEURONS), "cif", "neurons, see the page of the studies"),
        "schedule": Option(choices(*SCHEDULES), "wsc", "when the image comes in, see the page of the studies"),
        "burst": Option(
            INTEGERS, None, "most unit spikes of a neuron in a step: 1,2,4,8; default: what each file recommends"
        ),
        "ramp": Option(
            FLAGS_LIST,
            None,
            "whether counts grow in proportion to time during wake: false,true; default: what each file recommends",
        ),
        "hysteresis": Option(
            NUMBERS, None, "also CIF that takes back only below so many thresholds during wake: 0.25,0.5"
        ),
        "delay": Option(NUMBERS, None, "also layers that start so many steps later than the layer before: 0.25,0.5"),
        "corruptions": Option(
            choices("none", "noise", "blur", "fog", "jpeg", "brightness"), "none", "also disturbed images"
        ),
        "severities": Option(INTEGERS, "1,2,3", "strengths of the disturbances"),
        "levels": Option(INTEGERS, 0, "the same weights with another Q, not trained for it: 4,8,16; 0: their own"),
        "policies": Option(
            TEXT,
            "quiescent,boxes-stable(2),boxes-stable(4),confident(0.5)",
            "rules of early exit, see the page of the studies",
        ),
        "imgsz": IMGSZ,
        "device": DEVICE,
        "threads": THREADS,
        **ENERGY,
        "resume": Option(PATH, None, "folder of a study to go on with; finished cells are kept"),
        **SAVING,
    },
)
