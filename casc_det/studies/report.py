"""Figures (PNG and PDF), CSV of every curve, and one self-contained HTML page of a study."""

import base64
import csv
import html
import io
import json
import re
from pathlib import Path

from casc_det.base.files import without_nan, write_json, write_text
from casc_det.errors import OutputError
from casc_det.heads.detect.detections import Detections
from casc_det.show.figures import save_figures
from casc_det.show.images import jpeg_of
from casc_det.studies import figures
from casc_det.studies.cells import LEAST_MAP
from casc_det.studies.neurons import neuron_paths
from casc_det.studies.summary import answers, summarise
from casc_det.studies.traces import SHOWN
from casc_det.studies.variants import Variant

TEMPLATE, PAGE = Path(__file__).with_name("page.html"), "report.html"
TABLES = ("curves.csv", "policies.csv", "summary.json")
PICTURE_SIDE = 480  # pixels, of the example pictures in the page
PLAYED = 8  # cells whose boxes the page plays, at most: it stays below 8 MB

CAPTIONS = {
    "map": "mAP against time steps. Where a curve meets the dashed line, time is enough.",
    "curves": "Why: error of the readout and activity. What it costs: operations, energy, time. The error of CIF with "
    "WSC goes to zero, and then no spike is sent any more.",
    "pareto": "What accuracy costs in energy and in time. The best curve lies furthest up and left; a marker above its "
    "curve would be an early exit that pays.",
    "robustness": "Disturbed pictures; dashed: the ANN on the same pictures, whose answer is reached at rest.",
    "more_fewer": "Neurons with more and with fewer spikes than the ANN asks for: what the last spikes correct. Deep "
    "layers come last.",
    "layer_error": "Relative error of the counts, layer by layer, a box over the pictures: how errors grow with depth.",
    "neurons": "Four neurons of one picture, those that take back most. One that has sent Q spikes sends no more and "
    "keeps what is left.",
    "mapping": "What single IF and CIF neurons make of unsteady input: CIF takes back what was sent too early and ends "
    "on the staircase of CQReLU, IF does not.",
}


def write_report(it, records: list[dict]) -> list[str]:
    """Write tables, then figures, then `report.html` into the folder of a `Study`.

    Returns:
        A line for each figure, or the page, that could not be made.
    """
    records = figures.clean(records) + [record for record in records if record["variant"]["severity"]]
    write_curves(it.folder, records)
    cells = summarise(records)
    summary = {"answers": answers(records, cells), "cells": cells}
    summary |= {"problems": it.truth.problems, "damaged": it.truth.damaged}
    write_json(it.folder / "summary.json", summary)
    base = (figures.plain(records) or figures.clean(records))[0]
    made = {
        "map": lambda: figures.plot_map(records),
        "curves": lambda: figures.plot_curves(records),
        "pareto": lambda: figures.plot_pareto(records),
        "robustness": lambda: figures.plot_robustness(records),
        "more_fewer": lambda: figures.plot_more_fewer(base),
        "layer_error": lambda: figures.plot_layer_error(base),
        "neurons": lambda: figures.plot_neurons(paths(it, base), base),
        "mapping": lambda: figures.plot_mapping(base["result"]["levels"]),
    }
    problems = save_figures(it.folder, made, (".png", ".pdf"))
    try:
        write_page(it, records, summary)
    except OutputError:
        raise
    except Exception as error:  # it shows what comes from data; no page is worth the numbers
        (it.folder / PAGE).unlink(missing_ok=True)
        problems.append(f"{PAGE}: could not be made ({type(error).__name__}: {' '.join(str(error).split())})")
    return problems


def write_page(it, records: list[dict], summary: dict) -> Path:
    """Write the page of figures, tables and examples; it plays cells whose network is still at hand."""
    played = [record for record in figures.clean(records) if it.at_hand(record)][:PLAYED]
    stills = [still(picture) for picture in it.examples()]
    content = {
        "title": f"Spiking detection on {it.truth.name}",
        "about": about(it, records),
        "answers": summary["answers"],
        "summary": summary["cells"],
        "least_map": LEAST_MAP,
        "records": [page_record(record, records) for record in records],
        "examples": stills,
        "networks": [network(it, record, played, [image["scale"] for image in stills]) for record in played],
        "figures": [
            {"name": name, "title": title, "uri": uri("image/png", (it.folder / f"{name}.png").read_bytes())}
            for name, title in CAPTIONS.items()
            if (it.folder / f"{name}.png").is_file()
        ],
    }
    return write_text(it.folder / PAGE, page_of(content))


def page_of(content: dict) -> str:
    """The page with its data: no text of them can end the script that holds them, or be read as HTML."""
    text = json.dumps(without_nan(content), allow_nan=False, separators=(",", ":"))
    text = re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)  # they stand inside strings only
    filled = {"__TITLE__": html.escape(content["title"]), "__DATA__": text}
    return re.sub("__TITLE__|__DATA__", lambda match: filled[match[0]], TEMPLATE.read_text(encoding="utf-8"))


def paths(it, record: dict) -> list[dict]:
    """The neurons of `plot_neurons`, from the first example picture."""
    from casc_det.yolo.images import read_image
    from casc_det.yolo.letterbox import letterbox

    variant = Variant(**record["variant"])
    graph, names = it.graph(variant), record["result"]["layers"]["names"]
    picture = it.examples()[0]
    image = letterbox(read_image(picture.path).image, it.size, max(graph.strides), False)[None]
    found = neuron_paths(graph, image.to(graph.device, graph.dtype), variant, it.steps[-1])
    return [{**path, "number": names.index(path["layer"]) + 1, "picture": Path(picture.path).name} for path in found]


def about(it, records: list[dict]) -> str:
    made = records[0]["made"]
    weights = ", ".join(dict.fromkeys(figures.network(record) for record in records))
    sizes = "x".join(map(str, it.size))
    return (
        f"{weights}; {len(it.truth.images)} pictures of {it.truth.name}, {sizes} px; "
        f"casc_det {made['casc_det']}, torch {made['torch']}, {made['device']}, {made['threads']} threads"
    )


def write_curves(folder: Path, records: list[dict]) -> None:
    """`curves.csv`: a line for each cell and step; `policies.csv`: one for each cell and policy."""
    for file, rows in (("curves.csv", curve_rows(records)), ("policies.csv", policy_rows(records))):
        if not rows:
            continue
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(folder / file, text.getvalue())


def curve_rows(records: list[dict]) -> list[dict]:
    rows = []
    for record in records:
        curves = record["result"]["curves"]
        for values in zip(*curves.values(), strict=True):
            row = dict(zip(curves, values, strict=True))
            ann = {f"ann_{key}": record["result"]["ann"][key] for key in ("mAP50-95", "mAP50", "energy_mJ")}
            rows.append({**record["variant"], "levels": record["result"]["levels"], **row, **ann})
    return rows


def policy_rows(records: list[dict]) -> list[dict]:
    return [
        {**record["variant"], "levels": record["result"]["levels"], **policy}
        for record in records
        for policy in record["result"]["policies"]
    ]


def page_record(record: dict, records: list[dict]) -> dict:
    """What the page draws of a record."""
    result = record["result"]
    return {
        "name": figures.full_label(record, records),
        "disturbed": bool(record["variant"]["severity"]),
        "levels": result["levels"],
        "ann": result["ann"],
        "policies": result["policies"],
        "curves": {key: [round(v, 7) for v in values] for key, values in result["curves"].items()},
    }


def still(picture) -> dict:
    """An example picture, small, and the scale of its boxes."""
    from casc_det.yolo.images import read_image

    image = read_image(picture.path).image
    data, scale = jpeg_of(image, PICTURE_SIDE)
    height, width = (round(side * scale) for side in image.shape[:2])
    shown = {"uri": uri("image/jpeg", data), "width": width, "height": height, "scale": scale}
    return {"name": Path(picture.path).name, **shown}


def network(it, record: dict, records: list[dict], scales: list[float]) -> dict:
    """A cell as the page plays it: boxes and spikes by layer at each time step of the example pictures."""
    variant = Variant(**record["variant"])
    return {
        "name": figures.label(record, records),
        "names": it.graph(variant).names,
        "layers": record["result"]["layers"]["names"],
        "levels": record["result"]["levels"],
        "runs": [played_run(it, variant, *shown) for shown in zip(it.examples(), scales, strict=True)],
    }


def played_run(it, variant: Variant, picture, scale: float) -> dict:
    """The ANN's boxes, and boxes and spikes by layer at each time step."""
    trace = it.trace(variant, picture)

    def shown(found) -> list:
        rows = zip(found.boxes, found.scores, found.labels, strict=True)
        return [
            [*(round(float(v) * scale, 1) for v in box), round(float(score), 3), int(label)]
            for box, score, label in rows
            if score >= SHOWN
        ]

    steps = list(range(1, it.steps[-1] + 1))
    return {
        "rest": int(trace.rest),
        "ann": shown(Detections.of_table(trace.ann)),
        "boxes": [shown(trace.at(t)) for t in steps],
        "sent": trace.values("sent", steps).astype(int).tolist(),
        "taken": trace.values("taken_back", steps).astype(int).tolist(),
    }


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
