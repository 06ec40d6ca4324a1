"""The tables of the pages, as Markdown, each from the content of its records (JSON files of weights/ and tools/).

Every function takes the content of one or more records and gives a table and the line below it. `TABLES` says which
table is made of which files; `tools/update_tables.py` writes them into the pages.
"""

import math
from collections.abc import Callable, Iterable

from casc_det.studies.summary import rows

ROWS = {"float": "float teacher (SiLU)", "ann": "CQReLU ANN"}
RUNS = {  # records that are copies of `results.json` of `casc-det val`
    **{
        f"cq{q}.{what}": f"weights/yolov8n-cq{q}.{what}.json"
        for q in (16, 8)
        for what in ("coco", "coco640", "voc", "saving")
    },
    "bccd": "weights/yolov8n-bccd-cq16.bccd.json",
    "float64": "weights/yolov8n-cq16-float.coco.float64.json",
    "float32": "weights/yolov8n-cq16-float.coco.float32.json",
}


def grid(head: Iterable[str], lines: Iterable[Iterable[str]], below: str = "") -> str:
    """A Markdown table of texts, with a paragraph below it."""
    head = list(head)
    shown = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    shown.insert(1, "|" + " --- |" * len(head))
    return "\n".join(shown) + (f"\n\n{below}" if below else "")


def scores(content: dict) -> str:
    """Each row's mAP, gap to the ANN, cost and quiescence."""
    settings, levels = content["settings"], content["settings"]["levels"]
    voc = "mAP50 VOC07" in content["rows"][0]
    columns = ("mAP50-95", "mAP50 VOC07", "mAP50 VOC12") if voc else ("mAP50-95", "mAP50")
    lines = []
    for row in content["rows"]:
        name, t = ROWS.get(row["network"]), row["timesteps"]
        if t is not None:
            steps = f"{row['steps_mean']:.1f} on average" if t == "auto" else f"{t / levels:g} Q"
            name = f"SNN, T = {t} ({steps})"
        gap = "{gap_to_ann:+.4f} ({gap_95[0]:+.4f} to {gap_95[1]:+.4f})".format(**row) if "gap_95" in row else ""
        spikes = f"{row['spikes'] / 1e6:.2f}" if "spikes" in row else ""
        sops = f"{row['sops'] / 1e9:.2f}" if "sops" in row else ""
        energy, rest = f"{row['energy_mJ']:.2f}" if "energy_mJ" in row else "", row.get("quiescent")
        cells = [name, *(f"{row[column]:.4f}" for column in columns), gap, spikes, sops, energy]
        lines.append([*cells, "" if rest is None else f"{rest:.0%}"])
    final, kind = content["rows"][-1], "integers" if settings.get("integer") else settings["dtype"]
    return grid(
        ["network", *columns, "gap to the ANN, 95 % interval", "M spikes", "G SOPs", "energy, mJ", "quiescent"],
        lines,
        f"{settings['pictures']} images, {settings['imgsz'][0]} px square, {kind}. At quiescence "
        f"{final['neurons_different']} neurons of all images together differ from the ANN; largest readout difference "
        f"{final['difference_max']:.1e}.",
    )


def sizes(content: dict) -> str:
    """AP50-95 of float network and ANN by object size (COCO: areas below 32^2, below 96^2, above)."""
    sides = ("small", "medium", "large")
    rows = [row for row in content["rows"] if row["network"] in ROWS]
    return grid(
        ["network, 640 px", *(f"AP of {side} objects" for side in sides)],
        ([ROWS[row["network"]], *(f"{row[f'mAP {side}']:.2f}" for side in sides)] for row in rows),
    )


def figures(cq16: dict, cq16_640: dict, saving16: dict, cq8: dict, cq8_640: dict, saving8: dict) -> str:
    """The shipped detectors in one table: accuracy at two sizes, time and energy."""
    find = lambda content, network, t=None: next(
        row for row in content["rows"] if row["network"] == network and row["timesteps"] == t
    )
    teacher = [find(content, "float")["mAP50-95"] for content in (cq16, cq16_640)]
    lines = [["float teacher YOLOv8n (SiLU)", "", "", f"{teacher[0]:.4f}", f"{teacher[1]:.4f}", "100 %", ""]]
    for name, small, large, saving in (
        ("yolov8n-cq16", cq16, cq16_640, saving16),
        ("yolov8n-cq8", cq8, cq8_640, saving8),
    ):
        settings, ann = small["settings"], find(small, "ann")["energy_mJ"]
        enough = 0.99 * find(small, "ann")["mAP50-95"]
        first = next(row["timesteps"] for row in small["rows"] if row["network"] == "snn" and row["mAP50-95"] >= enough)
        kept = {key: saving["settings"][key] for key in ("hysteresis", "delay")}
        variant = next(f"{key}={value:g}" for key, value in kept.items() if value)
        for what, run, big, t in (
            ("99 % of its ANN", small, large, first),
            ("at quiescence", small, large, "auto"),
            (f"at quiescence, `{variant}`", saving, None, "auto"),
        ):
            row = find(run, "snn", t)
            steps = f"{row['steps_mean']:.1f}" if t == "auto" else str(t)
            cells = [f"`{name}`, {what}", str(settings["levels"]), steps, f"{row['mAP50-95']:.4f}"]
            big = find(big, "snn", t)["mAP50-95"] if big else None
            cells += [f"{big:.4f}", f"{big / teacher[1]:.1%}".replace("%", " %")] if big else ["", ""]
            lines.append([*cells, f"{row['energy_mJ'] / ann:.2f}"])
    return grid(
        ["network", "Q", "T, 320 px", "mAP50-95, 320 px", "640 px", "of the teacher", "energy, ANN = 1, 320 px"],
        lines,
        f"{cq16['settings']['pictures']} images of coco-mini val2017. At quiescence T is a mean, the answer the ANN's.",
    )


def precision(*contents: dict) -> str:
    """ANN and spiking network at quiescence in each kind of arithmetic."""
    lines = []
    for content in contents:
        ann, final = next(r for r in content["rows"] if r["network"] == "ann"), content["rows"][-1]
        settings = content["settings"]
        kind = "integers, 8-bit weights" if settings.get("integer") else f"real-valued, {settings['dtype']}"
        maps = [f"{row['mAP50-95']:.4f} / {row['mAP50']:.4f}" for row in (ann, final)]
        cells = [kind, str(settings["imgsz"][0]), *maps, f"{final['neurons_different']:,}"]
        lines.append([*cells, f"{final['difference_max']:.1e}", f"{final['same_boxes']:.0%}"])
    head = ["arithmetic", "px", "ANN mAP50-95 / mAP50", "SNN at quiescence", "neurons different"]
    return grid([*head, "largest readout difference", "same boxes"], lines)


CONTENDERS = {"fast": "casc_det fast", "reference": "casc_det reference", "spikingjelly": "SpikingJelly 2.0.0"}
CONTENDERS |= {"plain": "plain torch loop"}
INT8 = {"onnxruntime": "8-bit ANN, onnxruntime", "openvino": "8-bit ANN, OpenVINO"}
PLACE = ("network", "imgsz", "batch")


def cell_of(cells: list[dict], **keys: object) -> dict | None:
    """The first cell of a benchmark with these values."""
    return next((cell for cell in cells if all(cell.get(key) == value for key, value in keys.items())), None)


def bench(content: dict) -> str:
    """Milliseconds an image, and time per step in ANN forward passes, of each engine."""
    cells = content["cells"]
    whats = [what for what in CONTENDERS if cell_of(cells, what=what)]
    lines = []
    for cell in (c for c in cells if c["what"] == whats[0] and not c.get("moment")):
        place = {key: cell[key] for key in PLACE if key in cell}
        ann = cell_of(cells, what="ann", **place)
        line = [*map(str, place.values()), str(cell["timesteps"]), f"{ann['ms_per_picture']:.1f}"]
        same = {key: cell.get(key) for key in ("burst", "ramp", "moment", "timesteps")}
        for what in whats:
            c = cell_of(cells, what=what, **same, **place)
            line.append(
                f"{c['ms_per_picture']:.0f} ({c['ratio_per_step']:.2f}; {c.get('peak_mb', math.nan):.0f})" if c else ""
            )
        lines.append(line)
    names = ["network"] if "network" in cells[0] else []
    head = [*names, "px", "batch", "T", "ANN, ms", *(f"{CONTENDERS[what]}, ms (ANNs per step; MB)" for what in whats)]
    return grid(head, lines, made_by(content))


def bursts(content: dict) -> str:
    """For each burst the steps of 99 % and of quiescence, and what they take of each contender, in ANN forwards."""
    cells = content["cells"]
    whats = [what for what in CONTENDERS if cell_of(cells, what=what)]
    rivals = [what for what in INT8 if cell_of(cells, what=what)]
    lines = []
    for first in (c for c in cells if c["what"] == whats[0] and c["moment"] == "rest"):
        place = {key: first[key] for key in PLACE}
        ann = cell_of(cells, what="ann", **place)
        line = [*map(str, place.values()), f"{ann['ms_per_picture']:.1f}"]
        line += [f"{c['ratio']:.2f}" if (c := cell_of(cells, what=what, **place)) else "" for what in rivals]
        line.append(f"{first['burst']}{', ramp' if first['ramp'] else ''}")
        how = {"burst": first["burst"], "ramp": first["ramp"]}
        for moment in ("99%", "rest"):
            found = [cell_of(cells, what=what, moment=moment, **how, **place) for what in whats]
            steps = next((f"{cell['timesteps']:g}" for cell in found if cell), "")
            line += [steps, *(f"{cell['ratio']:.2f}" if cell else "" for cell in found)]
        lines.append(line)
    short = [CONTENDERS[what].removeprefix("casc_det ") for what in whats]
    head = ["network", "px", "batch", "ANN, ms", *(INT8[what] for what in rivals), "burst"]
    head += [part for moment in ("99 %", "quiescent") for part in (f"{moment}: T", *short)]
    origins = sorted({cell["steps_from"] for cell in cells if cell.get("steps_from")})
    below = (
        "Time of an image in float32 forwards of the ANN; at quiescence T is a mean over batches, each as long as its "
    )
    below += f"slowest image takes. The steps of 99 %: {'; '.join(origins)}. " if origins else "slowest image takes. "
    return grid(head, lines, below + made_by(content))


def made_by(content: dict) -> str:
    """Runs, machine and images of a benchmark."""
    machine, cells = content["machine"], content["cells"]
    repeats = [len(cell["all_ms"]) for cell in cells]
    places: dict[str, dict] = {}
    for cell in cells:
        places.setdefault(cell["pictures"], {})[f"{cell['imgsz']} px, batch {cell['batch']}"] = None
    shown = "; ".join(f"{name}: {' and '.join(where)}" for name, where in places.items())
    where = (
        f"{machine.get('processor', machine.get('machine'))}, {machine['threads']} threads, torch {machine['torch']}"
    )
    return (
        f"Medians of {min(repeats)} to {max(repeats)} runs, per image; {where}. Images of {shown}. "
        "`python tools/bench_engine.py`."
    )


def neurons(content: dict) -> str:
    """Relative readout error over time for each neuron and schedule."""
    table = content["relative_error"]
    steps = list(next(iter(table.values())))
    return grid(
        ["neuron and schedule", *(f"T = {t}" for t in steps)],
        ([name, *(f"{row[t]:.2g}" for t in steps)] for name, row in table.items()),
        f"{content['settings']['pictures']} images of coco-mini val2017, integer graph.",
    )


def exactness(content: dict) -> str:
    """Neurons and readout values that differ at quiescence, for each network and image size."""
    lines, records = [], content["networks"]
    several = any("burst" in r for r in records)
    for r in records:
        arithmetic = r["arithmetic"].replace("whole numbers", "integers")
        cells = [r["network"], arithmetic, r["engine"], r["size"], f"{r['pictures']}", f"{r['neurons']:,}"]
        if several:
            cells[2:2] = [str(r["levels"]), f"{r['burst']}{', ramp' if r['ramp'] else ''}"]
        cells += [f"{r['different']}", f"{r['readout']:.1e}", f"{r['largest_T']}"]
        cells += [f"{r['spikes_compared']:,}", f"{r['spikes_different']}"] if "spikes_compared" in r else ["", ""]
        if several:
            cells += [f"{r['batched']:,}", f"{r['batched_different']}"] if "batched" in r else ["", ""]
        lines.append(cells)
    head = ["network", "arithmetic", "engine", "px", "images", "neurons compared", "different", "readout", "T"]
    head += ["spikes compared", "different"]
    if several:
        head[2:2] = ["Q", "burst"]
        head += ["steps in batches", "different"]
    return grid(head, lines)


def ablation(content: dict) -> str:
    """Scores, mean count and energy of each row of `tools/ablate.py`."""
    levels, made, lines = content["settings"]["levels"], content["settings"], []
    for row in content["rows"]:
        real, integer, q = row["real"], row["integer"], row["changed"].get("levels", levels)
        cells = [row["what"], f"{real['mAP50-95']:.4f}", f"{integer['mAP50-95']:.4f}", f"{integer['count'] / q:.3f}"]
        lines.append([*cells, f"{integer['energy']:.2f}", f"{row['minutes']:.0f}"])
    return grid(
        [
            "what is changed",
            "mAP50-95",
            "integers",
            "mean count / Q",
            "energy of the SNN at quiescence / ANN",
            "minutes",
        ],
        lines,
        f"Q = {levels} unless said, {made['epochs']} epochs at {made['imgsz']} px, seed {made['seed']}; scored at "
        f"{made['val_imgsz']} px on {made['pictures']} images of coco-mini val2017.",
    )


def scratch(content: dict) -> str:
    """The best epoch of each network of `tools/scratch.py`, as share of plain Ultralytics too."""
    silu, made, lines = content["rows"][0], content["settings"], []
    for row in content["rows"]:
        name = f"CQReLU, Q = {row['levels']}" if row["levels"] else "SiLU, plain Ultralytics"
        cells = [f"{row[key]:.4f}" for key in ("mAP50", "mAP50-95")]
        lines.append([name, *cells, f"{row['mAP50'] / silu['mAP50']:.1%}"])
    return grid(
        ["network", "mAP50", "mAP50-95", "mAP50, share of SiLU"],
        lines,
        f"{made['model']} on {made['data']}, {made['epochs']} epochs at {made['imgsz']} px, one run each (seed 0); "
        "best epoch by mAP50-95, Ultralytics' validator on its val split.",
    )


def threads(content: dict) -> str:
    """Median time per image of each setting of `tools/bench_threads.py` in times of one thread, by other load."""
    names = list(content["rows"][0]["seconds"])
    return grid(
        ["processes that compute beside", *names],
        (
            [str(row["busy"]), *(f"{row['seconds'][name]['median, ratio']:.2f}" for name in names)]
            for row in content["rows"]
        ),
        f"Seconds per image, one thread = 1 in its row; medians of {content['images']} at {content['imgsz']} px, "
        f"T = 32, {content['cores']} cores. `python tools/bench_threads.py`.",
    )


def study(content: dict) -> str:
    """The cells of a study as the terminal shows them, and the energy at quiescence in ANNs."""
    heads, *cells = rows(content["cells"])
    lines = []
    for cell, row in zip(content["cells"], cells, strict=True):
        rest, ann = cell["rest"], cell["ann"]
        ratio = f"{rest['energy_mJ'] / ann['energy_mJ']:.2f}" if rest and rest["pictures"] == cell["pictures"] else ""
        lines.append([*row, ratio])
    return grid(
        [*heads, "at quiescence / ANN"],
        lines,
        "Time steps, in brackets mJ an image; the ANN's mAP50-95 and mJ at the right. "
        f"{content['cells'][0]['pictures']} images of coco-mini\nval2017. 99 %, 100 %: the mAP has that share of the "
        "ANN's for the first time; kept: it does not fall below again.",
    )


def training_free(content: dict) -> str:
    """Accuracy of float network and ANN, then the price of 99 % of it and of quiescence for each burst."""
    first, second = [], []
    for network in content["networks"]:
        score = {row["network"]: row["mAP50-95"] for row in network["rows"]}
        share = f"{score['ann'] / score['float']:.1%}".replace("%", " %")
        scores = [f"{score[name]:.4f}" for name in ("float", "ann")]
        first.append([str(network["imgsz"]), str(network["levels"]), *scores, share])
    keys = ("spikes_a_neuron", "messages_a_neuron", "energy_of_ann")
    for cell in content["cells"]:
        line = [*(str(cell[key]) for key in ("imgsz", "levels", "burst")), "yes" if cell["ramp"] else "no"]
        found, rest = cell["reached"]["99%"]["first"], cell["rest"]
        whole = rest and rest["pictures"] == cell["pictures"]
        for t, point in (
            (found and str(found["T"]), found),
            (whole and f"{rest['mean']:.1f}", rest if whole else None),
        ):
            line += [t, *(f"{point[key]:.2f}" for key in keys)] if point else [f">{cell['T_last']}", "", "", ""]
        second.append(line)
    each = ["unit spikes", "messages", "energy"]
    head = ["px", "Q", "burst", "ramp", "99 %: T", *each, "quiescent: mean T", *each]
    images = content["cells"][0]["pictures"]
    below = f"Unit spikes and messages a neuron and image; energy in that of the ANN. {images} images."
    scored = grid(["px", "Q", "float mAP50-95", "ANN, and SNN when quiescent", "ANN / float"], first)
    return f"{scored}\n\n{grid(head, second, below)}"


SUMMARY = ("cq16.coco", "cq16.coco640", "cq16.saving", "cq8.coco", "cq8.coco640", "cq8.saving")
ARITHMETICS = ("cq16.coco", "cq16.coco640", "float64", "float32")
TABLES: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {  # name: function, records
    "figures": (figures, tuple(RUNS[name] for name in SUMMARY)),
    **{name: (scores, (RUNS[name],)) for name in RUNS if name.startswith("cq") or name == "bccd"},
    **{f"cq{q}.sizes": (sizes, (RUNS[f"cq{q}.coco640"],)) for q in (16, 8)},
    "precision": (precision, tuple(RUNS[name] for name in ARITHMETICS)),
    "neurons": (neurons, ("weights/yolov8n-cq16.neurons.json",)),
    "exactness": (exactness, ("weights/yolov8n-cq16.exactness.json",)),
    "ablation": (ablation, ("weights/ablation.json",)),
    "scratch": (scratch, ("weights/scratch.json",)),
    "sparsity": (ablation, ("weights/sparsity.json",)),
    "sparsity8": (ablation, ("weights/sparsity8.json",)),
    "study": (study, ("weights/yolov8n-cq16.study.json",)),
    "levels": (study, ("weights/levels.study.json",)),
    "robust": (study, ("weights/yolov8n-cq16.robust.json",)),
    "bench": (bench, ("tools/bench_engine.json",)),
    "bursts": (bursts, ("tools/bench_bursts.json",)),
    "threads": (threads, ("tools/bench_threads.json",)),
    "training-free": (training_free, ("tools/training_free.json",)),
}
