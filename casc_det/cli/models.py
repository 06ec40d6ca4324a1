"""`casc-det models`: the weights that have a name."""

import json
from typing import Any

from casc_det.base.kinds import FLAG
from casc_det.base.terminal import printable
from casc_det.cli.options import Option, Verb


def run(options: dict[str, Any]) -> int:
    """Print a line for each file of weights."""
    from casc_det.base.files import hash_of
    from casc_det.graph.zoo import DEFAULT, folders, shipped

    found = shipped()
    if options["json"]:
        facts = [
            {**entry._asdict(), "path": str(entry.path), "sha256": hash_of([entry.path.read_bytes()])}
            for entry in found
        ]
        print(json.dumps(facts, indent=1))
        return 0
    width = max([len(entry.name) for entry in found], default=0)
    longest = max([len(entry.activation) for entry in found], default=0)
    for entry in found:
        kind = "8-bit integers" if entry.integer else "real-valued"
        neurons = f"{entry.activation:<{longest}}  Q = {entry.levels:<3d} burst {entry.burst:<2d}"
        text = f"{entry.classes:3d} classes  {neurons}  {entry.imgsz} px  {kind:<14}"
        mark = "  (default)" if entry.name == DEFAULT else ""
        print(f"{printable(entry.name):<{width}}  {text}  {entry.size / 1e6:4.1f} MB{mark}")
    print(f"In {', '.join(map(str, folders())) or 'no folder'}; use one by its name: casc-det info weights={DEFAULT}")
    return 0


VERB = Verb(
    run,
    "list the weights that have a name",
    "casc-det models",
    {"json": Option(FLAG, False, "print JSON, with paths and SHA-256")},
)
