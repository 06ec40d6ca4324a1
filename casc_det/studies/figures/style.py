"""How the figures of a study look: one colour for each cell, wake shaded, the images named above the axes."""

from typing import Any

from casc_det.show.figures import Axes, Figure, literal
from casc_det.studies.records import label

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b")  # Okabe and Ito
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))  # of the second and third eight curves
GREY, WAKE = "0.45", "#fff3cf"
UNSEEN = 0.01  # share of the ANN's mAP below which a curve lies on the axis


def style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th curve, the same in all figures and in the page."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}


def scored_label(record: dict, records: list[dict]) -> str:
    """What sets a record apart from the others, and its largest mAP where the curve cannot be seen."""
    best = max(record["result"]["curves"]["mAP50-95"])
    unseen = best < UNSEEN * record["result"]["ann"]["mAP50-95"]
    return literal(label(record, records)) + (f" (at most {best:.1g})" if unseen else "")


def measured_on(figure: Figure, records: list[dict], note: str = "dashed: the ANN") -> None:
    """Name the images, and what the dashed lines are, above the axes."""
    record = records[0]
    sizes = "x".join(map(str, record["imgsz"]))
    text = f"{record['data']}, {record['result']['pictures']} images, {sizes} px; {note}"
    figure.suptitle(literal(text), fontsize=9)


def shade_wake(ax: Axes, records: list[dict]) -> None:
    """Shade wake up to between its last step and the first of sleep, where all records have the same."""
    wakes = {record["result"]["wake"] for record in records}
    if len(wakes) == 1:
        ax.axvspan(0, wakes.pop() + 0.5, color=WAKE, zorder=0, label="wake")


def over_time(ax: Axes, ylabel: str, records: list[dict], **options: Any) -> None:
    """Finish axes over the time step; they end where all images of all records are quiescent."""
    ax.set(xlabel="time step T", ylabel=ylabel, **options)
    ax.set_xlim(0, max(map(last_change, records)) + 1)
    ax.grid(alpha=0.3)


def last_change(record: dict) -> int:
    """The step at which all images are quiescent, or else the last one."""
    rests, last = record["result"]["steps_to_rest"], record["result"]["curves"]["T"][-1]
    return max(rests) if all(rests) else last


def legend_beside(figure: Figure, *axes: Axes) -> None:
    """One legend for what some axes show, beside all of them; what several show is named once."""
    shown = {text: handle for ax in axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend([*shown.values()], [*shown], loc="outside right upper", fontsize=8)
