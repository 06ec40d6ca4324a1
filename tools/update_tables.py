"""Write the measured tables into README.md and weights/README.md, from JSON files of the repository.

    python tools/update_tables.py [cq16.coco=runs/detect/val] [cq16.voc=runs/detect/val-2] [...]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; `TABLES` says which function makes it of which files.
`NAME=RUN` first takes the figures of a run folder of `casc-det val` over into the file of `RUNS`; the other files are
written by the scripts in this folder.
"""

import json
import re
import sys
from pathlib import Path

from casc_det.cli.run import script_options
from casc_det.studies.summary import rows

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"float": "float teacher (SiLU)", "ann": "CQReLU ANN"}
RUNS = {
    **{
        f"cq{q}.{what}": f"weights/yolov8n-cq{q}.{what}.json"
        for q in (16, 8)
        for what in ("coco", "coco640", "voc", "saving")
    },
    "bccd": "weights/yolov8n-bccd-cq16.bccd.json",
    "float64": "weights/yolov8n-cq16-float.coco.float64.json",
    "float32": "weights/yolov8n-cq16-float.coco.float32.json",
}


def take_over(run: str, name: str) -> None:
    """Copy the figures of a run of `casc-det val` to weights/, without what depends on its pictures one by one."""
    content = json.loads((Path(run) / "results.json").read_text())
    content["settings"].pop("folder")
    for row in content["rows"]:
        for key in ("picture_ap_minus_ann", "layer_sops", "predictions", "classes"):
            row.pop(key, None)
    (ROOT / RUNS[name]).write_text(json.dumps(content, indent=1) + "\n")


def scores(content: dict) -> str:
    """Each row's mAP, gap to the ANN, cost and rest."""
    settings, levels = content["settings"], content["settings"]["levels"]
    voc = "mAP50 VOC07" in content["rows"][0]
    columns = ("mAP50-95", "mAP50 VOC07", "mAP50 VOC12") if voc else ("mAP50-95", "mAP50")
    head = ["network", *columns, "gap to the ANN, 95 % interval", "M spikes", "G SOPs", "energy, mJ", "at rest"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
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
        lines.append("| " + " | ".join([*cells, "" if rest is None else f"{rest:.0%}"]) + " |")
    final, kind = content["rows"][-1], "integers" if settings.get("integer") else settings["dtype"]
    return "\n".join(lines) + (
        f"\n\n{settings['pictures']} pictures, {settings['imgsz'][0]} px square, {kind}. "
        f"At rest {final['neurons_different']} neurons of all pictures together differ from the ANN; largest readout "
        f"difference {final['difference_max']:.1e}."
    )


def precision(*contents: dict) -> str:
    """ANN and spiking network at rest in each kind of arithmetic."""
    head = "arithmetic | px | ANN mAP50-95 / mAP50 | SNN at rest | neurons different | largest readout difference"
    lines = [f"| {head} | same boxes |", "|" + " --- |" * 7]
    for content in contents:
        ann, final = next(r for r in content["rows"] if r["network"] == "ann"), content["rows"][-1]
        settings = content["settings"]
        kind = "whole numbers, 8-bit weights" if settings.get("integer") else f"real-valued, {settings['dtype']}"
        maps = [f"{row['mAP50-95']:.4f} / {row['mAP50']:.4f}" for row in (ann, final)]
        cells = [kind, str(settings["imgsz"][0]), *maps, f"{final['neurons_different']:,}"]
        lines.append("| " + " | ".join([*cells, f"{final['difference_max']:.1e}", f"{final['same_boxes']:.0%}"]) + " |")
    return "\n".join(lines)


def bench(content: dict) -> str:
    """Milliseconds a picture, and time per step in ANN forward passes, of each engine."""
    names = {"fast": "casc_det fast", "reference": "casc_det reference", "spikingjelly": "SpikingJelly 2.0.0"}
    names |= {"plain": "plain torch loop"}
    cells = content["cells"]
    whats = [what for what in names if any(cell["what"] == what for cell in cells)]
    head = ["px", "batch", "T", "ANN, ms", *(f"{names[what]}, ms (ANNs per step; MB)" for what in whats)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    find = lambda **keys: next((c for c in cells if all(c[k] == v for k, v in keys.items())), None)
    for cell in (c for c in cells if c["what"] == whats[0]):
        place = {key: cell[key] for key in ("imgsz", "batch")}
        ann = find(what="ann", **place)
        line = [*map(str, place.values()), str(cell["timesteps"]), f"{ann['ms_per_picture']:.1f}"]
        for what in whats:
            c = find(what=what, timesteps=cell["timesteps"], **place)
            line.append(f"{c['ms_per_picture']:.0f} ({c['ratio_per_step']:.2f}; {c['peak_mb']:.0f})" if c else "")
        lines.append("| " + " | ".join(line) + " |")
    machine, repeats = content["machine"], [len(cell["all_ms"]) for cell in cells]
    places = {}
    for cell in cells:
        places.setdefault(cell["pictures"], {})[f"{cell['imgsz']} px, batch {cell['batch']}"] = None
    shown = "; ".join(f"{name}: {' and '.join(where)}" for name, where in places.items())
    return "\n".join(lines) + (
        f"\n\nMedians of {min(repeats)} to {max(repeats)} runs, per picture; {machine['processor']}, "
        f"{machine['threads']} threads, torch {machine['torch']}. Pictures of {shown}. `python tools/bench_engine.py`."
    )


def neurons(content: dict) -> str:
    """Relative readout error over time for each neuron and schedule."""
    table = content["relative_error"]
    steps = list(next(iter(table.values())))
    lines = ["| neuron and schedule | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("| --- |" + " --- |" * len(steps))
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[t]:.2g}" for t in steps) + " |")
    return "\n".join(lines) + f"\n\n{content['settings']['pictures']} pictures of coco-mini val2017, integer graph."


def exactness(content: dict) -> str:
    """Neurons and readout values that differ at quiescence, for each network and picture size."""
    head = "network | arithmetic | engine | size | pictures | neurons compared | different | largest readout difference"
    lines = [f"| {head} | largest T | spikes compared with the other engine | different |", "|" + " --- |" * 11]
    for r in content["networks"]:
        cells = [r["network"], r["arithmetic"], r["engine"], r["size"], f"{r['pictures']}", f"{r['neurons']:,}"]
        cells += [f"{r['different']}", f"{r['readout']:.1e}", f"{r['largest_T']}"]
        cells += [f"{r['spikes_compared']:,}", f"{r['spikes_different']}"] if "spikes_compared" in r else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ablation(content: dict) -> str:
    """Scores, mean count and energy of each row of `tools/ablate.py`."""
    head = "what is changed | mAP50-95 | mAP50-95, integers | mean count / Q | energy of the SNN at rest / ANN"
    lines = [f"| {head} | minutes |", "|" + " --- |" * 6]
    levels = content["settings"]["levels"]
    for row in content["rows"]:
        real, whole, q = row["real"], row["integer"], row["changed"].get("levels", levels)
        cells = [row["what"], f"{real['mAP50-95']:.4f}", f"{whole['mAP50-95']:.4f}", f"{whole['count'] / q:.3f}"]
        lines.append("| " + " | ".join([*cells, f"{whole['energy']:.2f}", f"{row['minutes']:.0f}"]) + " |")
    made = content["settings"]
    return "\n".join(lines) + (
        f"\n\nQ = {levels} unless said, {made['epochs']} epochs at {made['imgsz']} px, seed {made['seed']}; scored at "
        f"{made['val_imgsz']} px on {made['pictures']} pictures of coco-mini val2017."
    )


def scratch(content: dict) -> str:
    """The best epoch of each network of `tools/scratch.py`, as share of plain Ultralytics too."""
    silu, made = content["rows"][0], content["settings"]
    lines = ["| network | mAP50 | mAP50-95 | mAP50, share of SiLU |", "|" + " --- |" * 4]
    for row in content["rows"]:
        name = f"CQReLU, Q = {row['levels']}" if row["levels"] else "SiLU, plain Ultralytics"
        cells = [name, f"{row['mAP50']:.4f}", f"{row['mAP50-95']:.4f}", f"{row['mAP50'] / silu['mAP50']:.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + (
        f"\n\n{made['model']} on {made['data']}, {made['epochs']} epochs at {made['imgsz']} px, one run each (seed 0); "
        "best epoch by mAP50-95, Ultralytics' validator on its val split."
    )


def threads(content: dict) -> str:
    """Median time per image of each setting of `tools/bench_threads.py` in times of one thread, by other load."""
    names = list(content["rows"][0]["seconds"])
    lines = [f"| processes that compute beside | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
    for row in content["rows"]:
        cells = [f"{row['seconds'][name]['median, ratio']:.2f}" for name in names]
        lines.append("| " + " | ".join([str(row["busy"]), *cells]) + " |")
    return "\n".join(lines) + (
        f"\n\nSeconds per image, one thread = 1 in its row; medians of {content['images']} at {content['imgsz']} px, "
        f"T = 32, {content['cores']} cores. `python tools/bench_threads.py`."
    )


def study(content: dict) -> str:
    """The cells of a study as the terminal shows them, and the energy at rest in ANNs."""
    heads, *cells = rows(content["cells"])
    lines = [f"| {' | '.join([*heads, 'at rest / ANN'])} |", "|" + " --- |" * (len(heads) + 1)]
    for cell, row in zip(content["cells"], cells, strict=True):
        rest, ann = cell["rest"], cell["ann"]
        ratio = f"{rest['energy_mJ'] / ann['energy_mJ']:.2f}" if rest and rest["pictures"] == cell["pictures"] else ""
        lines.append("| " + " | ".join([*row, ratio]) + " |")
    return "\n".join(lines) + (
        "\n\nTime steps, in brackets mJ a picture; the ANN's mAP50-95 and mJ at the right. "
        f"{content['cells'][0]['pictures']} pictures of coco-mini val2017. "
        "99 %, 100 %: the mAP has that share of the ANN's for the first time; kept: it does not fall below again."
    )


ARITHMETICS = ("cq16.coco", "cq16.coco640", "float64", "float32")
TABLES = {
    **{name: (scores, RUNS[name]) for name in RUNS if name.startswith("cq") or name == "bccd"},
    "precision": (precision, *(RUNS[name] for name in ARITHMETICS)),
    "neurons": (neurons, "weights/yolov8n-cq16.neurons.json"),
    "exactness": (exactness, "weights/yolov8n-cq16.exactness.json"),
    "ablation": (ablation, "weights/ablation.json"),
    "scratch": (scratch, "weights/scratch.json"),
    "sparsity": (ablation, "weights/sparsity.json"),
    "sparsity8": (ablation, "weights/sparsity8.json"),
    "study": (study, "weights/yolov8n-cq16.study.json"),
    "levels": (study, "weights/levels.study.json"),
    "robust": (study, "weights/yolov8n-cq16.robust.json"),
    "bench": (bench, "tools/bench_engine.json"),
    "threads": (threads, "tools/bench_threads.json"),
}


def main():
    for name, run in script_options(sys.argv[1:], __doc__).items():
        take_over(run, name)
    for page in (ROOT / "README.md", ROOT / "weights" / "README.md"):
        text = page.read_text()
        for name, (table, *sources) in TABLES.items():
            contents = [json.loads((ROOT / s).read_text()) for s in sources if (ROOT / s).exists()]
            if contents:
                block = f"<!-- table {name} -->\n{table(*contents)}\n<!-- end -->"
                pattern = rf"<!-- table {re.escape(name)} -->.*?<!-- end -->"
                text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text)


if __name__ == "__main__":
    main()
