"""What a run is made of, as hashes of content, and the file that says so: only the same run goes on in a folder."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from casc_det.base.files import hash_of
from casc_det.errors import ArgumentError, SourceError
from casc_det.evaluation.truth import Truth
from casc_det.graph.file import hashed

if TYPE_CHECKING:
    from casc_det.yolo.float_network import FloatNetwork

# What a hash stands for, and the argument that it comes from.
HASHED = {
    "graph": "another network (weights=)",
    "against": "another float network (against=)",
    "objects": "other objects, classes or image sizes (data=, split=, limit=)",
    "image_files": "other content of its image files (data=, images=)",
    "classes": "another assignment of classes (map=)",
}
NAMES_ONLY = ("data", "graphs")  # kept to be read, not compared


def fingerprint_network(network: "FloatNetwork") -> str:
    """A hash of the layers, tensors and class names of a `FloatNetwork`."""
    parts: list[str | bytes] = [f"{network.model}{network.names}"]
    for name, value in network.model.state_dict().items():
        parts += name, *hashed(value)
    return hash_of(parts)


def fingerprint_objects(truth: Truth) -> str:
    """A hash of everything in a data set but the paths and the content of its image files."""
    parts: list[str | bytes] = [repr((truth.kind, truth.names, truth.category_ids))]
    for image in truth.images:
        for name, value in vars(image).items():
            if isinstance(value, np.ndarray):
                parts += f"{value.dtype} {value.shape}", value.tobytes()
            elif name != "path":
                parts.append(f"{name} {value!r}")
    return hash_of(parts)


def fingerprint_images(truth: Truth) -> str:
    """A hash of the content of all image files.

    Size and time would be quicker, but a copy of a data set has other times, and a replaced image may have both in
    common. Simulating an image takes a hundred times as long as reading it.
    """

    def parts() -> Iterator[bytes]:
        for image in truth.images:
            try:
                content = Path(image.path).read_bytes()
            except OSError:  # it is named when it is to be simulated
                content = b"cannot be read"
            yield hashlib.sha256(content).digest()

    return hash_of(parts())


def data_settings(truth: Truth) -> dict:
    """What tells a data set apart from others; its name is for people."""
    settings = {"data": truth.name, "pictures": len(truth.images)}
    return settings | {"objects": fingerprint_objects(truth), "image_files": fingerprint_images(truth)}


def read_settings(file: Path, verb: str) -> dict:
    """The settings of a run folder.

    Raises:
        ArgumentError: there is no such file. SourceError: it is damaged.
    """
    if not file.is_file():
        raise ArgumentError(f"resume: '{file.parent}' is no folder of casc-det {verb} (it has no {file.name})")
    try:
        old = json.loads(file.read_bytes())
        if not isinstance(old, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise SourceError(f"resume: '{file}' is damaged; start a new run") from None
    return old


def check_settings(old: dict, settings: dict, verb: str, folder: Path) -> None:
    """Hold the settings of a run that goes on against those of its folder.

    Raises:
        ArgumentError: the run was made with others; the message names the first that differs.
    """
    for key, value in json.loads(json.dumps(settings)).items():
        if key in NAMES_ONLY or old.get(key) == value:
            continue
        what = f"lacks '{key}', as runs of an earlier version do"
        if key in old:
            what = f"has {key} {shortened(old[key])}, not {shortened(value)}"
        if key == "float" and key in old:  # whether there is a row of a float network
            what = "was made " + ("without against=; leave it out" if value else "with against=; give it, too")
            raise ArgumentError(f"resume: the {verb} in '{folder}' {what}, or start a new one")
        if key in HASHED and key in old:
            what = f"was made with {HASHED[key]}"
        raise ArgumentError(f"resume: the {verb} in '{folder}' {what}; start a new one")


@contextmanager
def resumable(folder: Path, state: Callable[[], str]) -> Iterator[None]:
    """Let a KeyboardInterrupt say, as its `remedy`, what of the run in `folder` is done and how to go on with it."""
    try:
        yield
    except KeyboardInterrupt as error:
        here = Path(os.path.relpath(folder))
        place = folder if here.parts[:1] == ("..",) else here
        remedy = f"{state()}; go on with the same arguments and resume={place}"
        error.remedy = remedy  # type: ignore[attr-defined]  # for the command line to print
        raise


def shortened(value: object) -> str:
    """A value for a message; long lists by their ends."""
    if isinstance(value, list) and len(value) > 8:
        return f"[{value[0]}, {value[1]}, ..., {value[-1]}] ({len(value)})"
    return repr(value)
