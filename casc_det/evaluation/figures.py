"""The figures of `val`: precision against recall, the confusion matrix, and what each layer sends."""

import numpy as np
from matplotlib.figure import Figure

from casc_det.evaluation.bootstrap import Outcomes
from casc_det.evaluation.precision import RECALLS, at_recalls, interpolated
from casc_det.evaluation.truth import LabelledImage
from casc_det.heads.detect.boxes import overlaps
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.show.figures import literal

SHOWN_SCORE, SHOWN_IOU = DetectionSettings.conf, 0.5


def precision_at_recalls(outcomes: Outcomes) -> np.ndarray | None:
    """Interpolated precision of one class at `RECALLS` and IoU 0.5, (101,); None where it has no object."""
    positives = outcomes.positives.sum()
    if not positives:
        return None
    row = outcomes.outcome[0]
    hits = (row[row >= 0] == 1).cumsum()
    return at_recalls(interpolated(hits, np.arange(1, len(hits) + 1)), hits / positives)


def plot_precision_recall(rows: dict[str, list[Outcomes]]) -> Figure:
    """Mean precision over classes against recall at IoU 0.5, one line a row; the classes of the last row in grey."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    ax = figure.add_subplot()
    for name, classes in rows.items():
        curves = [curve for c in classes if (curve := precision_at_recalls(c)) is not None]
        if not curves:
            continue
        if name == list(rows)[-1]:
            ax.plot(RECALLS, np.array(curves).T, color="0.85", linewidth=0.6, zorder=0)
        last = name == list(rows)[-1]  # dashed, so that the ANN's curve under it can be seen
        ax.plot(RECALLS, np.mean(curves, axis=0), label=name, linestyle="--" if last else "-")
    ax.set(xlabel="recall", ylabel="precision, mean over classes", xlim=(0, 1), ylim=(0, 1.02))
    ax.set_title(f"IoU 0.5; grey: the classes of '{list(rows)[-1]}'", fontsize=9)
    if ax.lines:
        ax.legend(loc="upper right", fontsize=8)
    return figure


def plot_layers(layers: dict[str, dict[str, float]], title: str) -> Figure:
    """Unit spikes of each neuron layer, and the messages that carry them, of an image on average."""
    figure = Figure(figsize=(max(6.0, 0.17 * len(layers) + 1.5), 4.5), layout="constrained")
    ax, places = figure.add_subplot(), range(len(layers))
    for key, label, colour in (("spikes", "unit spikes", "0.75"), ("messages", "messages", "tab:blue")):
        ax.bar(places, [layer[key] / 1e3 for layer in layers.values()], label=label, color=colour)
    ax.set_xticks(places, [literal(name, 40) for name in layers], rotation=90, fontsize=6)
    ax.set(ylabel="thousands, mean of an image", xlim=(-0.6, len(layers) - 0.4))
    ax.set_title(f"{title}: what each layer of neurons sends", fontsize=9)
    ax.legend(fontsize=8)
    return figure


def confusion(images: list[LabelledImage], found: list[Detections], classes: int) -> np.ndarray:
    """Counts (classes + 1, classes + 1): row = detected as, column = really; the last one is background.

    Detections above score 0.25, by falling score; each takes the free object that it overlaps most, from IoU 0.5 on,
    whatever its class.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for image, one in zip(images, found, strict=True):
        ignored = image.crowd | image.difficult
        free = np.ones(len(image.boxes), dtype=bool)
        for i in np.argsort(-one.scores, kind="stable"):
            if one.scores[i] <= SHOWN_SCORE:
                break
            iou = overlaps(one.boxes[i : i + 1], image.boxes)[0] * free if len(free) else np.zeros(0)
            best = int(iou.argmax()) if len(iou) and iou.max() >= SHOWN_IOU else None
            if best is not None and ignored[best]:
                continue
            matrix[one.labels[i], classes if best is None else image.labels[best]] += 1
            if best is not None:
                free[best] = False
        for label in image.labels[free & ~ignored]:
            matrix[classes, label] += 1
    return matrix


def plot_confusion(matrix: np.ndarray, names: list[str], title: str) -> Figure:
    """Confusion matrix, columns in shares of the real class; classes that never occur are left out."""
    present = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    present = present if len(present) else np.array([len(names)])  # nothing at all: an empty background
    shown = matrix[np.ix_(present, present)].astype(np.float64)
    labels = [literal([*names, "background"][i], 40) for i in present]
    side = min(max(4.0, 0.22 * len(present) + 1.8), 40.0)  # inches
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(shown / np.maximum(shown.sum(0), 1), cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.set(xlabel="really", ylabel="detected as")
    ax.set_title(f"{title}: scores above {SHOWN_SCORE}, IoU from {SHOWN_IOU}", fontsize=9)
    if len(present) <= 25:
        for (y, x), count in np.ndenumerate(shown):
            if count:
                dark = shown[y, x] > 0.5 * shown[:, x].sum()
                ax.text(x, y, f"{count:.0f}", ha="center", va="center", fontsize=6, color="white" if dark else "black")
    figure.colorbar(image, ax=ax, label="share of the column", shrink=0.7)
    return figure
