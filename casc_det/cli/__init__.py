"""The command line."""

from casc_det.cli.run import main

__all__ = ["main"]
