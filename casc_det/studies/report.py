"""What a study is made into: tables, a summary in words, figures (PNG and PDF), and the page."""

from functools import partial
from pathlib import Path

from casc_det.base.files import write_json
from casc_det.show.figures import attempt, save_figures
from casc_det.studies import tables
from casc_det.studies.cells import CellLoader
from casc_det.studies.figures import FIGURES, Drawn
from casc_det.studies.neurons import NeuronPath, neuron_paths
from casc_det.studies.page import PAGE, write_page
from casc_det.studies.records import clean, plain, variant_of
from casc_det.studies.runner import Study
from casc_det.studies.summary import answers, summarise

SUMMARY, SUFFIXES = "summary.json", (".png", ".pdf")
TABLES = (tables.CELLS, tables.CURVES, tables.LAYERS, tables.POLICIES)
FILES = (*TABLES, SUMMARY, PAGE, *(f"{name}{suffix}" for name in FIGURES for suffix in SUFFIXES))


def write_report(job: Study, loader: CellLoader, records: list[dict]) -> list[str]:
    """Write tables, then figures, then the page of all cells into the folder of a study.

    Returns:
        A line for each figure, or the page, that could not be made.
    """
    records = clean(records) + [record for record in records if record["variant"]["severity"]]
    cells = summarise(records)
    tables.write_tables(job.folder, records, cells)
    summary = {"answers": answers(records, cells), "cells": cells}
    write_json(job.folder / SUMMARY, summary | {"problems": job.truth.problems, "damaged": job.truth.damaged})
    base = (plain(records) or clean(records))[0]
    drawn = Drawn(records, base, lambda: paths(job, loader, base), Path(job.examples[0].path).name)
    figures = {name: partial(figure.draw, drawn) for name, figure in FIGURES.items()}
    problems = save_figures(job.folder, figures, SUFFIXES)
    if not attempt(f"{PAGE}: could not be made", lambda: write_page(job, loader, records, summary), problems):
        (job.folder / PAGE).unlink(missing_ok=True)
    return problems


def paths(job: Study, loader: CellLoader, record: dict) -> list[NeuronPath]:
    """Neurons of a cell that are drawn, from the first example."""
    cell = loader.load(variant_of(record))
    image, _ = job.input(cell, job.examples[0])
    return neuron_paths(cell.graph, image, cell.variant.simulation, job.settings.timesteps[-1])
