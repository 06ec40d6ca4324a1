"""Write what can be computed into the pages: measured tables, options, tools, weight files.

    python tools/update_tables.py [cq16.coco=runs/detect/val] [cq16.voc=runs/detect/val-2] [...]
    python tools/update_tables.py check=true

A table stands between `<!-- table NAME -->` and `<!-- end -->`, in one page only. Measured ones are made of the JSON
records in weights/ and tools/ (`record_tables.py`); `NAME=RUN` first takes the figures of a run folder of `casc-det
val` over into the record of that name, the other records are written by the scripts in this folder. `check=true` writes
nothing: exit code 1 where a page is not what it would be.
"""

import ast
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from record_tables import RUNS, TABLES, grid

from casc_det.cli.help import option_table
from casc_det.cli.parsing import script_options
from casc_det.cli.verbs import VERBS
from casc_det.conversion.audit import EXACT, TEMPORAL
from casc_det.graph import Spiking
from casc_det.graph.ops import NODE_TYPES
from casc_det.graph.zoo import shipped
from casc_det.neurons import NEURONS

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"<!-- table (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
WEIGHTS = [path.stem for path in sorted((ROOT / "weights").glob("*.safetensors"))]
VAL = "`casc-det val`"
VARYING = ("picture_ap_minus_ann", "layers", "layer_sops", "predictions", "classes")  # not kept in records
RECORDS = {  # file: what made it, the commit whose code measured it where the record does not say so itself
    **{RUNS[name]: (VAL, "5539a74") for name in RUNS if name != "bccd"},
    RUNS["bccd"]: (VAL, "63abcb6"),
    "weights/yolov8n-cq16.exactness.json": ("`tools/check_exactness.py`", "5539a74"),
    "weights/yolov8n-cq16.neurons.json": ("`tools/compare_neurons.py`", "5539a74"),
    "weights/yolov8n-cq16.study.json": ("`casc-det study`", "5539a74"),
    "weights/levels.study.json": ("`casc-det study`", "5539a74"),
    "weights/yolov8n-cq16.robust.json": ("`casc-det study`", "e9f51d7"),
    "weights/ablation.json": ("`tools/ablate.py`", "ebfab83"),
    "weights/sparsity.json": ("`tools/ablate.py`", "6ddd282"),
    "weights/sparsity8.json": ("`tools/ablate.py`", "ebfab83"),
    "weights/scratch.json": ("`tools/scratch.py`", "1eaa03d"),
    "tools/bench_engine.json": ("`tools/bench_engine.py`", "e3f4333"),
    "tools/bench_bursts.json": ("`tools/bench_engine.py`", "02610dc"),
    "tools/bench_threads.json": ("`tools/bench_threads.py`", "162fdc1"),
    "tools/training_free.json": ("`casc-det val`, `study`", "2601bc1"),
}


def pages() -> list[Path]:
    """Every page of the documentation."""
    rooms = sorted((ROOT / "casc_det").rglob("README.md"))
    folders = [ROOT / "data" / "README.md", ROOT / "tools" / "README.md"]
    return [ROOT / "README.md", *folders, *rooms, *sorted((ROOT / "weights").glob("*.md"))]


def read(record: str) -> dict:
    return json.loads((ROOT / record).read_text())


def options(verb: str) -> str:
    """The arguments of a verb of the command line."""
    return option_table(verb).replace("<", "&lt;")


def ops() -> str:
    """How the audit carries each op of a captured graph over."""
    lines = []
    for name, kind in NODE_TYPES.items():
        temporal = kind.spiking is Spiking.TEMPORAL and kind.graded
        if kind.note and name != "Neuron":
            lines.append([f"`{name}`", kind.note, TEMPORAL if temporal else EXACT])
    return grid(["op", "on spike trains", "audit"], lines)


def kinds() -> str:
    """The kinds of neurons."""
    places = {0.0: "where `v < 0`", -1.0: "where `v < -theta`", -math.inf: "never"}
    back = lambda kind: places.get(kind.low, f"where `v < {kind.low:g} * theta`")
    return grid(
        ["`neuron=`", "takes a spike back", "largest count", "with WSC quiescent at the ANN"],
        (
            [f"`{kind.name}`", back(kind), "`Q`" if kind.limited else "none", "yes" if kind.rests else "no"]
            for kind in NEURONS.values()
        ),
    )


def tools() -> str:
    """Name, purpose and usage of each script in tools/, from its docstring; those without a command are parts."""
    scripts, parts = [], []
    for path in sorted((ROOT / "tools").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text()))
        first, *rest = text.split("\n\n")
        purpose = " ".join(first.split())
        usage = [part for part in rest if part.lstrip().startswith("python tools/")]
        if usage:
            lines = re.sub(r"^    ", "", usage[0], flags=re.MULTILINE)
            scripts.append(f"### {path.name}\n\n{purpose}\n\n```text\n{lines}\n```")
        else:
            parts.append(f"* `{path.name}`: {purpose}")
    return "\n\n".join([*scripts, "### Parts of these scripts, without a command of their own", "\n".join(parts)])


def weight_file(name: str) -> str:
    """What a weight file is, for its card."""
    file = ROOT / "weights" / f"{name}.safetensors"
    entry = next(entry for entry in shipped() if entry.path == file)
    kind = "integer spiking graph, 8-bit weights" if entry.integer else "real-valued spiking graph, float32"
    rows = {
        "file": f"`{file.name}`, {entry.size / 1e6:.1f} MB",
        "graph": f"{kind}; Q = {entry.levels}, {entry.classes} classes, for {entry.imgsz} px",
        "SHA-256": f"`{hashlib.sha256(file.read_bytes()).hexdigest()}`",
        "licence": "AGPL-3.0 (Ultralytics' weights and code)",
    }
    return grid(["", ""], rows.items())


def models() -> str:
    """The weight files, with links to their cards."""
    found = {entry.path: entry for entry in shipped()}
    lines = []
    for name in WEIGHTS:
        entry = found[ROOT / "weights" / f"{name}.safetensors"]
        kind = "8-bit integers" if entry.integer else "real-valued, float32"
        cells = [f"[{name}]({name}.md)", kind, str(entry.classes), str(entry.levels), f"{entry.imgsz} px"]
        lines.append([*cells, f"{entry.size / 1e6:.1f} MB"])
    return grid(["card", "arithmetic", "classes", "levels Q", "image side", "size"], lines)


def origin(content: dict) -> dict:
    """What a record says of the commit, machine and threads that made it; empty where it says nothing."""
    return content.get("made") or content.get("machine") or content.get("settings", {}).get("machine", {})


def records() -> str:
    """The records, what made them, with which commit and threads, and the page that shows them."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for record, (tool, commit) in RECORDS.items():
        names = [name for name, (_, sources) in TABLES.items() if record in sources and name != "figures"]
        where = [page for page in pages() if any(f"<!-- table {name} -->" in page.read_text() for name in names)]
        links = ", ".join(f"[{page.relative_to(ROOT)}](../{page.relative_to(ROOT)})" for page in where)
        made = origin(read(record))
        key = (tool, f"`{made.get('commit', commit)}`", str(made.get("threads", "")), links)
        grouped.setdefault(key, []).append(f"`{Path(record).name}`")
    return grid(
        ["records", "made by", "commit", "threads", "shown in"],
        ([", ".join(of), *made] for made, of in grouped.items()),
    )


def makers() -> dict[str, Callable[[], str]]:
    """What makes each table, by its name."""
    measured = {name: partial(lambda f, of: f(*map(read, of)), *made) for name, made in TABLES.items()}
    return measured | {
        **{f"options.{verb}": partial(options, verb) for verb in VERBS},
        **{f"file.{name}": partial(weight_file, name) for name in WEIGHTS},
        "ops": ops,
        "kinds": kinds,
        "tools": tools,
        "models": models,
        "records": records,
    }


@cache
def made(name: str) -> str:
    """The text of a table; KeyError where there is none of this name."""
    return makers()[name]()


def updated(text: str) -> str:
    """The text of a page with all its tables made anew."""
    return PLACE.sub(lambda found: f"<!-- table {found[1]} -->\n{made(found[1])}\n<!-- end -->", text)


def take_over(run: str, name: str) -> None:
    """Copy the figures of a run of `casc-det val` to weights/, without what depends on its images one by one."""
    content = json.loads((Path(run) / "results.json").read_text())
    content["settings"].pop("folder")
    for row in content["rows"]:
        for key in VARYING:
            row.pop(key, None)
    (ROOT / RUNS[name]).write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    arguments = script_options(sys.argv[1:], __doc__)
    check = arguments.pop("check", False)
    for name, run in arguments.items():
        take_over(run, name)
    stale = [page for page in pages() if updated(page.read_text()) != page.read_text()]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'is not up to date' if check else 'written'}")
        if not check:
            page.write_text(updated(page.read_text()))
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
