"""`casc-det info`: what a spiking graph file holds."""

import json
import textwrap
from typing import Any

from casc_det.base.kinds import FLAG, INTEGER
from casc_det.base.terminal import printable
from casc_det.cli.options import WEIGHTS, Option, Verb


def run(options: dict[str, Any]) -> int:
    """Print facts, one a line, long ones in several."""
    from casc_det.graph.file import load_graph
    from casc_det.graph.zoo import find
    from casc_det.simulation.describe import describe

    facts = describe(load_graph(find(options["weights"])), options["imgsz"], options["burst"])
    if options["json"]:
        print(json.dumps(facts, indent=1))
        return 0
    facts["activations"] = ", ".join(f"{name} x {count}" for name, count in facts["activations"].items())
    facts["counts"] = "{} to {}".format(*facts["counts"])
    facts["reads"] = reading(facts["reads"])
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        for number, line in enumerate(textwrap.wrap(str(value), 100) or [""]):
            print(f"{'' if number else key:<18} {printable(line)}")
    return 0


def reading(audit: dict[str, Any]) -> str:
    """What the convolutions read: the line of the audit, and how many read what."""
    rows = list(audit["convolutions"].values())
    macs = sum(row["macs"] for row in rows)
    words = lambda row: row["reads"] if row["largest"] is None else f"spikes |s| <= {row['largest']}"
    groups = []
    for kind in dict.fromkeys(map(words, rows)):
        own = [row["macs"] for row in rows if words(row) == kind]
        groups.append(f"{kind}: {len(own)} ({100 * sum(own) / macs:.1f} % of the MACs)")
    return f"{audit['summary']}; convolutions that read {', '.join(groups)}"


VERB = Verb(
    run,
    "what a spiking graph file holds",
    "casc-det info weights=model.safetensors",
    {
        "weights": WEIGHTS,
        "imgsz": Option(INTEGER, None, "image side for the number of neurons and operations"),
        "burst": Option(INTEGER, None, "burst for range, steps and messages; default: what the file recommends"),
        "json": Option(FLAG, False, "print JSON"),
    },
)
