"""Whether a network could be converted once it has CQ activations: looked at before training and conversion."""

import copy

from ultralytics.nn.tasks import DetectionModel

from casc_det.conversion.audit import REFUSED, AuditRow, audit
from casc_det.conversion.integer import integer_problem
from casc_det.errors import ConversionError
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cq_sites, install_cq, set_alpha
from casc_det.yolo.trace import trace


def check_convertible(model: DetectionModel, name: str) -> None:
    """Raise ConversionError where `convert` would refuse a network for what it is built of, or for NaN in it.

    Args:
        model: with or without CQ, left unchanged. name: for the message.
    """
    trial = copy.deepcopy(model)
    if not cq_sites(trial):
        install_cq(trial, 1, "relu")
    set_alpha(trial, 1.0)
    graph = capture(trial)
    refused = [row for row in audit(graph) if row.status == REFUSED]
    problem = integer_problem(graph)
    if refused:
        ops = ", ".join(dict.fromkeys(row.op for row in refused[:3]))
        problem = f"{len(refused)} ops{blocks_of(trial, refused)} have no spiking counterpart ({ops}, ...)"
    if problem:
        raise ConversionError(
            f"model: what is made of {name} could not be converted: {problem}; use yolov3-tiny, yolov5 or yolov8"
        )


def blocks_of(model: DetectionModel, refused: list[AuditRow]) -> str:
    """The blocks of Ultralytics that hold refused ops, from the outermost to the innermost, in words."""
    stacks = {node.name: node.meta.get("nn_module_stack") or {} for node in trace(model).graph.nodes}
    places: dict[str, str] = {}
    for row in refused:
        parts = [(path, kind.__name__) for path, (_, kind) in stacks.get(row.name, {}).items()]
        if parts:
            places.setdefault(parts[0][0], "/".join(dict.fromkeys((parts[0][1], parts[-1][1]))))
    named = ", ".join(f"{kind} ({path})" for path, kind in list(places.items())[:3])
    return f" in {named}" if places else ""
