"""What the layers do: which neurons are ahead of the ANN or behind it, and how errors grow with depth."""

import numpy as np

from casc_det.show.figures import Figure, new_figure
from casc_det.studies.figures.style import COLOURS, GREY, last_change, measured_on, over_time, shade_wake
from casc_det.studies.records import network


def plot_more_fewer(record: dict) -> Figure:
    """Share of neurons with more and with fewer spikes than the ANN: over T, and for each layer over T."""
    result = record["result"]
    curves, layers = result["curves"], result["layers"]
    figure, axes = new_figure(1, 3, 12, 3.8)
    whole = axes[0, 0]
    shade_wake(whole, [record])
    for key, colour in (("more", COLOURS[1]), ("fewer", COLOURS[0])):
        whole.plot(curves["T"], curves[key], color=colour, label=f"{key} than the ANN")
    over_time(whole, "share of neurons", [record], ylim=(0, None))
    whole.legend(fontsize=8)
    shares = {key: np.array(layers[key]) / np.array(layers["neurons"])[:, None] for key in ("more", "fewer")}
    top = max(share.max() for share in shares.values())
    edges = ([0.5, *np.array(curves["T"]) + 0.5], np.arange(len(layers["neurons"]) + 1) + 0.5)
    for ax, (key, share) in zip(axes[0, 1:], shares.items(), strict=True):
        mesh = ax.pcolormesh(*edges, share, cmap="magma_r", vmin=0, vmax=top)
        ax.invert_yaxis()
        ax.axvline(result["wake"] + 0.5, color=COLOURS[5], linewidth=1, label="end of wake")
        ax.set_xlim(right=last_change(record) + 0.5)
        ax.set(xlabel="time step T", ylabel="neuron layer", title=f"{key} spikes than the ANN")
        ax.legend(fontsize=7, loc="lower right")
    figure.colorbar(mesh, ax=axes[0, 1:], label="share of the layer")
    measured_on(figure, [record], f"{network(record)}, {record['method']}")
    return figure


def plot_layer_error(record: dict) -> Figure | None:
    """Relative error of each layer's counts, a box for each layer over the images, at up to four times."""
    errors, wake = record["result"]["layers"]["error"], record["result"]["wake"]
    if not errors:
        return None
    figure, axes = new_figure(len(errors), 1, 11, 0.9 + 1.65 * len(errors))
    note = "box: quartiles, whiskers: 1.5 box lengths"
    measured_on(figure, [record], f"{network(record)}, {record['method']}; {note}")
    for ax, (t, table) in zip(axes[:, 0], errors.items(), strict=True):
        dots = {"markersize": 1.5, "markeredgecolor": GREY}
        ax.boxplot(np.array(table).T, widths=0.6, flierprops=dots, medianprops={"color": COLOURS[1]})
        ax.set_xticks(range(1, len(table) + 1, 4), range(1, len(table) + 1, 4), fontsize=7)
        ax.set_ylabel("relative error", fontsize=8)
        ax.set_title(f"T = {t} ({int(t) / wake:.3g} times wake)", fontsize=9)
        ax.grid(alpha=0.3, axis="y")
    axes[-1, 0].set_xlabel("neuron layer, from the image on")
    return figure
