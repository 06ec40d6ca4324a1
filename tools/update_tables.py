"""Write the measured tables into README.md and weights/README.md, from the JSON files in weights/.

    python tools/update_tables.py [coco=runs/detect/val] [voc=runs/detect/val-2] [coco640=runs/detect/val-3]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; the functions below make it from
`weights/yolov8n-cq16.NAME.json`. `NAME=RUN` first takes the figures of a run folder of `casc-det val` over into that
file; the other files are written by the scripts in this folder.
"""

import json
import re
import sys
from pathlib import Path

from casc_det.cli import parse_pairs

ROOT = Path(__file__).resolve().parent.parent
STEM = "yolov8n-cq16"
ROWS = {"float": "float teacher (SiLU)", "ann": "CQReLU ANN"}


def take_over(run: str, name: str) -> None:
    """Copy the figures of a run of `casc-det val` to weights/, without what depends on its pictures one by one."""
    content = json.loads((Path(run) / "results.json").read_text())
    content["settings"].pop("folder")
    for row in content["rows"]:
        for key in ("picture_ap_minus_ann", "layer_sops", "predictions", "classes"):
            row.pop(key, None)
    (ROOT / "weights" / f"{STEM}.{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def scores(content: dict) -> str:
    """Each row's mAP, gap to the ANN, cost and rest."""
    settings, levels = content["settings"], content["settings"]["levels"]
    head = "network | mAP50-95 | mAP50 | gap to the ANN, 95 % interval | M spikes | G SOPs | energy, mJ | at rest"
    lines = [f"| {head} |", "|" + " --- |" * 8]
    for row in content["rows"]:
        name, t = ROWS.get(row["network"]), row["timesteps"]
        if t is not None:
            steps = f"{row['steps_mean']:.1f} on average" if t == "auto" else f"{t / levels:g} Q"
            name = f"SNN, T = {t} ({steps})"
        gap = "{gap_to_ann:+.4f} ({gap_95[0]:+.4f} to {gap_95[1]:+.4f})".format(**row) if "gap_95" in row else ""
        spikes = f"{row['spikes'] / 1e6:.2f}" if "spikes" in row else ""
        sops = f"{row['sops'] / 1e9:.2f}" if "sops" in row else ""
        energy, rest = f"{row['energy_mJ']:.2f}" if "energy_mJ" in row else "", row.get("quiescent")
        cells = [name, f"{row['mAP50-95']:.4f}", f"{row['mAP50']:.4f}", gap, spikes, sops, energy]
        lines.append("| " + " | ".join([*cells, "" if rest is None else f"{rest:.0%}"]) + " |")
    final = content["rows"][-1]
    return "\n".join(lines) + (
        f"\n\n{settings['pictures']} pictures, {settings['imgsz'][0]} px square, {settings['dtype']}, "
        f"{settings['protocol']} protocol. At rest {final['neurons_different']} neurons of all pictures together "
        f"differ from the ANN; largest readout difference {final['difference_max']:.1e}."
    )


def neurons(content: dict) -> str:
    """Relative readout error over time for each neuron and schedule."""
    table = content["relative_error"]
    steps = list(next(iter(table.values())))
    lines = ["| neuron and schedule | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("| --- |" + " --- |" * len(steps))
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[t]:.2g}" for t in steps) + " |")
    kinds = content["precision"]
    note = "; ".join(f"{p}: {', '.join(n for n in kinds if kinds[n] == p)}" for p in sorted(set(kinds.values())))
    return "\n".join(lines) + f"\n\n{content['settings']['pictures']} pictures of coco-mini val2017. {note}."


def exactness(content: dict) -> str:
    """Neurons and readout values that differ at quiescence, for each network and picture size."""
    head = "network | size | pictures | neurons compared | different | largest readout difference | largest T"
    lines = [f"| {head} |", "|" + " --- |" * 7]
    for r in content["networks"]:
        lines.append(
            f"| {r['network']} | {r['size']} | {r['pictures']} | {r['neurons']:,} | {r['different']} | "
            f"{r['readout']:.1e} | {r['largest_T']} |"
        )
    return "\n".join(lines)


TABLES = {"coco": scores, "coco640": scores, "voc": scores, "neurons": neurons, "exactness": exactness}


def main():
    for name, run in parse_pairs(sys.argv[1:]).items():
        take_over(run, name)
    for page in (ROOT / "README.md", ROOT / "weights" / "README.md"):
        text = page.read_text()
        for name, table in TABLES.items():
            source = ROOT / "weights" / f"{STEM}.{name}.json"
            if source.exists():
                block = f"<!-- table {name} -->\n{table(json.loads(source.read_text()))}\n<!-- end -->"
                pattern = rf"<!-- table {name} -->.*?<!-- end -->"
                text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text)


if __name__ == "__main__":
    main()
