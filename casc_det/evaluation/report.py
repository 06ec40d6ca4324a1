"""The results of `casc-det val` for people: a terminal table, a CSV, figures and a page of examples."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from casc_det.base.files import without_nan, write_csv
from casc_det.base.terminal import aligned
from casc_det.evaluation.bootstrap import Outcomes
from casc_det.evaluation.classes import ClassMap
from casc_det.evaluation.figures import SHOWN_SCORE, confusion, plot_confusion, plot_layers, plot_precision_recall
from casc_det.evaluation.scores import found_in
from casc_det.evaluation.truth import Truth
from casc_det.heads.detect.detections import Detections
from casc_det.show.figures import attempt, save_figures
from casc_det.show.images import board, draw_boxes, panel, write_image

EXAMPLES = 6
COLUMNS = (
    *("network", "timesteps", "mAP50-95", "mAP50", "gap_to_ann", "gap_low", "gap_high"),
    *("spikes", "messages", "payload_bits", "sops", "macs"),
    *("energy_mJ", "neuron_updates", "steps_mean", "quiescent", "difference_mean", "difference_max"),
    *("neurons_different", "same_boxes", "seconds"),
)
LAYER_COLUMNS = ("network", "timesteps", "layer", "spikes", "messages", "payload_bits", "sops")
HEAD = (
    *("network", "T", "mAP50-95", "mAP50", "gap to ANN (95 %)", "M spikes", "M messages", "Mbit", "G SOPs", "mJ"),
    *("at rest", "same boxes", "s"),
)


def table(content: dict) -> str:
    """The rows of `results.json` as a terminal table below a line on the run, and what the convolutions read."""
    settings = content["settings"]
    kind = "integers" if settings["integer"] else settings["dtype"]
    title = f"{settings['pictures']} pictures, protocol {settings['protocol']}, {kind}, {variant(settings)}; "
    title += "unit spikes, messages and their payload, SOPs, energy and seconds are means per picture"
    lines = [HEAD, *map(line_of, content["rows"])]
    return f"{title}\n{aligned(lines, str.rjust)}\n{content['reads']['summary']}"


def variant(settings: dict) -> str:
    """How the spiking network was simulated, in words."""
    words = [f"Q = {settings['levels']}", f"burst {settings['burst']}", *(["ramp"] if settings["ramp"] else [])]
    return ", ".join(words + [f"{name} {settings[name]:g}" for name in ("hysteresis", "delay") if settings[name]])


def line_of(row: dict) -> tuple[str, ...]:
    """The cells of a row below those of `HEAD`."""
    gap = f"{row['gap_to_ann']:+.4f} ({row['gap_95'][0]:+.4f}..{row['gap_95'][1]:+.4f})" if "gap_95" in row else ""
    spiking = row["network"] == "snn"
    t = f"auto ({row['steps_mean']:.1f})" if row["timesteps"] == "auto" else str(row["timesteps"] or "")
    return (
        row["network"],
        t,
        f"{row['mAP50-95']:.4f}",
        f"{row['mAP50']:.4f}",
        gap,
        *([f"{row[key] / 1e6:.2f}" for key in ("spikes", "messages", "payload_bits")] if spiking else [""] * 3),
        f"{row['sops'] / 1e9:.2f}" if spiking else "",
        f"{row['energy_mJ']:.2f}" if "energy_mJ" in row else "",
        f"{row['quiescent']:.0%}" if spiking else "",
        f"{row['same_boxes']:.0%}" if spiking else "",
        f"{row['seconds']:.2f}",
    )


def write_rows(path: Path, content: dict) -> Path:
    """The numbers of each row as CSV with the columns `COLUMNS`; empty where there is none."""
    gaps = [dict(zip(("gap_low", "gap_high"), row.get("gap_95", ()), strict=False)) for row in content["rows"]]
    return write_csv(path, COLUMNS, [without_nan(row | gap) for row, gap in zip(content["rows"], gaps, strict=True)])


def write_layers(path: Path, rows: Sequence[dict]) -> Path:
    """What each layer costs as CSV with the columns `LAYER_COLUMNS`: what neurons send, what convolutions read.

    rows: those that have it of `results.json`, or others with its "network", "timesteps", "layers" and "layer_sops".
    """
    lines: list[dict] = []
    for row in (row for row in rows if "layers" in row):
        of = {key: row[key] for key in ("network", "timesteps")}
        lines += [{**of, "layer": name, **costs} for name, costs in row["layers"].items()]
        lines += [{**of, "layer": name, "sops": sops} for name, sops in row["layer_sops"].items()]
    return write_csv(path, LAYER_COLUMNS, lines)


def figures(
    truth: Truth,
    records: Sequence[dict],
    maps: dict[str, ClassMap],
    outcomes: dict[str, list[Outcomes]],
    layers: dict[str, dict[str, float]],
    folder: Path,
) -> list[str]:
    """Precision-recall curves, confusion matrix and layers of the last row, and a page of example images.

    Args:
        records: see `detection`. maps: see `Networks`. outcomes: of each row, see `score`. layers: see `layer_costs`.

    Returns:
        A line for each that could not be drawn.
    """
    last = list(outcomes)[-1]
    found = {row: found_in(row, records, maps) for row in ("ann", last)}

    matrix = lambda: confusion(truth.images, found[last], len(truth.names))
    plots: dict[str, Callable] = {
        "precision_recall": lambda: plot_precision_recall(outcomes),
        "confusion": lambda: plot_confusion(matrix(), truth.names, last),
        "layers": lambda: plot_layers(layers, last),
    }
    problems = save_figures(folder, plots)
    save_examples = lambda: write_image(folder / "examples.png", examples(truth, found))
    attempt("examples: could not be drawn", save_examples, problems)
    return problems


def examples(truth: Truth, found: dict[str, list[Detections]]) -> np.ndarray:
    """A board of images spread over the data set: ground truth and what each row found."""
    from casc_det.yolo.images import read_image

    panels = []
    for i in np.unique(np.linspace(0, len(truth.images) - 1, EXAMPLES).astype(int)):
        image = truth.images[i]
        pixels = read_image(image.path).image
        drawn = draw_boxes(pixels, image.boxes, image.labels, truth.names)
        panels.append(panel(drawn, f"{Path(image.path).stem}: ground truth", f"objects: {len(image.boxes)}", width=420))
        for row, values in found.items():
            seen = values[i][values[i].scores > SHOWN_SCORE]
            drawn = draw_boxes(pixels, seen.boxes, seen.labels, truth.names, seen.scores)
            panels.append(
                panel(drawn, row.replace("snn", "SNN, T =").replace("ann", "ANN"), f"boxes: {len(seen)}", width=420)
            )
    return board(panels)
