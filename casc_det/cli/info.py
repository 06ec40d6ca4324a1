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
    from casc_det.simulation.cost import describe

    facts = describe(load_graph(find(options["weights"])), options["imgsz"])
    if options["json"]:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        for number, line in enumerate(textwrap.wrap(str(value), 100) or [""]):
            print(f"{'' if number else key:<18} {printable(line)}")
    return 0


VERB = Verb(
    run,
    "what a spiking graph file holds",
    "casc-det info weights=model.safetensors",
    {
        "weights": WEIGHTS,
        "imgsz": Option(INTEGER, None, "image side for the number of neurons and operations"),
        "json": Option(FLAG, False, "print JSON"),
    },
)
