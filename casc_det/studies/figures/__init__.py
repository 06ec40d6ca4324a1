"""The figures of a study, each from records of `cells.jsonl`: a new one is a function, and one entry of `FIGURES`."""

from collections.abc import Callable
from dataclasses import dataclass

from casc_det.show.figures import Figure
from casc_det.studies.figures.accuracy import plot_map, plot_pareto, plot_robustness
from casc_det.studies.figures.bursts import plot_bursts
from casc_det.studies.figures.curves import plot_curves
from casc_det.studies.figures.layers import plot_layer_error, plot_more_fewer
from casc_det.studies.figures.neurons import plot_mapping, plot_neurons
from casc_det.studies.neurons import NeuronPath


@dataclass(frozen=True)
class Drawn:
    """What there is to draw.

    Attributes:
        records: of all cells, those of disturbed images last. base: the one that figures of a single cell show.
        paths: gives neurons of that cell, from the image of this name, by a simulation.
    """

    records: list[dict]
    base: dict
    paths: Callable[[], list[NeuronPath]]
    image: str


@dataclass(frozen=True)
class StudyFigure:
    """A figure, its caption in the page, and how it is drawn; None: there is nothing to draw."""

    caption: str
    draw: Callable[[Drawn], Figure | None]


FIGURES = {
    "map": StudyFigure(
        "mAP against time steps. Where a curve meets the dashed line, time is enough.",
        lambda drawn: plot_map(drawn.records),
    ),
    "bursts": StudyFigure(
        "What bursts change: mAP against time and against energy, a curve for each burst. Bursts of more unit spikes "
        "reach the same answer in fewer steps, and with fewer spikes that are taken back.",
        lambda drawn: plot_bursts(drawn.records),
    ),
    "curves": StudyFigure(
        "Why: error of the readout and activity. What it costs: operations, energy, time. The error of CIF with WSC "
        "goes to zero, and then no spike is sent any more.",
        lambda drawn: plot_curves(drawn.records),
    ),
    "pareto": StudyFigure(
        "What accuracy costs in energy and in time. The best curve lies furthest up and left; a marker above its curve "
        "would be an early exit that pays.",
        lambda drawn: plot_pareto(drawn.records),
    ),
    "robustness": StudyFigure(
        "Disturbed images; dashed: the ANN on the same images, whose answer is reached at quiescence.",
        lambda drawn: plot_robustness(drawn.records),
    ),
    "more_fewer": StudyFigure(
        "Neurons with more and with fewer spikes than the ANN asks for: what the last spikes correct. Deep layers come "
        "last.",
        lambda drawn: plot_more_fewer(drawn.base),
    ),
    "layer_error": StudyFigure(
        "Relative error of the counts, layer by layer, a box over the images: how errors grow with depth.",
        lambda drawn: plot_layer_error(drawn.base),
    ),
    "neurons": StudyFigure(
        "Four neurons of one image, those that correct themselves most. One that has sent Q unit spikes sends no more.",
        lambda drawn: plot_neurons(drawn.paths(), drawn.base, drawn.image),
    ),
    "mapping": StudyFigure(
        "What single neurons make of unsteady input: CIF takes back what was sent too early and ends on the staircase "
        "of its activation; IF, beside it for ReLU, does not.",
        lambda drawn: plot_mapping(drawn.base),
    ),
}
