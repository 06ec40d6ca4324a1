"""The results of `casc-det val` for people: a terminal table and a CSV."""

import csv
import io
from pathlib import Path

from casc_det.files import write_bytes

COLUMNS = (
    *("network", "timesteps", "mAP50-95", "mAP50", "gap_to_ann", "gap_low", "gap_high", "spikes", "sops", "macs"),
    *("energy_mJ", "neuron_updates", "steps_mean", "quiescent", "difference_mean", "difference_max"),
    *("neurons_different", "same_boxes", "seconds"),
)


def table(content: dict) -> str:
    """The rows as a terminal table."""
    head = ("network", "T", "mAP50-95", "mAP50", "gap to ANN (95 %)", "M spikes", "G SOPs", "mJ", "at rest")
    head += ("same boxes", "s")
    lines = [head]
    for row in content["rows"]:
        gap = f"{row['gap_to_ann']:+.4f} ({row['gap_95'][0]:+.4f}..{row['gap_95'][1]:+.4f})" if "gap_95" in row else ""
        spiking = row["network"] == "snn"
        t = f"auto ({row['steps_mean']:.1f})" if row["timesteps"] == "auto" else str(row["timesteps"] or "")
        lines.append(
            (
                row["network"],
                t,
                f"{row['mAP50-95']:.4f}",
                f"{row['mAP50']:.4f}",
                gap,
                f"{row['spikes'] / 1e6:.2f}" if spiking else "",
                f"{row['sops'] / 1e9:.2f}" if spiking else "",
                f"{row['energy_mJ']:.2f}" if "energy_mJ" in row else "",
                f"{row['quiescent']:.0%}" if spiking else "",
                f"{row['same_boxes']:.0%}" if spiking else "",
                f"{row['seconds']:.2f}",
            )
        )
    settings = content["settings"]
    title = (
        f"{settings['pictures']} pictures, {settings['dtype']}; spikes, SOPs, energy and seconds are means per picture"
    )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return (
        title
        + "\n"
        + "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)
    )


def write_csv(path: Path, content: dict) -> Path:
    """The numbers of each row as CSV with the columns `COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in content["rows"]:
        low, high = row.get("gap_95", (None, None))
        writer.writerow({**row, "gap_low": low, "gap_high": high})
    return write_bytes(path, text.getvalue().encode())
