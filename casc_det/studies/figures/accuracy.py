"""Accuracy: over time, against energy, and of disturbed images."""

from typing import Any

from casc_det.show.figures import Axes, Figure, literal, new_figure
from casc_det.studies.figures.style import (
    COLOURS,
    GREY,
    legend_beside,
    measured_on,
    over_time,
    scored_label,
    shade_wake,
    style,
)
from casc_det.studies.records import clean, identity, network, plain

MARKS = "osD^vP*X"  # of the policies


def plot_map(records: list[dict]) -> Figure:
    """mAP over T, the ANN as a dashed line."""
    shown = clean(records)
    figure, axes = new_figure(1, 2, 11, 3.6)
    for ax, key in zip(axes[0], ("mAP50-95", "mAP50"), strict=True):
        shade_wake(ax, shown)
        for i, record in enumerate(shown):
            curves = record["result"]["curves"]
            ax.plot(curves["T"], curves[key], label=scored_label(record, shown), **style(i))
        for record in {identity(record): record for record in shown}.values():
            ax.axhline(record["result"]["ann"][key], color=GREY, linestyle="--", linewidth=1)
        over_time(ax, key, shown, ylim=(0, None))
    legend_beside(figure, axes[0, 0])
    measured_on(figure, shown)
    return figure


def plot_pareto(records: list[dict]) -> Figure:
    """mAP against energy and against T; policies as points."""
    shown, exits = clean(records), plain(records)
    methods = {record["method"] for record in exits}
    of = f" of {methods.pop()}" if len(methods) == 1 else ""
    figure, axes = new_figure(1, 2, 12, 4)
    for ax, key, point, title in (
        (axes[0, 0], "energy_mJ", "energy_mJ", "energy per image, mJ"),
        (axes[0, 1], "T", "T_mean", "mean time step at which it stops"),
    ):
        named: set[str] = set()
        for i, record in enumerate(shown):
            curves = record["result"]["curves"]
            ax.plot(curves[key], curves["mAP50-95"], label=scored_label(record, shown), **style(i))
            if record in exits:
                _policies(ax, record, point, COLOURS[i % len(COLOURS)], named, of)
        if key == "energy_mJ":
            _anns(ax, shown)
        for accuracy in {record["result"]["ann"]["mAP50-95"] for record in shown} if key == "T" else ():
            ax.axhline(accuracy, color=GREY, linestyle="--", linewidth=1)
        ax.set(xlabel=title, ylabel="mAP50-95", ylim=(0, None))
        ax.grid(alpha=0.3)
    legend_beside(figure, axes[0, 0])
    measured_on(figure, shown)
    return figure


def _policies(ax: Axes, record: dict, point: str, colour: str, named: set[str], of: str) -> None:
    """A marker for each early exit of a record, at its key `point`; those that are `named` are in the legend, with what
    they are `of`."""
    for k, policy in enumerate(record["result"]["policies"]):
        if not policy["stopped"]:  # it is no exit: the time was up first
            continue
        options: dict[str, Any] = {"edgecolor": "black", "zorder": 3, "s": 30, "marker": MARKS[k % len(MARKS)]}
        ax.scatter(policy[point], policy["mAP50-95"], color=colour, **options)
        if policy["policy"] not in named:  # one entry of the legend for all networks
            named.add(policy["policy"])
            ax.scatter([], [], color="white", label=f"early exit{of}: {policy['policy']}", **options)


def _anns(ax: Axes, shown: list[dict]) -> None:
    """A star for each ANN at its energy, with its name where there are several networks."""
    places: set[tuple[float, float]] = set()
    for record in shown:
        ann = record["result"]["ann"]
        place = (ann["energy_mJ"], ann["mAP50-95"])
        if place in places:
            continue
        ax.scatter(*place, color="black", marker="*", s=90, zorder=4, label=None if places else "ANN")
        places.add(place)
        if len({identity(record) for record in shown}) > 1:
            ax.annotate(literal(network(record)), place, xytext=(6, 5), textcoords="offset points", fontsize=7)


def plot_robustness(records: list[dict]) -> Figure | None:
    """mAP over T for each disturbance and severity, the ANN's under the same disturbance dashed."""
    disturbed = [record for record in records if record["variant"]["severity"]]
    kinds = list(dict.fromkeys(record["variant"]["corruption"] for record in disturbed))
    if not kinds:
        return None
    first = identity(disturbed[0])
    base = [record for record in plain(records) if identity(record) == first]
    method = (base or disturbed)[0]["method"]
    mine = [record for record in disturbed if identity(record) == first and record["method"] == method]
    columns = min(len(kinds), 3)
    rows = -(-len(kinds) // columns)
    figure, axes = new_figure(rows, columns, max(3.2 * columns + 1.6, 8), 2.7 * rows + 0.5)
    for ax in axes.flat[len(kinds) :]:
        ax.set_axis_off()
    for ax, kind in zip(axes.flat, kinds, strict=False):
        same = [r for r in mine if r["variant"]["corruption"] == kind]
        shade_wake(ax, base + same)
        for record in base + same:
            result, severity = record["result"], record["variant"]["severity"]
            text = f"strength {severity}" if severity else "undisturbed"
            ax.plot(result["curves"]["T"], result["curves"]["mAP50-95"], color=COLOURS[severity], label=text)
            ax.axhline(result["ann"]["mAP50-95"], color=COLOURS[severity], linestyle="--", linewidth=0.8)
        over_time(ax, "mAP50-95", base + same, ylim=(0, None), title=kind)
    legend_beside(figure, axes[0, 0])
    measured_on(figure, disturbed)
    return figure
