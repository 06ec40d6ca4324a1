"""`report.html`: one page with figures, tables and examples to play, which needs no network."""

import base64
import html
import json
import re
from pathlib import Path

from casc_det.base.files import without_nan, write_text
from casc_det.evaluation.truth import LabelledImage
from casc_det.heads.detect.detections import Detections
from casc_det.show.images import jpeg_of
from casc_det.studies.cells import Cell, CellLoader
from casc_det.studies.curves import LEAST_MAP
from casc_det.studies.figures import FIGURES
from casc_det.studies.records import clean, full_label, label, network
from casc_det.studies.runner import Study
from casc_det.studies.summary import PRICES, price_rows
from casc_det.studies.traces import SHOWN
from casc_det.yolo.images import read_image

TEMPLATE, PAGE = Path(__file__).with_name("page.html"), "report.html"
IMAGE_SIDE = 480  # pixels, of the examples in the page
PLAYED = 8  # cells whose boxes the page plays, at most: it stays below 8 MB


def write_page(job: Study, loader: CellLoader, records: list[dict], summary: dict) -> Path:
    """Write the page; it plays cells whose network is still at hand."""
    played = [(record, cell) for record in clean(records) if (cell := loader.at_hand(record))][:PLAYED]
    examples = [example(image) for image in job.examples]
    scales = [shown["scale"] for shown in examples]
    content = {
        "title": f"Spiking detection on {job.truth.name}",
        "about": about(job, records),
        "answers": summary["answers"],
        "summary": summary["cells"],
        "prices": {"rows": price_rows(summary["cells"]), "note": PRICES},
        "least_map": LEAST_MAP,
        "steps": job.settings.timesteps[-1],
        "records": [page_record(record, records) for record in records],
        "examples": examples,
        "networks": [
            {
                "name": label(record, [record for record, _ in played]),
                "names": cell.graph.names,
                "layers": record["result"]["layers"]["names"],
                "wake": record["result"]["wake"],
                "runs": [played_run(job, cell, *shown) for shown in zip(job.examples, scales, strict=True)],
            }
            for record, cell in played
        ],
        "figures": [
            {"name": name, "title": figure.caption, "uri": uri("image/png", (job.folder / f"{name}.png").read_bytes())}
            for name, figure in FIGURES.items()
            if (job.folder / f"{name}.png").is_file()
        ],
    }
    return write_text(job.folder / PAGE, page_of(content))


def page_of(content: dict) -> str:
    """The page with its data: no text of them can end the script that holds them, or be read as HTML."""
    text = json.dumps(without_nan(content), allow_nan=False, separators=(",", ":"))
    text = re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)  # they stand inside strings only
    filled = {"__TITLE__": html.escape(content["title"]), "__DATA__": text}
    return re.sub("__TITLE__|__DATA__", lambda match: filled[match[0]], TEMPLATE.read_text(encoding="utf-8"))


def about(job: Study, records: list[dict]) -> str:
    """Networks, data and machine in one line."""
    made = records[0]["made"]
    weights = ", ".join(dict.fromkeys(network(record) for record in records))
    sizes = "x".join(map(str, job.size))
    return (
        f"{weights}; {len(job.truth.images)} images of {job.truth.name}, {sizes} px; "
        f"casc_det {made['casc_det']}, torch {made['torch']}, {made['device']}, {made['threads']} threads"
    )


def page_record(record: dict, records: list[dict]) -> dict:
    """What the page draws of a record."""
    result = record["result"]
    return {
        "name": full_label(record, records),
        "disturbed": bool(record["variant"]["severity"]),
        "wake": result["wake"],
        "ann": result["ann"],
        "policies": result["policies"],
        "curves": {key: [round(v, 7) for v in values] for key, values in result["curves"].items()},
    }


def example(image: LabelledImage) -> dict:
    """An example, small, and the scale of its boxes."""
    pixels = read_image(image.path).image
    data, scale = jpeg_of(pixels, IMAGE_SIDE)
    height, width = (round(side * scale) for side in pixels.shape[:2])
    shown = {"uri": uri("image/jpeg", data), "width": width, "height": height, "scale": scale}
    return {"name": Path(image.path).name, **shown}


def played_run(job: Study, cell: Cell, image: LabelledImage, scale: float) -> dict:
    """The ANN's boxes, and boxes and unit spikes by layer at each time step up to rest."""
    trace = job.trace(cell, image)
    steps = range(1, len(trace.sops) + 1)
    return {
        "rest": int(trace.rest),
        "ann": shown_boxes(Detections.of_table(trace.ann), scale),
        "boxes": [shown_boxes(trace.at(t), scale) for t in steps],
        "sent": trace.values("sent", steps).astype(int).tolist(),
        "taken": trace.values("taken_back", steps).astype(int).tolist(),
    }


def shown_boxes(found: Detections, scale: float) -> list[list]:
    """[x1, y1, x2, y2, score, label] of the boxes that are shown, in pixels of the example."""
    rows = zip(found.boxes, found.scores, found.labels, strict=True)
    return [
        [*(round(float(v) * scale, 1) for v in box), round(float(score), 3), int(label)]
        for box, score, label in rows
        if score >= SHOWN
    ]


def uri(kind: str, data: bytes) -> str:
    """Data of a MIME type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
