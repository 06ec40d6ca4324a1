"""Write the measured tables into README.md and weights/README.md, from the JSON files in weights/.

    python tools/update_tables.py

A table stands between `<!-- table NAME -->` and `<!-- end -->`; the functions below make it from
`weights/yolov8n-cq16.NAME.json`, which the scripts named in its text have written.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEM = "yolov8n-cq16"
ROWS = {"float": "float teacher (SiLU)", "ann": "CQReLU ANN"}


def coco(content: dict) -> str:
    """mAP of each row and what the spiking network spent."""
    levels = 16
    lines = ["| network | mAP50-95 | mAP50 | of the teacher |", "| --- | --- | --- | --- |"]
    teacher = content["rows"]["float"]["mAP50-95"]
    for row, values in content["rows"].items():
        t = row.removeprefix("snn ")
        times = f" ({int(t) / levels:g} Q)" if t.isdigit() else " (quiescent)"
        name = ROWS.get(row, f"SNN, T = {t}{times}")
        share = f"{values['mAP50-95'] / teacher:.0%}"
        lines.append(f"| {name} | {values['mAP50-95']:.4f} | {values['mAP50']:.4f} | {share} |")
    info, settings = content["spiking"], content["settings"]
    return "\n".join(lines) + (
        f"\n\n{settings['pictures']} pictures of coco-mini val2017 at {settings['imgsz']} px, {settings['precision']}. "
        f"Quiescent after {info['timesteps_mean']:.1f} steps on average (at most {info['timesteps_max']:.0f}), with "
        f"{info['spikes_mean'] / 1e6:.1f} million spikes and {info['sops_mean'] / 1e9:.2f} G synaptic operations a "
        f"picture (the ANN: 1.09 G MACs). Neurons that differ from the ANN at quiescence: "
        f"{info['neurons_different_sum']} of all pictures together; largest readout difference "
        f"{info['readout_difference_max']:.1e}."
    )


def neurons(content: dict) -> str:
    """Relative readout error over time for each neuron and schedule."""
    table = content["relative_error"]
    steps = list(next(iter(table.values())))
    lines = ["| neuron and schedule | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("| --- |" + " --- |" * len(steps))
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[t]:.2g}" for t in steps) + " |")
    return "\n".join(lines)


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


def main():
    for page in (ROOT / "README.md", ROOT / "weights" / "README.md"):
        text = page.read_text()
        for table in (coco, neurons, exactness):
            source = ROOT / "weights" / f"{STEM}.{table.__name__}.json"
            if source.exists():
                block = f"<!-- table {table.__name__} -->\n{table(json.loads(source.read_text()))}\n<!-- end -->"
                pattern = rf"<!-- table {table.__name__} -->.*?<!-- end -->"
                text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text)


if __name__ == "__main__":
    main()
