"""Errors, rest, activity and cost over time."""

import numpy as np

from casc_det.show.figures import Figure, literal, new_figure
from casc_det.studies.figures.style import GREY, measured_on, over_time, shade_wake, style
from casc_det.studies.records import clean, label

CURVES: tuple[tuple[str, str, float, dict], ...] = (  # key, title, factor, options of the axes
    ("relative_error", "relative error of the readout", 1, {"ylim": (0, None)}),
    ("mse", "MSE of the readout (0 at quiescence)", 1, {"yscale": "log"}),
    ("at_rest", "share of images quiescent", 1, {"ylim": (-0.03, 1.03)}),
    ("firing_rate", "unit spikes per neuron and step", 1, {"ylim": (0, None)}),
    ("sops", "operations so far, G SOPs", 1e-9, {"ylim": (0, None)}),
    ("energy_mJ", "energy so far, mJ", 1, {"ylim": (0, None)}),
    ("seconds", "wall time so far, s", 1, {"ylim": (0, None)}),
)


def plot_curves(records: list[dict]) -> Figure:
    """Each of `CURVES` over T, the ANN's energy as a dashed line."""
    shown = clean(records)
    figure, axes = new_figure(2, 4, 13, 6)
    for ax, (key, title, factor, options) in zip(axes.flat, CURVES, strict=False):
        shade_wake(ax, shown)
        for i, record in enumerate(shown):
            curves = record["result"]["curves"]
            values = np.array(curves[key], dtype=float) * factor
            if "yscale" in options:
                values[values <= 0] = np.nan
            ax.plot(curves["T"], values, label=literal(label(record, shown)), **style(i))
        if key == "energy_mJ":
            for energy in {record["result"]["ann"]["energy_mJ"] for record in shown}:
                ax.axhline(energy, color=GREY, linestyle="--", linewidth=1)
        over_time(ax, title, shown, **options)
    last = axes[1, 3]
    last.set_axis_off()
    last.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper left", fontsize=8)
    text = "Wall time: of the machine under\nthe load it had; several steps at once"
    last.text(0.0, 0.0, text, fontsize=8, transform=last.transAxes, va="bottom")
    measured_on(figure, shown)
    return figure
