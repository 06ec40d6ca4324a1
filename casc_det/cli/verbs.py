"""The verbs of the command line, in the order in which they are listed: each is a file of its name in this folder."""

from importlib import import_module

from casc_det.cli.options import Verb

NAMES = ("demo", "predict", "val", "study", "train", "convert", "info", "models")
VERBS: dict[str, Verb] = {name: import_module(f"casc_det.cli.{name}").VERB for name in NAMES}
