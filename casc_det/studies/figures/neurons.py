"""Single neurons: what they make of unsteady input, and what four of a network do over time."""

import math

import numpy as np
import torch

from casc_det.graph import Neuron
from casc_det.neurons import CIF, IF
from casc_det.neurons.activation import cqrelu_counts
from casc_det.neurons.functions import counts_of, function_of
from casc_det.neurons.rule import NeuronParams, initial_state
from casc_det.neurons.schedule import Schedule, wsc
from casc_det.show.figures import Axes, Figure, literal, new_figure
from casc_det.studies.figures.style import COLOURS, GREY, WAKE, legend_beside
from casc_det.studies.neurons import NeuronPath
from casc_det.studies.records import network


def plot_mapping(record: dict) -> Figure:
    """Counts of single neurons against their input, next to the activation of a network; not of the network itself."""
    levels, tables = record["result"]["levels"], [text for text in record["activation"].split(" + ") if text != "relu"]
    if not tables:
        return plot_staircase(levels)
    plan = wsc(levels, burst=record["variant"]["burst"], ramp=record["variant"]["ramp"])
    return plot_function(Neuron("", ("",), levels=levels, lam=record["clip"], function=tables[0]), plan)


def unsteady(count: int, wake: int, steps: int, size: float) -> torch.Tensor:
    """(steps, count) random input that adds up to 0 over the wake steps and is 0 afterwards."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(steps, count, generator=random, dtype=torch.float64) * size
    noise[wake:] = 0
    noise[:wake] -= noise[:wake].mean(0)
    return noise


def plot_staircase(levels: int) -> Figure:
    """Counts of IF and CIF neurons against their input, next to CQReLU: early and late input of one mean."""
    figure, axes = new_figure(1, 2, 9, 3.8)
    z = torch.linspace(-0.3, 1.3, 401, dtype=torch.float64)
    noise = unsteady(len(z), levels, 3 * levels, 0.8)
    params = NeuronParams(1.0, levels)
    for ax, kind in zip(axes[0], (IF, CIF), strict=True):
        state = initial_state(z, params)
        for t in range(1, 3 * levels + 1):
            current = (z if t <= levels else torch.zeros_like(z)) + noise[t - 1]
            _, state = kind(current, state, params)
        ax.plot(z, state.n, ".", color=COLOURS[1], markersize=3, label=f"{kind.title} neuron, unsteady input")
        ax.plot(z, cqrelu_counts(z, torch.tensor(1.0), levels), color="black", linewidth=1, label="CQReLU")
        ax.set(xlabel="mean input of the wake steps, in clips lam", ylabel=f"count after {3 * levels} steps")
        ax.set_yticks(range(0, levels + 2, max(levels // 8, 1)))
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    figure.suptitle(f"single neurons, Q = {levels}, random input in wake, then silence; no network", fontsize=9)
    return figure


def plot_function(neuron: Neuron, plan: Schedule) -> Figure:
    """Counts of CIF neurons that follow a table: at the end against their input, and of five of them over time.

    Args:
        neuron: levels, clip and function of theirs.
    """
    levels, clip, function = neuron.levels, neuron.lam, function_of(neuron.function)
    turn = function.entry.turn
    z = torch.linspace(min(-clip, 3 * turn) if math.isfinite(turn) else -clip, 1.2 * clip, 401, dtype=torch.float64)
    counts = counts_over_time(neuron, plan, z)
    figure, axes = new_figure(1, 2, 11, 3.8)
    left, right = axes[0]
    left.plot(z, counts[-1], ".", color=COLOURS[1], markersize=3, label="CIF neuron, unsteady input")
    left.plot(
        z,
        function(z) * levels / clip,
        color=GREY,
        linewidth=0.8,
        label=f"{neuron.function}, in steps of {clip / levels:.3g}",
    )
    wanted = counts_of(function, z, clip, levels)
    left.plot(z, wanted, color="black", linewidth=1, label=f"quantised {neuron.function}")
    left.set(xlabel="input of the whole wake", ylabel=f"count after {len(counts)} steps", ylim=(None, 1.15 * levels))
    right.axvspan(0.5, (plan.wake or 0) + 0.5, color=WAKE, zorder=0, label="wake")
    for i, place in enumerate((40, 120, 200, 280, 360)):
        right.step(
            range(1, len(counts) + 1), counts[:, place], where="mid", color=COLOURS[i], label=f"input {z[place]:.2f}"
        )
        right.axhline(float(wanted[place]), color=COLOURS[i], linestyle=":", linewidth=0.8)
    right.set(xlabel="time step t", ylabel="count; dotted: what the activation asks for")
    for ax in (left, right):
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.legend(fontsize=7)
        ax.grid(alpha=0.3)
    how = f"bursts of {plan.burst}{', ramp rule' if plan.ramp else ''}"
    text = f"single neurons, Q = {levels}, {how}, random input in wake, then silence; no network"
    figure.suptitle(text, fontsize=9)
    return figure


def counts_over_time(neuron: Neuron, plan: Schedule, z: torch.Tensor) -> torch.Tensor:
    """(steps, len(z)) counts of CIF neurons whose input of the whole wake is z, come unsteadily, up to rest."""
    neuron, wake = neuron.with_table(1, z.dtype), plan.wake or 0
    least, most = neuron.span
    steps = wake + -(-(most - least) // plan.burst)
    noise = unsteady(len(z), wake, steps, 0.8 * plan.burst)
    state, counts = None, []
    for t in range(1, steps + 1):
        table = neuron.table_at(plan.rule(CIF.name, t, 0).ramp)
        params = NeuronParams(1.0, neuron.levels, gamma=plan.burst, n_min=least, table=table)
        share = plan.injected(t) - plan.injected(t - 1)
        current = (z / neuron.lam * share + noise[t - 1]).view(1, 1, 1, -1)
        _, state = CIF(current, state or initial_state(current, params), params)
        counts.append(state.n.flatten())
    return torch.stack(counts)


def plot_neurons(paths: list[NeuronPath], record: dict, image: str) -> Figure:
    """Single neurons over time: potential and spikes; of those with a table the counts that it asks for, and theirs.

    Args:
        paths: see `casc_det.studies.neurons`. record: of their cell. image: the name of theirs.
    """
    figure, axes = new_figure(len(paths), 1, 10, 1.9 * len(paths))
    for ax, path in zip(axes[:, 0], paths, strict=True):
        t, spikes = np.arange(1, len(path.potential) + 1), np.array(path.spikes)
        ax.axvspan(0.5, record["result"]["wake"] + 0.5, color=WAKE, zorder=0, label="wake")
        ax.axhline(0, color=GREY, linewidth=0.8)
        levels = followed(ax, path, path.wanted) if path.wanted else potential(ax, path)
        for name, chosen, colour, height in (
            ("sent", spikes > 0, COLOURS[0], levels[0]),
            ("taken back", spikes < 0, COLOURS[1], levels[1]),
        ):
            ax.scatter(t[chosen], height[chosen], color=colour, s=22, zorder=3, label=f"spikes {name}")
        for place, size in zip(t[abs(spikes) > 1], spikes[abs(spikes) > 1], strict=True):
            height = levels[0 if size > 0 else 1][place - 1]
            ax.annotate(f"{size:+d}", (place, height), xytext=(4, 3), textcoords="offset points", fontsize=6)
        text = f"layer {path.number} ({path.node.name}), channel {path.channel}: "
        ax.set_title(literal(f"{text}count {path.counts[-1]} at the end, ANN {path.ann}"), fontsize=8, loc="left")
        ax.set_xlim(0.5, len(t) + 0.5)
    legend_beside(figure, axes[0, 0])
    axes[-1, 0].set_xlabel("time step t")
    figure.suptitle(literal(f"{network(record)}, {record['method']}, {image}"), fontsize=9)
    return figure


def potential(ax: Axes, path: NeuronPath) -> tuple[np.ndarray, np.ndarray]:
    """Draw the potential between spikes; at which heights spikes that are sent, and taken back, are marked."""
    t = np.arange(1, len(path.potential) + 1)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--", label="threshold")
    ax.plot(t, path.potential, color="black", linewidth=1, label="potential after the spike")
    ax.set_ylabel("in thresholds", fontsize=8)
    return np.ones(len(t)), np.zeros(len(t))


def followed(ax: Axes, path: NeuronPath, wanted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the count and what the potential asks for; spikes are marked where they bring the count to."""
    t = np.arange(1, len(path.potential) + 1)
    ax.step(t, wanted, where="mid", color=COLOURS[5], alpha=0.5, linewidth=4, label="asked for by the potential")
    ax.step(t, path.counts, where="mid", color="black", linewidth=1, label="count")
    ax.set_ylabel("unit spikes", fontsize=8)
    ax.margins(y=0.2)
    return np.array(path.counts), np.array(path.counts)
