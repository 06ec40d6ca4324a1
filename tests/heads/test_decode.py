import math

import numpy as np
import pytest
import torch
from conftest import live_yolo

from casc_det.errors import ArgumentError
from casc_det.heads.detect.boxes import nms
from casc_det.heads.detect.decode import decode_maps, detect
from casc_det.heads.detect.settings import DetectionSettings


def random_readout(reg_max, strides=(8, 16), classes=3, batch=2):
    random = torch.Generator().manual_seed(0)
    readout = {}
    for level, stride in enumerate(strides):
        size = (64 // stride, 96 // stride)
        readout[f"boxes{level}"] = torch.randn(batch, 4 * reg_max, *size, generator=random, dtype=torch.float64) * 3
        readout[f"scores{level}"] = torch.randn(batch, classes, *size, generator=random, dtype=torch.float64) * 3
    return readout


def plain_decode(readout, strides, reg_max, image):
    """Boxes and scores of one image, cell by cell in plain Python."""
    boxes, scores = [], []
    for level, stride in enumerate(strides):
        raw, logits = readout[f"boxes{level}"][image], readout[f"scores{level}"][image]
        for row in range(raw.shape[1]):
            for column in range(raw.shape[2]):
                values, distances = raw[:, row, column].tolist(), []
                for side in range(4):
                    bins = [math.exp(v) for v in values[side * reg_max : (side + 1) * reg_max]]
                    mean = sum(i * b for i, b in enumerate(bins)) / sum(bins)
                    distances.append(mean if reg_max > 1 else values[side])
                left, top, right, bottom = distances
                x, y = column + 0.5, row + 0.5
                boxes.append([(x - left) * stride, (y - top) * stride, (x + right) * stride, (y + bottom) * stride])
                scores.append([1 / (1 + math.exp(-v)) for v in logits[:, row, column].tolist()])
    return boxes, scores


@pytest.mark.parametrize("reg_max", [1, 4, 16])
def test_decode_equals_plain_loop(reg_max):
    readout = random_readout(reg_max)
    boxes, scores = decode_maps(readout, [8, 16], reg_max)
    for image in range(2):
        expected_boxes, expected_scores = plain_decode(readout, [8, 16], reg_max, image)
        np.testing.assert_allclose(boxes[image].numpy(), expected_boxes, atol=1e-10)
        np.testing.assert_allclose(scores[image].numpy(), expected_scores, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reg_max", [1, 16])
def test_equal_readouts_decode_to_equal_bits(dtype, reg_max):
    """Whatever the layout in memory, the batch and the number of threads: torch's own sigmoid and softmax do not."""
    readout = {k: v.to(dtype) for k, v in random_readout(reg_max, classes=67, batch=3).items()}
    expected = decode_maps(readout, [8, 16], reg_max)
    last = {k: v.contiguous(memory_format=torch.channels_last) for k, v in readout.items()}
    alone = [decode_maps({k: v[i : i + 1] for k, v in readout.items()}, [8, 16], reg_max) for i in range(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        shared = decode_maps(readout, [8, 16], reg_max)
    finally:
        torch.set_num_threads(threads)
    for found in (
        decode_maps(last, [8, 16], reg_max),
        shared,
        [torch.cat(parts) for parts in zip(*alone, strict=True)],
    ):
        assert all(torch.equal(a, b) and a.dtype == dtype for a, b in zip(expected, found, strict=True))


def test_extreme_readouts_decode_without_overflow():
    readout = {"boxes0": torch.full((1, 8, 1, 1), 1e30), "scores0": torch.tensor([-1e30, 0, 1e30]).view(1, 3, 1, 1)}
    boxes, scores = decode_maps(readout, [8], 2)
    assert boxes.isfinite().all() and scores.flatten().tolist() == [0, 0.5, 1]


def test_decode_equals_the_ultralytics_head():
    model, images = live_yolo("yolov8n")
    head = model.model[-1]
    with torch.no_grad():
        decoded, raw = model(images)
    readout, start = {}, 0
    for level, maps in enumerate(raw["feats"]):
        stop = start + maps.shape[2] * maps.shape[3]
        for key in ("boxes", "scores"):
            readout[f"{key}{level}"] = raw[key][..., start:stop].unflatten(2, maps.shape[2:])
        start = stop
    boxes, scores = decode_maps(readout, [int(s) for s in head.stride], head.reg_max)
    centre, size = decoded[:, :4].transpose(1, 2).split(2, -1)
    torch.testing.assert_close(boxes, torch.cat([centre - size / 2, centre + size / 2], -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(scores, decoded[:, 4:].transpose(1, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("conf", value) for value in (2, -0.1, float("nan"), "0.5", True, None)),
        *(("iou", value) for value in (1.01, -1, float("nan"), "x", False)),
        *(("max_det", value) for value in (0, -1, 2.5, True, "3", None)),
    ],
)
def test_settings_refuse_what_cannot_work(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}: expected an? .*got {value!r}$"):
        DetectionSettings(**{name: value})


def test_settings_accept_their_bounds():
    assert DetectionSettings(conf=0, iou=1, max_det=1) == DetectionSettings(0.0, 1.0, 1)


def random_answers(cells=400, classes=3):
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(cells, 2, generator=random) * 100
    boxes = torch.cat([corner, corner + 1 + torch.rand(cells, 2, generator=random) * 40], 1)
    return boxes, torch.rand(cells, classes, generator=random)


def test_detect_thresholds_and_suppresses_the_best_class_of_each_cell():
    boxes, scores = random_answers()
    found = detect(boxes, scores, DetectionSettings(conf=0.6, iou=0.5))
    best, labels = scores.numpy().max(1), scores.numpy().argmax(1)
    cells = np.flatnonzero(best > 0.6)
    keep = cells[nms(boxes.numpy()[cells], best[cells], labels[cells], 0.5)]
    assert np.array_equal(found.boxes, boxes.numpy()[keep])
    assert np.array_equal(found.scores, best[keep]) and np.array_equal(found.labels, labels[keep])
    assert 0 < len(keep) < len(cells) < len(boxes)


def test_multi_label_gives_every_class_above_conf():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    scores = torch.tensor([[0.9, 0.2, 0.6]])
    assert detect(boxes, scores, DetectionSettings(conf=0.5)).labels.tolist() == [0]
    assert detect(boxes, scores, DetectionSettings(conf=0.5, multi_label=True)).labels.tolist() == [0, 2]


@pytest.mark.parametrize("multi_label", [False, True])
def test_classes_are_the_only_ones_found(multi_label):
    found = detect(*random_answers(), DetectionSettings(conf=0, classes=(0, 2), multi_label=multi_label))
    assert set(found.labels.tolist()) == {0, 2}


def test_max_det_keeps_the_best():
    boxes, scores = random_answers()
    all_found, few = (detect(boxes, scores, DetectionSettings(conf=0.1, max_det=n)) for n in (10_000, 5))
    assert np.array_equal(few.scores, all_found.scores[:5]) and np.array_equal(few.boxes, all_found.boxes[:5])
    assert np.all(np.diff(all_found.scores) <= 0)


def test_nothing_above_conf_is_an_empty_answer():
    found = detect(*random_answers(), DetectionSettings(conf=1.0))
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)


def test_classes_filter_after_the_best_class_is_chosen():
    boxes, scores = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.9, 0.8]])
    assert len(detect(boxes, scores, DetectionSettings(classes=(1,))).labels) == 0
    assert detect(boxes, scores, DetectionSettings(classes=(1,), multi_label=True)).labels.tolist() == [1]
    for wrong in (7, -1):
        with pytest.raises(ArgumentError, match="^classes: expected indices from 0 to 1"):
            detect(boxes, scores, DetectionSettings(classes=(wrong,)))
