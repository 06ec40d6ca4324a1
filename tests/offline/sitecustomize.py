"""Python processes that tests start have no network either: this folder is in their `PYTHONPATH`."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "no_network.py"))
