"""What bursts change: mAP over time and against energy, a curve for each burst, with and without the ramp rule."""

from typing import Any

from casc_det.show.figures import Axes, Figure, literal, new_figure
from casc_det.studies.figures.style import COLOURS, DASHES, GREY, last_change, legend_beside, measured_on
from casc_det.studies.records import by_network, clean, network, variant_of
from casc_det.studies.summary import summary_of


def plot_bursts(records: list[dict]) -> Figure | None:
    """A row for each network with cells of several bursts; None where there is none."""
    cells = [record for record in clean(records) if variant_of(record).rests and not corrected(record)]
    rows = [mine for mine in by_network(cells) if len(mine) > 1]
    if not rows:
        return None
    figure, axes = new_figure(len(rows), 2, 12, 3.3 * len(rows) + 0.6)
    bursts = sorted({record["variant"]["burst"] for mine in rows for record in mine})
    for (left, right), mine in zip(axes, rows, strict=True):
        result = mine[0]["result"]
        left.set_title(literal(f"{network(mine[0])}: {mine[0]['activation']}, Q = {result['levels']}"), fontsize=9)
        for record in mine:
            burst, ramp = record["variant"]["burst"], record["variant"]["ramp"]
            look = {"color": COLOURS[bursts.index(burst) % len(COLOURS)], "linestyle": DASHES[ramp]}
            plot_cell(left, right, record, f"burst {burst}{', ramp' if ramp else ''}", look)
        for ax in (left, right):
            ax.axhline(result["ann"]["mAP50-95"], color=GREY, linestyle=":", linewidth=1)
            ax.set(ylabel="mAP50-95", ylim=(0, None))
            ax.grid(alpha=0.3)
        left.set_xscale("log", base=2)
        last = max(map(last_change, mine))
        ticks = [2**k for k in range(last.bit_length())]
        left.set_xticks(ticks, map(str, ticks))
        left.set(xlabel="time step T", xlim=(0.9, 1.1 * last))
        right.set_xlabel("energy an image" + (", in that of the ANN" if result["ann"]["energy_mJ"] else ", mJ"))
        if result["ann"]["energy_mJ"]:
            right.axvline(1, color=GREY, linestyle=":", linewidth=1)
    for marker, text in MARKS.items():
        axes[-1, 0].scatter([], [], color="white", edgecolor="black", marker=marker, label=text)
    legend_beside(figure, *axes[:, 0])
    measured_on(figure, [record for mine in rows for record in mine], "dotted: the ANN")
    return figure


MARKS = {"o": "99 % of the ANN's mAP", "D": "quiescent, on average"}


def corrected(record: dict) -> bool:
    """Whether there is hysteresis or delay."""
    return bool(record["variant"]["hysteresis"] or record["variant"]["delay"])


def plot_cell(left: Axes, right: Axes, record: dict, name: str, look: dict[str, Any]) -> None:
    """mAP of a cell over time and against energy, and marks of `MARKS` where it is as good as the ANN, and at rest."""
    curves, ann, entry = record["result"]["curves"], record["result"]["ann"], summary_of(record, name)
    unit = ann["energy_mJ"] or 1
    left.plot(curves["T"], curves["mAP50-95"], label=name, **look)
    right.plot([energy / unit for energy in curves["energy_mJ"]], curves["mAP50-95"], **look)
    first, rest = entry["reached"]["99%"]["first"], entry["rest"]
    options: dict[str, Any] = {"color": look["color"], "edgecolor": "black", "zorder": 3, "s": 30}
    if first:
        reached = curves["mAP50-95"][curves["T"].index(first["T"])]
        for ax, x in ((left, first["T"]), (right, first["energy_mJ"] / unit)):
            ax.scatter(x, reached, marker="o", **options)
    if rest and rest["pictures"] == entry["pictures"]:
        for ax, x in ((left, rest["mean"]), (right, rest["energy_mJ"] / unit)):
            ax.scatter(x, curves["mAP50-95"][-1], marker="D", **options)
