"""The weights that come with casc_det, found by name: `weights=yolov8n-cq16`. Nothing is ever downloaded.

Looked through in this order: the folder in the environment variable CASC_DET_WEIGHTS, the user's cache
(`~/.cache/casc_det/weights`), and what came with the package (in a checkout `weights/`, installed
`share/casc_det/weights` of the environment).
"""

import os
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch

from casc_det.base.arguments import check_texts
from casc_det.errors import ConversionError, WeightsError, nearest
from casc_det.graph.file import load_graph, opened, read_structure
from casc_det.graph.graph import SpikingGraph

DEFAULT = "yolov8n-cq16"


class Shipped(NamedTuple):
    """A spiking graph found in one of the folders.

    classes: their number, imgsz in pixels, size in bytes; activation: the functions that its neurons follow, burst: the
    recommended one.
    """

    name: str
    path: Path
    classes: int
    levels: int
    integer: bool
    imgsz: int
    size: int
    activation: str
    burst: int


def folders() -> list[Path]:
    """The folders that are looked through, those that exist."""
    checkout = Path(__file__).resolve().parents[2]
    own = [checkout / "weights"] if (checkout / "setup.cfg").is_file() else installed_folders()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casc_det" / "weights"
    given = os.environ.get("CASC_DET_WEIGHTS")
    return [folder for folder in ([Path(given)] if given else []) + [cache, *own] if folder.is_dir()]


def installed_folders() -> list[Path]:
    """Where pip put the weights of the installed package, whatever the kind of installation."""
    try:
        files = metadata.files("casc-det") or []
    except metadata.PackageNotFoundError:
        return []
    return list({Path(file.locate()).resolve().parent for file in files if file.suffix == ".safetensors"})


def named() -> dict[str, Path]:
    """The file of each name; where folders share a name, the first one counts."""
    result: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            result.setdefault(path.stem, path)
    return result


def find(weights: str | Path | None) -> Path:
    """The file of `weights`: a path, or the name of shipped or cached weights; None: the default detector.

    Raises:
        ArgumentError: it is no text. WeightsError: it is the name of nothing. A path that does not exist is given back
            as it is.
    """
    weights = os.fspath(weights) if isinstance(weights, os.PathLike) else weights
    check_texts(weights=weights)
    text = DEFAULT if weights is None else str(weights)
    path = Path(text)
    if os.path.exists(path) or path.suffix or path.parent != Path():
        return path
    known = named()
    if text not in known:
        raise WeightsError(
            f"weights: '{text}' is neither a file nor the name of weights{nearest(text, known)}; "
            "casc-det models lists the names"
        )
    return known[text]


def load(
    weights: str | Path | None = None, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> SpikingGraph:
    """The spiking graph of a file, or of a name that `casc-det models` lists.

    Args:
        weights: the path or the name; None: the default detector.
        dtype: of its tensors; default: float32, which holds an integer graph exactly.

    Raises:
        ArgumentError: `weights` is no text, or the dtype cannot hold an integer graph.
        WeightsError: there is no such name or file, or it holds no spiking graph.
    """
    return load_graph(find(weights), dtype, device)


def shipped() -> list[Shipped]:
    """All spiking graphs that have a name; files that hold none are left out."""
    result = []
    for name, path in named().items():
        try:
            with opened(path) as file:
                graph = read_structure(file)
            size = path.stat().st_size
        except (WeightsError, ConversionError, OSError):
            continue
        facts = (len(graph.names), graph.levels, graph.integer, graph.imgsz, size)
        result.append(Shipped(name, path, *facts, ", ".join(graph.functions), graph.defaults.get("burst", 1)))
    return result
