"""Mutate model files, images and data sets, feed them to casc_det, and count what comes of it.

    python tools/fuzz.py kind=models cases=10000 seed=1 [out=runs/fuzz/models-1] [limit=20] [memory=4096]
    python tools/fuzz.py kind=models seed=1 case=4711     # one case again, with its traceback

kind: models, images or datasets (`fuzz_models.py`, `fuzz_images.py`, `fuzz_datasets.py`). The seed and the number of a
case decide everything about it. Cases run in a child process with limits of time (`limit`, seconds a case) and of
memory (`memory`, MB above what it starts with); one that dies or hangs is counted and replaced. Run again with the same
`out`, it goes on where it was stopped. Every case is one line of `results.jsonl`:

    answered     the program computed something, and every check of it held
    refused      a CascError: one line that says what is wrong
    foreign      another exception          hang, memory, crash    past the limits, or the process died
    nan          boxes that are no numbers  inexact                at rest, but unequal to the ANN twin or other engine

All but the first two are findings, kept with their files in `findings/`. `summary.json` counts all;
the exit code is 1 where there are findings.
"""

import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import torch

from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.errors import CascError

STARTUP = 1200  # seconds that a child may take to import and compile
GOOD = ("answered", "refused")
OPTIONS = {"kind": "models", "cases": 1000, "seed": 0, "out": None, "limit": 20, "memory": 4096, "case": None}


class Late(BaseException):
    """Raised by the alarm inside a case; no handler of Exception catches it."""


def one(kind, seed: int, case: int, folder: Path) -> dict:
    """Make one case in an empty folder and run it."""
    chance = random.Random(f"{seed}/{case}")
    torch.manual_seed(chance.getrandbits(32))
    row = {"case": case, "what": kind.make(chance, folder)}
    try:
        outcome, text = kind.run(chance, folder)
    except Late:
        outcome, text = "hang", "".join(traceback.format_stack(limit=1))
    except CascError as error:
        text = str(error)
        outcome = "refused" if "\n" not in text and len(text) < 2000 else "foreign"
    except MemoryError as error:
        outcome, text = "memory", str(error)
    except BaseException as error:  # a panic of Rust or SystemExit is a finding, too
        if isinstance(error, KeyboardInterrupt):
            raise
        memory = isinstance(error, RuntimeError) and "memory" in str(error)
        outcome, text = "memory" if memory else "foreign", traceback.format_exc()
    return row | {"outcome": outcome, "text": text[-1500:] if outcome not in GOOD else text[:300]}


def work(name: str, seed: int, cases: list[int], out: Path, limit: int, memory: int) -> None:
    """The child: run cases and append a line for each; `now` holds the number of the one that runs."""
    torch.set_num_threads(1)
    out = out.absolute()
    kind = importlib.import_module(f"fuzz_{name}").Kind(out / "base")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory * 2**20,) * 2)

    def late(number, frame):
        raise Late

    signal.signal(signal.SIGALRM, late)
    folder = out / f"case-{os.getpid()}"
    with (out / "results.jsonl").open("a") as results:
        for case in cases:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (out / "now").write_text(str(case))
            signal.alarm(limit)
            begun = time.perf_counter()
            try:
                row = one(kind, seed, case, folder)
            finally:
                signal.alarm(0)
            row["seconds"] = round(time.perf_counter() - begun, 2)
            if row["outcome"] not in GOOD:
                shutil.copytree(folder, out / "findings" / str(case), dirs_exist_ok=True)
            results.write(json.dumps(row) + "\n")
            results.flush()
    shutil.rmtree(folder, ignore_errors=True)


def finished(out: Path) -> dict[int, dict]:
    """The rows of `results.jsonl` by case; a line that was cut off is left out."""
    rows = {}
    for line in (out / "results.jsonl").read_text().splitlines() if (out / "results.jsonl").exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["case"]] = row
    return rows


def supervise(options: dict, out: Path) -> dict[int, dict]:
    """Children one after the other until every case has a row."""
    name, seed, limit = options["kind"], options["seed"], options["limit"]
    (out / "base").mkdir(parents=True, exist_ok=True)
    while todo := sorted({*range(options["cases"])} - finished(out).keys()):
        (out / "now").unlink(missing_ok=True)
        arguments = (name, seed, todo, out, limit, options["memory"])
        child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        child.start()
        seen, since, hung = None, time.monotonic(), False
        while child.is_alive():
            child.join(0.5)
            now = (out / "now").read_text() if (out / "now").exists() else None
            if now != seen:
                seen, since = now, time.monotonic()
            patience = 3 * limit + 60 if seen else STARTUP
            if time.monotonic() - since > patience:  # the alarm does not reach into a loop of C
                hung = True
                child.kill()
                child.join()
        if child.exitcode and seen is None:
            raise SystemExit(f"fuzz: the child ended before its first case (exit code {child.exitcode})")
        case = int(seen or 0)
        if child.exitcode and case not in finished(out):
            row = {"case": case, "outcome": "hang" if hung else "crash", "text": f"exit code {child.exitcode}"}
            with (out / "results.jsonl").open("a") as results:
                results.write("\n" + json.dumps(row) + "\n")
            for folder in out.glob(f"case-{child.pid}"):
                shutil.copytree(folder, out / "findings" / str(case), dirs_exist_ok=True)
    return finished(out)


def main(arguments: list[str]) -> int:
    options = OPTIONS | script_options(arguments, __doc__)
    name, seed = options["kind"], options["seed"]
    out = Path(options["out"] or f"runs/fuzz/{name}-{seed}")
    if options["case"] is not None:
        folder = out.absolute() / "again"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (out / "base").mkdir(exist_ok=True)
        kind = importlib.import_module(f"fuzz_{name}").Kind(out.absolute() / "base")
        row = one(kind, seed, options["case"], folder)
        print(f"{row['what']}\n{row['outcome']}: {row['text']}\nfiles: {folder}")
        return int(row["outcome"] not in GOOD)
    begun = time.monotonic()
    rows = supervise(options, out)
    counts = Counter(row["outcome"] for row in rows.values())
    findings = {case: row["text"] for case, row in sorted(rows.items()) if row["outcome"] not in GOOD}
    summary = {**options, "counts": dict(counts), "seconds": round(time.monotonic() - begun), "findings": findings}
    write_json(out / "summary.json", {**summary, "made": provenance("fuzz 1")})
    print(json.dumps({key: summary[key] for key in ("kind", "seed", "cases", "counts", "seconds")}))
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
