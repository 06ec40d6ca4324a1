"""The figures of a study; each function takes records of `cells.jsonl` and returns a figure, or None without data."""

import numpy as np
import torch

from casc_det.neurons import NeuronParams, initial_state, neuron_step
from casc_det.neurons.activation import cqrelu_counts
from casc_det.neurons.schedule import wsc
from casc_det.show.figures import literal, new_figure
from casc_det.studies.variants import Variant

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b")  # Okabe and Ito
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))  # of the second and third eight curves
GREY, WAKE = "0.45", "#fff3cf"
UNSEEN = 0.01  # share of the ANN's mAP below which a curve lies on the axis


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


def full_label(record: dict, records: list[dict]) -> str:
    """`label` and what disturbs the pictures."""
    return label(record, records) + (f", {record['disturbance']}" if record["variant"]["severity"] else "")


def _scored_label(record: dict, records: list[dict]) -> str:
    """`label`, and its largest mAP where the curve cannot be seen."""
    best = max(record["result"]["curves"]["mAP50-95"])
    unseen = best < UNSEEN * record["result"]["ann"]["mAP50-95"]
    return literal(label(record, records)) + (f" (at most {best:.1g})" if unseen else "")


def _style(i: int) -> dict:
    """Colour and dashes of the i-th curve, the same in all figures and in the page."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}


def _measured_on(figure, records: list[dict], note: str = "dashed: the ANN") -> None:
    """Name the pictures, and what the dashed lines are, above the axes."""
    record = records[0]
    sizes = "x".join(map(str, record["imgsz"]))
    text = f"{record['data']}, {record['result']['pictures']} pictures, {sizes} px; {note}"
    figure.suptitle(literal(text), fontsize=9)


def _wake(ax, records: list[dict]) -> None:
    """Shade wake up to between its last step and the first of sleep, where all records have the same."""
    levels = {record["result"]["levels"] for record in records}
    if len(levels) == 1:
        ax.axvspan(0, levels.copy().pop() + 0.5, color=WAKE, zorder=0, label="wake")


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
            result = record["result"]
            ax.plot(result["curves"]["T"], result["curves"][key], label=_scored_label(record, shown), **_style(i))
            if identity(record) not in drawn:
                ax.axhline(result["ann"][key], color=GREY, linestyle="--", linewidth=1)
                drawn.add(identity(record))
        _finish(ax, key, ylim=(0, None))
    _legend(figure, axes[0, 0])
    _measured_on(figure, shown)
    return figure


CURVES = (  # key, title, factor, options of the axes
    ("relative_error", "relative error of the readout", 1, {"ylim": (0, None)}),
    ("mse", "MSE of the readout (0 at rest)", 1, {"yscale": "log"}),
    ("at_rest", "share of pictures at rest", 1, {"ylim": (-0.03, 1.03)}),
    ("firing_rate", "spikes per neuron and step", 1, {"ylim": (0, None)}),
    ("sops", "operations so far, G SOPs", 1e-9, {"ylim": (0, None)}),
    ("energy_mJ", "energy so far, mJ", 1, {"ylim": (0, None)}),
    ("seconds", "wall time so far, s", 1, {"ylim": (0, None)}),
)


def plot_curves(records: list[dict]):
    """Errors, rest, activity and cost over T."""
    shown = clean(records)
    figure, axes = new_figure(2, 4, 13, 6)
    for ax, (key, title, factor, options) in zip(axes.flat, CURVES, strict=False):
        _wake(ax, shown)
        for i, record in enumerate(shown):
            curves = record["result"]["curves"]
            values = np.array(curves[key], dtype=float) * factor
            if "yscale" in options:
                values[values <= 0] = np.nan
            ax.plot(curves["T"], values, label=literal(label(record, shown)), **_style(i))
        if key == "energy_mJ":
            for energy in {record["result"]["ann"]["energy_mJ"] for record in shown}:
                ax.axhline(energy, color=GREY, linestyle="--", linewidth=1)
        _finish(ax, title, **options)
    axes[1, 3].set_axis_off()
    axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="upper left", fontsize=8)
    text = "Wall time: of the machine under\nthe load it had; chunks of 16 steps"
    axes[1, 3].text(0.0, 0.0, text, fontsize=8, transform=axes[1, 3].transAxes, va="bottom")
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
        anns, named = set(), set()
        for i, record in enumerate(shown):
            result, style = record["result"], _style(i)
            ax.plot(result["curves"][key], result["curves"]["mAP50-95"], label=_scored_label(record, shown), **style)
            for k, policy in enumerate(result["policies"] if record in plain(records) else ()):
                if not policy["stopped"]:  # it is no exit: the time was up first
                    continue
                options = {"color": style["color"], "edgecolor": "black", "zorder": 3, "s": 30}
                ax.scatter(policy[point], policy["mAP50-95"], marker=marks[k % len(marks)], **options)
                if policy["policy"] not in named:  # one entry of the legend for all networks
                    named.add(policy["policy"])
                    options |= {"color": "white", "label": f"early exit of CIF + WSC: {policy['policy']}"}
                    ax.scatter([], [], marker=marks[k % len(marks)], **options)
            ann = result["ann"]
            if key == "energy_mJ" and (ann["mAP50-95"], ann["energy_mJ"]) not in anns:
                star = {"color": "black", "marker": "*", "s": 90, "zorder": 4, "label": None if anns else "ANN"}
                ax.scatter(ann["energy_mJ"], ann["mAP50-95"], **star)
                if len({identity(r) for r in shown}) > 1:
                    place = {"xytext": (6, 5), "textcoords": "offset points", "fontsize": 7}
                    ax.annotate(literal(network(record)), (ann["energy_mJ"], ann["mAP50-95"]), **place)
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
    figure.suptitle(f"single neurons, Q = {levels}, random input in wake, then silence; no network", fontsize=9)
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
    top = max(share.max() for share in shares.values())
    for ax, (key, share) in zip(axes[0, 1:], shares.items(), strict=True):
        edges = [[0.5, *np.array(curves["T"]) + 0.5], np.arange(len(layers["neurons"]) + 1) + 0.5]
        image = ax.pcolormesh(*edges, share, cmap="magma_r", vmin=0, vmax=top)
        ax.invert_yaxis()
        ax.axvline(result["levels"] + 0.5, color=COLOURS[5], linewidth=1, label="end of wake")
        ax.set(xlabel="time step T", ylabel="neuron layer", title=f"{key} spikes than the ANN")
        ax.legend(fontsize=7, loc="lower right")
    figure.colorbar(image, ax=axes[0, 1:], label="share of the layer")
    _measured_on(figure, [record], f"{network(record)}, {record['method']}")
    return figure


def plot_layer_error(record: dict):
    """Relative error of each layer's counts, a box for each layer over the pictures, at up to four times."""
    errors, levels = record["result"]["layers"]["error"], record["result"]["levels"]
    if not errors:
        return None
    figure, axes = new_figure(len(errors), 1, 11, 0.9 + 1.65 * len(errors))
    note = "box: quartiles, whiskers: 1.5 box lengths"
    _measured_on(figure, [record], f"{network(record)}, {record['method']}; {note}")
    for ax, (t, table) in zip(axes[:, 0], errors.items(), strict=True):
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


def plot_neurons(paths: list[dict], record: dict):
    """Potential and spikes of single neurons over time; see `casc_det.studies.neurons`. record: of their cell."""
    levels = record["result"]["levels"]
    figure, axes = new_figure(len(paths), 1, 10, 1.9 * len(paths))
    for ax, path in zip(axes[:, 0], paths, strict=True):
        t = np.arange(1, len(path["potential"]) + 1)
        ax.axvspan(0.5, levels + 0.5, color=WAKE, zorder=0, label="wake")
        ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--", label="threshold")
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.plot(t, path["potential"], color="black", linewidth=1, label="potential after the spike")
        spikes = np.array(path["spikes"])
        for value, colour, at, name in ((1, COLOURS[0], 1.0, "sent"), (-1, COLOURS[1], 0.0, "taken back")):
            chosen = t[spikes == value]
            ax.scatter(chosen, np.full(len(chosen), at), color=colour, s=22, zorder=3, label=f"spike {name}")
        ax.set_ylabel("in thresholds", fontsize=8)
        text = f"layer {path['number']} ({path['layer']}), channel {path['channel']}: "
        text += f"count {path['count']} at the end, ANN {path['ann']}"
        ax.set_title(literal(text), fontsize=8, loc="left")
        ax.set_xlim(0.5, len(t) + 0.5)
    _legend(figure, axes[0, 0])
    axes[-1, 0].set_xlabel("time step t")
    figure.suptitle(literal(f"{network(record)}, {record['method']}, {paths[0]['picture']}"), fontsize=9)
    return figure


def plot_robustness(records: list[dict]):
    """mAP over T for each disturbance and severity, the ANN's under the same disturbance dashed."""
    disturbed = [record for record in records if record["variant"]["severity"]]
    kinds = list(dict.fromkeys(record["variant"]["corruption"] for record in disturbed))
    if not kinds:
        return None
    first = identity(disturbed[0])
    base = [record for record in plain(records) if identity(record) == first]
    columns = min(len(kinds), 3)
    rows = -(-len(kinds) // columns)
    figure, axes = new_figure(rows, columns, 3.2 * columns + 1.6, 2.7 * rows + 0.5)
    for ax in axes.flat[len(kinds) :]:
        ax.set_axis_off()
    for ax, kind in zip(axes.flat, kinds, strict=False):
        same = [r for r in disturbed if r["variant"]["corruption"] == kind and identity(r) == first]
        _wake(ax, base + same)
        for record in base + same:
            result, severity = record["result"], record["variant"]["severity"]
            text = f"strength {severity}" if severity else "undisturbed"
            ax.plot(result["curves"]["T"], result["curves"]["mAP50-95"], color=COLOURS[severity], label=text)
            ax.axhline(result["ann"]["mAP50-95"], color=COLOURS[severity], linestyle="--", linewidth=0.8)
        _finish(ax, "mAP50-95", ylim=(0, None), title=kind)
    _legend(figure, axes[0, 0])
    _measured_on(figure, disturbed)
    return figure
