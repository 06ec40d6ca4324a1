"""Where the numbers of a JSON file come from: its schema, the commit, the machine and the threads that made it."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

import casc_det

CHECKOUT = Path(casc_det.__file__).resolve().parents[1]


def provenance(schema: str) -> dict[str, str | int]:
    """What every JSON file of figures carries.

    Args:
        schema: the name of what lies in the file and the number of its form, for example "casc-det val 1".
    """
    return {
        "schema": schema,
        "commit": commit(),
        "machine": f"{processor()}, {os.cpu_count()} logical cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "casc_det": casc_det.__version__,
    }


@cache
def commit() -> str:
    """The commit of the checkout that casc_det runs from, with -dirty where files differ; else its version."""
    if not (CHECKOUT / ".git").exists():
        return casc_det.__version__
    words = ("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=quiet, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return casc_det.__version__
    return done.stdout.strip()


@cache
def processor() -> str:
    """The name of the processor and which of the instructions that matter it has, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    has = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if any(f" {flag}" in line for line in lines)]
    return f"{name} ({', '.join(has)})"
