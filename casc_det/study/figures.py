"""The figures of a study; each function takes records of `cells.jsonl` and returns a figure, or None without data."""

import numpy as np
import torch

from casc_det.activation import cqrelu_counts
from casc_det.neurons import NeuronParams, initial_state, neuron_step
from casc_det.plots import new_figure
from casc_det.schedule import wsc
from casc_det.study.cells import ERROR_POINTS
from casc_det.study.variants import Variant

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b")  # Okabe and Ito
GREY, WAKE = "0.45", "#fff3cf"


def network(record: dict) -> str:
    return Variant(**record["variant"]).network


def identity(record: dict) -> tuple:
    """What tells networks apart: files of one name may lie in several folders."""
    return record["variant"]["weights"], record["variant"]["levels"]


def clean(records: list[dict]) -> list[dict]:
    return [record for record in records if not record["variant"]["severity"]]


def plain(records: list[dict]) -> list[dict]:
    """CIF with WSC and nothing else changed, one for each network."""
    keys = ("hysteresis", "delay", "severity")
    rests = [r for r in records if (r["variant"]["neuron"], r["variant"]["schedule"]) == ("cif", "wsc")]
    return [record for record in rests if not any(record["variant"][key] for key in keys)]


def label(record: dict, records: list[dict]) -> str:
    """What sets a record apart from the others."""
    several = len({identity(r) for r in records}) > 1
    methods = len({r["method"] for r in records}) > 1
    parts = ([network(record)] if several else []) + ([record["method"]] if methods or not several else [])
    return ", ".join(parts)


def _measured_on(figure, records: list[dict]) -> None:
    """Name the pictures, and what the dashed lines are, above the axes."""
    record = records[0]
    sizes = "x".join(map(str, record["imgsz"]))
    text = f"{record['data']}, {record['result']['pictures']} pictures, {sizes} px; dashed: the ANN"
    figure.suptitle(text, fontsize=9)


def _wake(ax, records: list[dict]) -> None:
    """Shade wake, where all records have the same."""
    levels = {record["result"]["levels"] for record in records}
    if len(levels) == 1:
        ax.axvspan(0, levels.copy().pop(), color=WAKE, zorder=0, label="wake")


def _finish(ax, ylabel: str, **options) -> None:
    ax.set(xlabel="time step T", ylabel=ylabel, **options)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)


def _legend(figure, ax) -> None:
    """One legend for all axes, beside them."""
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper", fontsize=8)


def plot_map(records: list[dict]):
    """mAP over T, the ANN as a dashed line."""
    shown = clean(records)
    figure, axes = new_figure(1, 2, 11, 3.6)
    for ax, key in zip(axes[0], ("mAP50-95", "mAP50"), strict=True):
        _wake(ax, shown)
        drawn = set()
        for i, record in enumerate(shown):
            result, colour = record["result"], COLOURS[i % len(COLOURS)]
            ax.plot(result["curves"]["T"], result["curves"][key], color=colour, label=label(record, shown))
            if identity(record) not in drawn:
                ax.axhline(result["ann"][key], color=GREY, linestyle="--", linewidth=1)
                drawn.add(identity(record))
        _finish(ax, key, ylim=(0, None))
    _legend(figure, axes[0, 0])
    _measured_on(figure, shown)
    return figure


CURVES = (
    ("relative_error", "relative error of the readout", "linear"),
    ("mse", "MSE of the readout", "log"),
    ("at_rest", "share of pictures at rest", "linear"),
    ("firing_rate", "spikes per neuron and step", "linear"),
    ("sops", "synaptic operations so far", "linear"),
    ("energy_mJ", "energy so far, mJ", "linear"),
    ("seconds", "wall time so far, s (16 steps at once)", "linear"),
)


def plot_curves(records: list[dict]):
    """Errors, rest, activity and cost over T."""
    shown = clean(records)
    figure, axes = new_figure(2, 4, 15, 6)
    for ax, (key, title, scale) in zip(axes.flat, CURVES, strict=False):
        _wake(ax, shown)
        for i, record in enumerate(shown):
            curves = record["result"]["curves"]
            values = np.array(curves[key], dtype=float)
            if scale == "log":
                values[values <= 0] = np.nan
            ax.plot(curves["T"], values, color=COLOURS[i % len(COLOURS)], label=label(record, shown))
        if key == "energy_mJ":
            for energy in {record["result"]["ann"]["energy_mJ"] for record in shown}:
                ax.axhline(energy, color=GREY, linestyle="--", linewidth=1)
        _finish(ax, title, yscale=scale)
    axes[1, 3].set_axis_off()
    axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", fontsize=8)
    _measured_on(figure, shown)
    return figure


def plot_pareto(records: list[dict]):
    """mAP against energy and against T; policies as points."""
    shown = clean(records)
    figure, axes = new_figure(1, 2, 12, 4)
    marks = "osD^vP*X"
    for ax, key, point, title in (
        (axes[0, 0], "energy_mJ", "energy_mJ", "energy per picture, mJ"),
        (axes[0, 1], "T", "T_mean", "mean time step at which it stops"),
    ):
        anns = set()
        for i, record in enumerate(shown):
            result, colour = record["result"], COLOURS[i % len(COLOURS)]
            ax.plot(result["curves"][key], result["curves"]["mAP50-95"], color=colour, label=label(record, shown))
            for k, policy in enumerate(result["policies"] if record in plain(records) else ()):
                name = f"CIF + WSC, {policy['policy']}" if not anns else None
                options = {"color": colour, "edgecolor": "black", "zorder": 3, "s": 30}
                ax.scatter(policy[point], policy["mAP50-95"], marker=marks[k % len(marks)], label=name, **options)
            ann = result["ann"]
            if key == "energy_mJ" and (ann["mAP50-95"], ann["energy_mJ"]) not in anns:
                star = {"color": "black", "marker": "*", "s": 90, "zorder": 4, "label": None if anns else "ANN"}
                ax.scatter(ann["energy_mJ"], ann["mAP50-95"], **star)
            elif key == "T":
                ax.axhline(ann["mAP50-95"], color=GREY, linestyle="--", linewidth=1)
            anns.add((ann["mAP50-95"], ann["energy_mJ"]))
        ax.set(xlabel=title, ylabel="mAP50-95", ylim=(0, None))
        ax.grid(alpha=0.3)
    _legend(figure, axes[0, 0])
    _measured_on(figure, shown)
    return figure


def plot_mapping(levels: int):
    """Counts of IF and CIF neurons against their input, next to CQReLU: early and late input of one mean."""
    figure, axes = new_figure(1, 2, 9, 3.8)
    z = torch.linspace(-0.3, 1.3, 401, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(3 * levels, len(z), generator=random, dtype=torch.float64) * 0.8
    noise[levels:] = 0
    noise[:levels] -= noise[:levels].mean(0)  # over the whole wake the input is z
    params = NeuronParams(1.0, levels)
    for ax, kind in zip(axes[0], ("if", "cif"), strict=True):
        state = initial_state(z, params)
        for t in range(1, 3 * levels + 1):
            current = (z if t <= levels else torch.zeros_like(z)) + noise[t - 1]
            limit, low = wsc(levels).rule(kind, t, 0)
            _, state = neuron_step(current, state, params._replace(levels=limit, low=low))
        ax.plot(z, state.n, ".", color=COLOURS[1], markersize=3, label=f"{kind.upper()} neuron, unsteady input")
        ax.plot(z, cqrelu_counts(z, torch.tensor(1.0), levels), color="black", linewidth=1, label="CQReLU")
        ax.set(xlabel="mean input of the wake steps, in clips lam", ylabel=f"count after {3 * levels} steps")
        ax.set_yticks(range(0, levels + 2, max(levels // 8, 1)))
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    return figure


def plot_more_fewer(record: dict):
    """Share of neurons with more and with fewer spikes than the ANN: over T, and for each layer over T."""
    result = record["result"]
    curves, layers = result["curves"], result["layers"]
    figure, axes = new_figure(1, 3, 12, 3.8)
    _wake(axes[0, 0], [record])
    for key, colour in (("more", COLOURS[1]), ("fewer", COLOURS[0])):
        axes[0, 0].plot(curves["T"], curves[key], color=colour, label=f"{key} than the ANN")
    _finish(axes[0, 0], "share of neurons", ylim=(0, None))
    axes[0, 0].legend(fontsize=8)
    shares = {key: np.array(layers[key]) / np.array(layers["neurons"])[:, None] for key in ("more", "fewer")}
    top, order = max(share.max() for share in shares.values()), np.arange(1, len(layers["neurons"]) + 1)
    for ax, (key, share) in zip(axes[0, 1:], shares.items(), strict=True):
        image = ax.pcolormesh(curves["T"], order, share, cmap="magma_r", vmin=0, vmax=top, shading="nearest")
        ax.invert_yaxis()
        ax.axvline(result["levels"] + 0.5, color=COLOURS[5], linewidth=1, label="end of wake")
        ax.set(xlabel="time step T", ylabel="neuron layer", title=f"{key} spikes than the ANN")
        ax.legend(fontsize=7, loc="lower right")
    figure.colorbar(image, ax=axes[0, 1:], label="share of the layer")
    return figure


def plot_layer_error(record: dict):
    """Relative error of each layer's counts, a box for each layer over the pictures, at four times."""
    errors, levels = record["result"]["layers"]["error"], record["result"]["levels"]
    figure, axes = new_figure(len(ERROR_POINTS), 1, 11, 7.5)
    figure.suptitle(f"{record['result']['pictures']} pictures; box: quartiles, whiskers: 1.5 box lengths", fontsize=9)
    for ax, (t, table) in zip(axes[:, 0], errors.items(), strict=False):
        ax.boxplot(
            np.array(table).T,
            widths=0.6,
            flierprops={"markersize": 1.5, "markeredgecolor": GREY},
            medianprops={"color": COLOURS[1]},
        )
        ax.set_xticks(range(1, len(table) + 1, 4), range(1, len(table) + 1, 4), fontsize=7)
        ax.set_ylabel("relative error", fontsize=8)
        ax.set_title(f"T = {t} ({int(t) / levels:g} Q)", fontsize=9)
        ax.grid(alpha=0.3, axis="y")
    axes[-1, 0].set_xlabel("neuron layer, from the picture on")
    return figure


def plot_neurons(paths: list[dict], levels: int):
    """Potential and spikes of single neurons over time; see `casc_det.study.neurons`."""
    figure, axes = new_figure(len(paths), 1, 9, 1.9 * len(paths))
    for ax, path in zip(axes[:, 0], paths, strict=True):
        t = np.arange(1, len(path["potential"]) + 1)
        ax.axvspan(0.5, levels + 0.5, color=WAKE, zorder=0)
        ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.plot(t, path["potential"], color="black", linewidth=1)
        spikes = np.array(path["spikes"])
        for value, colour, at, name in ((1, COLOURS[0], 1.0, "sent"), (-1, COLOURS[1], 0.0, "taken back")):
            chosen = t[spikes == value]
            ax.scatter(chosen, np.full(len(chosen), at), color=colour, s=22, zorder=3, label=name)
        ax.set_ylabel("potential / theta", fontsize=8)
        text = f"{path['layer']}, channel {path['channel']}: count {path['count']}, ANN {path['ann']}"
        ax.set_title(text, fontsize=8, loc="left")
        ax.set_xlim(0.5, len(t) + 0.5)
    axes[0, 0].legend(fontsize=7, loc="upper right", ncols=2)
    axes[-1, 0].set_xlabel("time step t (wake shaded)")
    return figure


def plot_robustness(records: list[dict]):
    """mAP over T for each disturbance and severity, the ANN's under the same disturbance dashed."""
    disturbed = [record for record in records if record["variant"]["severity"]]
    kinds = list(dict.fromkeys(record["variant"]["corruption"] for record in disturbed))
    if not kinds:
        return None
    first = identity(disturbed[0])
    base = [record for record in plain(records) if identity(record) == first]
    figure, axes = new_figure(1, len(kinds), 3.0 * len(kinds) + 1, 3.4)
    for ax, kind in zip(axes[0], kinds, strict=True):
        same = [r for r in disturbed if r["variant"]["corruption"] == kind and identity(r) == first]
        _wake(ax, base + same)
        for i, record in enumerate(base + same):
            result, colour = record["result"], COLOURS[i % len(COLOURS)]
            ax.plot(result["curves"]["T"], result["curves"]["mAP50-95"], color=colour, label=record["disturbance"])
            ax.axhline(result["ann"]["mAP50-95"], color=colour, linestyle="--", linewidth=0.8)
        _finish(ax, "mAP50-95", ylim=(0, None), title=kind)
        ax.legend(fontsize=7, ncols=2, framealpha=0.5)
    _measured_on(figure, disturbed)
    return figure
