"""`casc-det convert`: a network as a spiking graph; a float network is calibrated for it."""

from typing import Any

from casc_det.base.arguments import check_safetensors
from casc_det.base.kinds import INTEGER, PATH, TEXT, choice
from casc_det.cli.options import REQUIRED, TRUST, Option, Verb

LAYERS = 5  # with the largest errors, that are named on the screen
POOR = 0.8  # share of equal boxes below which the float network's answers are not kept


def run(options: dict[str, Any]) -> int:
    """Convert, print the audit and what a calibration came to, and write the file."""
    from casc_det.conversion.audit import AuditError, format_audit
    from casc_det.yolo.convert import convert
    from casc_det.yolo.progress import Progress

    weights, out = options.pop("weights"), options.pop("out")
    check_safetensors(out=out)
    options["architecture"] = options.pop("model")
    try:
        with Progress("convert") as bar:
            conversion = convert(weights, progress=bar.cells, **options)
    except AuditError as error:
        print(format_audit(error.audit))
        raise
    print(format_audit(conversion.audit) or f"'{weights}' is a spiking graph; rounded to integers")
    if conversion.report:
        print(format_report(conversion.report))
    path = conversion.save(out)
    print(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB); try: casc-det predict weights={path} source=...")
    return 0


def format_report(report: dict[str, Any]) -> str:
    """The report of a calibration, see `casc_det.yolo.fidelity`, in a few lines."""
    from casc_det.neurons.activation import MAX_LEVELS

    worst = sorted(report["layers"].items(), key=lambda item: -item[1])[:LAYERS]
    share = report["equal_boxes"]
    boxes = "neither finds a box" if share is None else f"{share:.1%} of the boxes are equal (IoU 0.9, conf 0.25)"
    lines = [
        f"Calibrated with {report['images']} images; against the float network on {report['held_out']} other images: "
        f"relative error of the readout {report['readout_error']:.2%}, {boxes}",
        "Largest relative errors: " + ", ".join(f"{name} {error:.1%}" for name, error in worst),
    ]
    if share is None or share < POOR:
        levels = min(2 * report["levels"], MAX_LEVELS)
        ways = [
            *(["activation=keep"] if report["activation"] != "keep" else []),
            *([f"levels={levels}"] if levels > report["levels"] else []),
            "casc-det train activation=keep weights=... teacher=...",
        ]
        lines.append(f"For a nearer one: {' or '.join(ways)}")
    return "\n".join(lines)


VERB = Verb(
    run,
    "convert a detector into a spiking graph: a trained CQ network without loss, a float network by calibration",
    "casc-det convert weights=yolov8n.pt data=images/ levels=32 out=model.safetensors",
    {
        "weights": Option(
            PATH, REQUIRED, "checkpoint (.pt) or state dict (.safetensors), or a real-valued spiking graph"
        ),
        "out": Option(PATH, REQUIRED, "file to write (.safetensors)"),
        "precision": Option(
            choice("integer", "float"),
            "integer",
            "integer: 8-bit weights, exact on every CPU; float: the network's own weights",
        ),
        "imgsz": Option(INTEGER, None, "longest image side the graph is meant for; default: that of training"),
        "data": Option(
            PATH, None, "images that a float network is calibrated with: folders, .txt lists, or a dataset YAML"
        ),
        "levels": Option(INTEGER, None, "of a calibration: Q, 1..64 (default 32)"),
        "activation": Option(
            choice("keep", "relu"), None, "of a calibration: keep (default) what each layer has, or CQReLU everywhere"
        ),
        "images": Option(INTEGER, None, "of a calibration: how many images are looked at (default 24)"),
        "seed": Option(INTEGER, None, "of a calibration: which images (default 0)"),
        "model": Option(TEXT, None, "architecture of a state dict that does not name it, such as yolov8n.yaml"),
        "names": Option(PATH, None, "dataset YAML with the class names of a state dict"),
        "trust": TRUST,
    },
)
