"""Single neurons: what they make of unsteady input, and what four of a network do over time."""

import numpy as np
import torch

from casc_det.neurons import CIF, IF
from casc_det.neurons.activation import cqrelu_counts
from casc_det.neurons.rule import NeuronParams, initial_state
from casc_det.show.figures import Figure, literal, new_figure
from casc_det.studies.figures.style import COLOURS, GREY, WAKE, legend_beside
from casc_det.studies.neurons import NeuronPath
from casc_det.studies.records import network


def plot_mapping(levels: int) -> Figure:
    """Counts of IF and CIF neurons against their input, next to CQReLU: early and late input of one mean."""
    figure, axes = new_figure(1, 2, 9, 3.8)
    z = torch.linspace(-0.3, 1.3, 401, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(3 * levels, len(z), generator=random, dtype=torch.float64) * 0.8
    noise[levels:] = 0
    noise[:levels] -= noise[:levels].mean(0)  # over the whole wake the input is z
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


def plot_neurons(paths: list[NeuronPath], record: dict, image: str) -> Figure:
    """Potential and spikes of single neurons over time.

    Args:
        paths: see `casc_det.studies.neurons`. record: of their cell. image: the name of theirs.
    """
    levels = record["result"]["levels"]
    figure, axes = new_figure(len(paths), 1, 10, 1.9 * len(paths))
    for ax, path in zip(axes[:, 0], paths, strict=True):
        t, spikes = np.arange(1, len(path.potential) + 1), np.array(path.spikes)
        ax.axvspan(0.5, levels + 0.5, color=WAKE, zorder=0, label="wake")
        ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--", label="threshold")
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.plot(t, path.potential, color="black", linewidth=1, label="potential after the spike")
        for value, colour, at, name in ((1, COLOURS[0], 1.0, "sent"), (-1, COLOURS[1], 0.0, "taken back")):
            chosen = t[spikes == value]
            ax.scatter(chosen, np.full(len(chosen), at), color=colour, s=22, zorder=3, label=f"spike {name}")
        ax.set_ylabel("in thresholds", fontsize=8)
        text = f"layer {path.number} ({path.layer}), channel {path.channel}: "
        ax.set_title(literal(f"{text}count {path.count} at the end, ANN {path.ann}"), fontsize=8, loc="left")
        ax.set_xlim(0.5, len(t) + 0.5)
    legend_beside(figure, axes[0, 0])
    axes[-1, 0].set_xlabel("time step t")
    figure.suptitle(literal(f"{network(record)}, {record['method']}, {image}"), fontsize=9)
    return figure
