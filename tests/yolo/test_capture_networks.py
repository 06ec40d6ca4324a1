"""Capture of Ultralytics models: the graph describes them, they stay as they are."""

import pytest
import torch
from conftest import live_yolo
from torch import nn

from casc_det import graph as g
from casc_det.conversion.audit import REFUSED, audit
from casc_det.errors import ConversionError
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cq_sites, install_cq


def state(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_capture_leaves_the_model_unchanged(yolo):
    model, images = yolo
    before, modules = state(model), list(model.modules())
    with torch.no_grad():
        expected = model(images)[0]
        graph = capture(model)
        for node in graph.nodes:
            for value in g.tensors(node).values():
                value.zero_()
        assert torch.equal(model(images)[0], expected)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True)) and not model.training


def test_capture_keeps_training_mode():
    model = live_yolo("yolov3-tiny")[0].train()
    before = state(model)
    capture(model)
    assert model.training and model.model[0].bn.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_captured_graph_describes_the_detector(yolo):
    model, _ = yolo
    graph = capture(model, imgsz=320)
    head = model.model[-1]
    assert graph.strides == head.stride.int().tolist() and graph.reg_max == head.reg_max and graph.imgsz == 320
    assert graph.names == [model.names[i] for i in range(5)]
    assert [node.name for node in graph.of_type(g.Readout)] == [
        f"{kind}{level}" for level in range(head.nl) for kind in ("boxes", "scores")
    ]
    convs = [m for part in (model.model[:-1], head.cv2, head.cv3) for m in part.modules() if isinstance(m, nn.Conv2d)]
    assert len(graph.of_type(g.Conv)) == len(convs)
    assert len(graph.of_type(g.BatchNorm)) == len(graph.of_type(g.Activation)) == len(cq_sites(model))


def test_sppf_max_pool_becomes_three_nodes():
    model, _ = live_yolo("yolov8n")
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 1
    pools = capture(model).of_type(g.MaxPool)
    assert len({pool.name for pool in pools}) == 3
    assert pools[1].inputs == (pools[0].name,) and pools[2].inputs == (pools[1].name,)


def test_fused_model_is_captured_without_batchnorm():
    fused = live_yolo("yolov8n")[0].fuse(verbose=False)
    graph = capture(fused)
    assert not graph.of_type(g.BatchNorm) and len(graph.of_type(g.Activation)) == 57
    assert not [row for row in audit(graph) if row.status == REFUSED]


@pytest.mark.parametrize(
    ("kind", "name", "head"),
    [
        ("SegmentationModel", "yolov8n-seg", "Segment"),
        ("PoseModel", "yolov8n-pose", "Pose"),
        ("OBBModel", "yolov8n-obb", "OBB"),
    ],
)
def test_other_task_is_refused_before_anything_is_replaced(kind, name, head):
    from ultralytics.nn import tasks

    model = getattr(tasks, kind)(f"{name}.yaml", verbose=False)
    with pytest.raises(ConversionError, match=f"detection model whose head is Detect, got {head}; "):
        capture(model)
    with pytest.raises(ConversionError, match="head is Detect"):
        install_cq(model, 4, "relu")
    assert not cq_sites(model)


def test_data_dependent_control_flow_is_refused_in_one_line():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = live_yolo("yolov3-tiny")[0]
    model.model[0].act = Gate()
    with pytest.raises(ConversionError, match="forward pass cannot be captured .*; use an architecture") as caught:
        capture(model)
    assert "\n" not in str(caught.value)
