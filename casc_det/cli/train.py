"""`casc-det train`: a CQ network, with Ultralytics' trainer."""

from typing import Any

from casc_det.cli.options import Option, Verb
from casc_det.training.arguments import OWN, SHARED, train_kinds


def run(options: dict[str, Any]) -> int:
    """Train, and say what comes next."""
    from casc_det.training.run import train

    folder = train(**{key: value for key, value in options.items() if value is not None})
    print(f"Trained; next: casc-det convert weights={folder / 'weights' / 'best.pt'} out=model.safetensors")
    return 0


def more() -> dict[str, Option]:
    """The arguments of Ultralytics' train."""
    return {key: Option(kind, None, "of Ultralytics") for key, kind in train_kinds().items()}


VERB = Verb(
    run,
    "train a YOLO detector with quantised activations",
    "casc-det train model=yolov8n.yaml data=data/tiny.yaml levels=8 epochs=10 imgsz=128",
    {key: Option(argument.kind, argument.default, argument.help) for key, argument in (SHARED | OWN).items()},
    more,
    "and every argument of Ultralytics' train: epochs, imgsz, batch, lr0, optimizer, resume, name, ...",
)
