"""Figures (PNG and PDF), CSV of every curve, and one self-contained HTML page of a study."""

import base64
import csv
import io
import json
from pathlib import Path

from casc_det.draw import jpeg_of
from casc_det.files import without_nan, write_bytes, write_json
from casc_det.plots import save_figure
from casc_det.study import figures
from casc_det.study.cells import ENOUGH, SHOWN, smallest_step
from casc_det.study.neurons import neuron_paths
from casc_det.study.traces import Trace, as_boxes
from casc_det.study.variants import Variant

TEMPLATE = Path(__file__).with_name("page.html")
PICTURE_SIDE = 480  # pixels, of the example pictures in the page
PLAYED = 8  # cells whose boxes the page plays, at most: it stays below 8 MB


def write_report(it, records: list[dict]) -> Path:
    """Write figures, tables and `report.html` into the folder of a `Study`; returns the page."""
    base = (figures.plain(records) or figures.clean(records))[0]
    variant = Variant(**base["variant"])
    made = {
        "map": (figures.plot_map(records), "mAP against time steps"),
        "curves": (figures.plot_curves(records), "Error, rest, activity and cost against time steps"),
        "pareto": (figures.plot_pareto(records), "What accuracy costs: energy and time, with policies of early exit"),
        "robustness": (figures.plot_robustness(records), "Disturbed pictures; dashed: the ANN on the same pictures"),
        "more_fewer": (figures.plot_more_fewer(base), "Neurons with more and with fewer spikes than the ANN"),
        "layer_error": (figures.plot_layer_error(base), "Relative error of the counts, layer by layer"),
        "neurons": (figures.plot_neurons(paths(it, variant), base["result"]["levels"]), "Four neurons"),
        "mapping": (figures.plot_mapping(base["result"]["levels"]), "What IF and CIF neurons make of their input"),
    }
    for name, (figure, _) in made.items():
        for file in (it.folder / f"{name}.png", it.folder / f"{name}.pdf"):
            if figure is None:
                file.unlink(missing_ok=True)
            else:
                save_figure(figure, file)
    made = {name: entry for name, entry in made.items() if entry[0] is not None}
    write_curves(it.folder, records)
    summary = summarise(records)
    played = figures.clean(records)[:PLAYED]
    stills = [still(picture) for picture in it.examples()]
    write_json(it.folder / "summary.json", summary)
    content = {
        "title": f"Spiking detection on {it.truth.name}",
        "about": about(it, records),
        "summary": [line for entry in summary for line in entry["words"]],
        "records": [page_record(record, records) for record in records],
        "examples": stills,
        "networks": [network(it, record, played, [image["scale"] for image in stills]) for record in played],
        "figures": [
            {"name": name, "title": title, "uri": uri("image/png", (it.folder / f"{name}.png").read_bytes())}
            for name, (_, title) in made.items()
        ],
    }
    text = json.dumps(without_nan(content), allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    page = TEMPLATE.read_text().replace("__TITLE__", content["title"]).replace("__DATA__", text)
    return write_bytes(it.folder / "report.html", page.encode())


def paths(it, variant: Variant) -> list[dict]:
    """The neurons of `plot_neurons`, from the first example picture."""
    from casc_det.yolo.sources import letterbox, read_picture

    graph = it.graph(variant)
    image = letterbox(read_picture(it.examples()[0].path).image, it.size, max(graph.strides), False)[None]
    return neuron_paths(graph, image.to(graph.device, graph.dtype), variant, it.steps[-1])


def summarise(records: list[dict]) -> list[dict]:
    """For each clean cell: the steps with 99 % and 100 % of the ANN's mAP50-95, and a sentence about them."""
    shown, result = figures.clean(records), []
    for record in shown:
        cell, curves = record["result"], record["result"]["curves"]
        name, ann = figures.label(record, shown), cell["ann"]
        entry = {"name": name, "ann": ann, "levels": cell["levels"]}
        parts = []
        for share in ENOUGH:
            kept, first = (smallest_step(cell, share, k) for k in (True, False))
            entry[f"T for {share:.0%}"], entry[f"first T with {share:.0%}"] = kept, first
            if kept is None:
                some = f"at T = {first}, but not for good" if first else "not reached"
                parts.append(f"{share:.0%} {some} up to T = {curves['T'][-1]}")
            else:
                spent = [curves["energy_mJ"][curves["T"].index(t)] for t in (first, kept)]
                good = f", for good from T = {kept} ({spent[1]:.2f} mJ)" if kept > first else ""
                parts.append(f"{share:.0%} at T = {first} ({spent[0]:.2f} mJ){good}")
        parts = [", ".join(parts)]
        if entry["first T with 99%"] is None:
            parts.append(f"its best mAP50-95 is {max(curves['mAP50-95']):.4f}")
        rests = [t for t in cell["steps_to_rest"] if t]
        if rests:
            end = "the boxes are the ANN's" if Variant(**record["variant"]).rests else "nothing changes any more"
            parts.append(
                f"{len(rests)} of {cell['pictures']} pictures come to rest, after {min(rests)} to {max(rests)} steps, "
                f"and then {end}"
            )
        ends = f"{ann['mAP50-95']:.4f}, {ann['energy_mJ']:.2f} mJ a picture"
        entry["words"] = [f"{name}: of the ANN's mAP50-95 ({ends}): {'; '.join(parts)}."]
        result.append(entry)
    return result


def about(it, records: list[dict]) -> str:
    made = records[0]["made"]
    weights = ", ".join(dict.fromkeys(figures.network(record) for record in records))
    sizes = "x".join(map(str, it.size))
    return (
        f"{weights}; {len(it.truth.pictures)} pictures of {it.truth.name}, {sizes} px; "
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
        write_bytes(folder / file, text.getvalue().encode())


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
    return [{**record["variant"], **policy} for record in records for policy in record["result"]["policies"]]


def page_record(record: dict, records: list[dict]) -> dict:
    """What the page draws of a record."""
    result = record["result"]
    name = figures.label(record, records) + (f", {record['disturbance']}" if record["variant"]["severity"] else "")
    return {
        "name": name,
        "levels": result["levels"],
        "ann": result["ann"],
        "policies": result["policies"],
        "curves": {key: [round(v, 7) for v in values] for key, values in result["curves"].items()},
        "enough": {f"{share:.0%}": smallest_step(result, share) for share in ENOUGH},
    }


def still(picture) -> dict:
    """An example picture, small, and the scale of its boxes."""
    from casc_det.yolo.sources import read_picture

    image = read_picture(picture.path).image
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
    trace = Trace.load(it.trace_file(variant, picture))

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
        "ann": shown(as_boxes(trace.ann)),
        "boxes": [shown(trace.at(t)) for t in steps],
        "sent": trace.values("sent", steps).astype(int).tolist(),
        "taken": trace.values("taken_back", steps).astype(int).tolist(),
    }


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
