"""`casc-det convert`: a trained network as a spiking graph."""

from typing import Any

from casc_det.base.arguments import check_safetensors
from casc_det.base.kinds import INTEGER, PATH, choice
from casc_det.cli.options import REQUIRED, TRUST, Option, Verb


def run(options: dict[str, Any]) -> int:
    """Convert, print the audit, and write the file."""
    from casc_det.conversion.audit import AuditError, format_audit
    from casc_det.yolo.convert import convert

    weights, out = options["weights"], options["out"]
    check_safetensors(out=out)
    try:
        conversion = convert(weights, options["imgsz"], options["precision"], options["trust"])
    except AuditError as error:
        print(format_audit(error.audit))
        raise
    print(format_audit(conversion.audit) or f"'{weights}' is a spiking graph; rounded to whole numbers")
    path = conversion.save(out)
    print(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB); try: casc-det predict weights={path} source=...")
    return 0


VERB = Verb(
    run,
    "convert a trained CQReLU detector into a spiking graph, without loss",
    "casc-det convert weights=runs/detect/train/weights/best.pt out=model.safetensors",
    {
        "weights": Option(PATH, REQUIRED, "checkpoint (.pt) of casc-det train, or a real-valued spiking graph"),
        "out": Option(PATH, REQUIRED, "file to write (.safetensors)"),
        "precision": Option(
            choice("integer", "float"),
            "integer",
            "integer: 8-bit weights, exact on every CPU; float: the network's own weights",
        ),
        "imgsz": Option(INTEGER, None, "longest image side the graph is meant for; default: that of training"),
        "trust": TRUST,
    },
)
