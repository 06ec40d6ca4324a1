"""`train`: from arguments to a run folder with checkpoints, through the trainer of Ultralytics."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
from ultralytics.utils import LOGGER

from casc_det.base.folders import PROJECT, locked, run_folder
from casc_det.errors import CascError
from casc_det.graph.zoo import find
from casc_det.training.convertible import check_architecture
from casc_det.training.preflight import check_arguments, check_choice, check_files, checks_of_ultralytics
from casc_det.training.trainer import CascTrainer
from casc_det.yolo.data import read_data

NOTHING_SAVED = "no checkpoint was written yet (the first epoch had not ended), there is nothing to go on with"


def train(**arguments: Any) -> Path:
    """Train a CQ detector; returns the run folder.

    Args:
        arguments: those of Ultralytics' `train` and of `casc_det.training.arguments.OWN`.

    Raises:
        ArgumentError, SourceError, UsageError, WeightsError: before anything is written where an argument cannot work.
        TrainingError: gradients are not finite again and again.
    """
    check_arguments(arguments)
    if arguments.get("weights"):
        arguments["weights"] = str(find(arguments["weights"]))
    trust = arguments.setdefault("trust", False)
    check_files(arguments, trust)
    resume = arguments.get("resume")
    if not resume:  # everything that can be wrong is looked at before a run folder is made
        check_architecture(arguments["model"], trust, arguments.get("weights"), arguments.get("activation"))
        data = read_data(arguments["data"], arguments.get("teacher"), arguments.get("names"), trust)
        check_choice(data, arguments.get("split"), arguments.get("classes"))
    project = Path(arguments.pop("project", None) or PROJECT).absolute()
    with ExitStack() as stack:
        if resume:
            folder = Path(resume).absolute().parent
            stack.enter_context(locked(folder.parent if folder.name == "weights" else folder))
        else:
            fresh = run_folder(project, arguments.get("name") or "train", bool(arguments.get("exist_ok")))
            arguments["save_dir"] = str(stack.enter_context(fresh))
        return _train({**arguments, "project": str(project), "task": "detect", "mode": "train"})


def _train(overrides: dict) -> Path:
    with checks_of_ultralytics():
        trainer = CascTrainer(overrides=overrides)
    try:
        trainer.train()
    except CascError:
        if not trainer.csv.exists() and not any(trainer.wdir.iterdir()):  # refused: nothing stays of it
            trainer.wdir.rmdir()
            (trainer.save_dir / "args.yaml").unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        rest = f"go on with casc-det train resume={trainer.save_dir}" if trainer.saved else NOTHING_SAVED
        print(f"train: stopped; {rest}", file=sys.stderr)
        raise
    if not trainer.unlabelled and not trainer.best_fitness:
        LOGGER.warning(
            "train: no object of val was found after any epoch (mAP 0): the network has learned nothing yet; train "
            "longer, start from weights=, or look at the labels"
        )
    return trainer.save_dir
