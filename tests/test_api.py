"""SpikingYOLO: from an image to Ultralytics Results."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import YOLOS, live_yolo, simulate
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect import DetectionPredictor

from casc_det import SpikingYOLO, convert
from casc_det.errors import ArgumentError, ConversionError, WeightsError
from casc_det.heads.detect.detections import Detections
from casc_det.prediction.demo import box_difference
from casc_det.prediction.records import record
from casc_det.yolo.capture import capture
from casc_det.yolo.images import Frame
from casc_det.yolo.results import make_results

RANDOM = np.random.default_rng(0).integers(0, 256, (3, 90, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector():
    model, _ = live_yolo("yolov8n")
    return SpikingYOLO(convert(model, imgsz=64).graph, precision="float64")


def test_a_conversion_and_its_graph_are_weights(detector):
    conversion = convert(live_yolo("yolov8n")[0], imgsz=64)
    expected = record(detector.predict(RANDOM[0], conf=0)[0])
    for weights in (conversion, conversion.graph):
        assert record(SpikingYOLO(weights, precision="float64").predict(RANDOM[0], conf=0)[0]) == expected


def test_what_is_no_weights_is_refused_with_what_to_pass(detector):
    network, _ = live_yolo("yolov8n")
    for wrong, kind, remedy in (
        (network, "DetectionModel", "pass casc_det.convert(model)"),
        (capture(network, 64), "Graph", "pass casc_det.convert(model) of its network"),
        (detector, "SpikingYOLO", "pass its .graph"),
        ([detector.graph], "list", "pass what casc_det.convert(model) or casc_det.load(path) gives"),
        (5, "int", "pass what casc_det.convert(model) or casc_det.load(path) gives"),
    ):
        with pytest.raises(ArgumentError) as refused:
            SpikingYOLO(wrong)
        assert str(refused.value).startswith("weights: expected a path, a name, a SpikingGraph or a Conversion")
        assert f"got {kind}; " in str(refused.value) and str(refused.value).endswith(remedy)
        assert "\n" not in str(refused.value)


def test_repr_of_model_conversion_and_step_is_one_short_line(detector):
    step = next(simulate(detector.graph, torch.zeros(1, 3, 64, 64, dtype=torch.float64)))
    assert len(detector.graph.nodes) > 100
    for thing in (detector, convert(live_yolo("yolov8n")[0]), step):
        text = repr(thing)
        assert text.startswith(type(thing).__name__) and len(text) < 300 and "\n" not in text and "tensor" not in text
    assert "engine='fast'" in repr(detector) and "float64 on cpu" in repr(detector)


def test_predict_gives_ultralytics_results_with_cost(detector):
    (result,) = detector.predict(RANDOM[0], conf=0)
    assert isinstance(result, Results) and result.orig_shape == (90, 60) and len(result) > 0
    assert result.spiking.quiescent and 4 < result.spiking.timesteps < 200
    assert result.spiking.spikes > 0 and result.spiking.sops > result.spiking.spikes
    assert result.plot().shape == (90, 60, 3)
    assert len(json.loads(result.to_json())) == len(result)
    xyxy = result.boxes.xyxy
    assert bool((xyxy >= 0).all()) and bool((xyxy[:, [0, 2]] <= 60).all()) and bool((xyxy[:, [1, 3]] <= 90).all())
    assert result.cpu().spiking == result.spiking


@pytest.mark.parametrize("name", YOLOS)
def test_ann_boxes_are_those_of_ultralytics_own_predict(name):
    """On the same network in float64: their letterbox, forward pass, decoding, NMS and scaling back."""
    model, _ = live_yolo(name)
    theirs = DetectionPredictor(overrides={"conf": 0.0, "iou": 0.5, "rect": True, "device": "cpu"})
    theirs.model = SimpleNamespace(fp16=False, format="pt", stride=32, names=model.names, end2end=False)
    theirs.imgsz, theirs.device, theirs.batch = (96, 96), torch.device("cpu"), (["image.jpg"], [RANDOM[0]], [""])
    images = theirs.preprocess([RANDOM[0]]).double()
    with torch.no_grad():
        (expected,) = theirs.postprocess(model(images), images, [RANDOM[0]])
    ours = SpikingYOLO(convert(model, precision="float")).ann(RANDOM[0], conf=0.0, iou=0.5, imgsz=96)
    assert 5 < len(ours) == len(expected) < 126
    torch.testing.assert_close(ours.boxes.conf, expected.boxes.conf, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.boxes.xyxy, expected.boxes.xyxy, rtol=0, atol=1e-3)
    assert torch.equal(ours.boxes.cls, expected.boxes.cls) and ours.names == expected.names


def test_predict_at_quiescence_equals_the_ann(detector):
    snn, ann = detector.predict(RANDOM[0], conf=0)[0], detector.ann(RANDOM[0], conf=0)
    assert box_difference(record(snn), record(ann)) < 1e-9


def test_predict_in_batches_equals_one_by_one(detector):
    images = list(RANDOM)
    single = [record(r) for r in detector.predict(images, conf=0)]
    together = [record(r) for r in detector.predict(images, conf=0, batch=3)]
    assert [r["spiking"] for r in single] == [r["spiking"] for r in together]
    assert all(box_difference(a, b) < 1e-9 for a, b in zip(single, together, strict=True))


def test_anytime_yields_every_step_and_ends_with_predict(detector):
    results = list(detector.anytime(RANDOM[0], conf=0))
    assert [r.spiking.timesteps for r in results] == list(range(1, len(results) + 1))
    assert record(results[-1]) == record(detector.predict(RANDOM[0], conf=0)[0])
    chosen = list(detector.anytime(RANDOM[0], timesteps=9, at=[4, 7]))
    assert [r.spiking.timesteps for r in chosen] == [4, 7, 9]


def test_fewer_corrections_give_the_same_answer_for_fewer_spikes(detector):
    plain = detector.predict(RANDOM[0], conf=0)[0]
    for option in ({"hysteresis": 0.5}, {"delay": 0.5}):
        other = SpikingYOLO(detector.graph, precision="float64", **option)
        result = other.predict(RANDOM[0], conf=0)[0]
        assert box_difference(record(result), record(plain)) < 1e-9 and result.spiking.quiescent
        assert result.spiking.spikes < plain.spiking.spikes
        assert record(list(other.anytime(RANDOM[0], conf=0))[-1]) == record(result)
    for name in ("hysteresis", "delay"):
        with pytest.raises(ArgumentError, match=name):
            SpikingYOLO(detector.graph, **{name: -1})


def test_predict_streams_and_filters_classes(detector):
    stream = detector.predict(RANDOM[0], conf=0, classes=[1], max_det=3, stream=True)
    assert not isinstance(stream, list)
    (result,) = stream
    assert len(result) <= 3 and set(result.boxes.cls.tolist()) <= {1.0}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("timesteps", 0),
        ("timesteps", -3),
        ("timesteps", "many"),
        ("conf", 1.5),
        ("iou", "x"),
        ("imgsz", 5),
        ("batch", 0),
        ("max_det", 0),
        ("classes", [99]),
        ("device", "cuda:77"),
        ("vid_stride", 0),
        ("rect", "no"),
        ("stream", 0),
        ("classes", 0.5),
        ("classes", "nothing"),
        ("classes", ","),
        ("timesteps", np.arange(3)),
        ("conf", b"x" * 400000),
        ("policy", "x" * 400000),
    ],
)
def test_predict_names_the_wrong_argument(detector, argument, value):
    with pytest.raises(ArgumentError, match=argument) as caught:
        detector.predict(RANDOM[0], **{argument: value})
    assert len(str(caught.value)) < 300


def test_weights_are_a_text(tmp_path):
    for wrong in (0, False, "", [], b"x", "a\0b"):
        with pytest.raises(ArgumentError, match="^weights: expected a (text|path)"):
            SpikingYOLO(wrong)
    os.mkfifo(tmp_path / "pipe.safetensors")  # nobody writes: to open it would take for ever
    for other in (tmp_path, tmp_path / "pipe.safetensors"):
        with pytest.raises(WeightsError, match="is no file"):
            SpikingYOLO(other)
    with pytest.raises(WeightsError, match="neither a file nor the name"):
        SpikingYOLO("x" * 5000)


def test_steps_of_anytime_are_integers(detector):
    for at in (3, [3], np.array([3]), range(3, 4)):
        assert [r.spiking.timesteps for r in detector.anytime(RANDOM[0], timesteps=5, at=at)] == [3, 5]
    for wrong in ("x", 2.5, [None], [[1]], True):
        with pytest.raises(ArgumentError, match="^at: expected time steps"):
            detector.anytime(RANDOM[0], at=wrong)


@pytest.mark.parametrize(
    "name", ["cat", "人", "\ud800", "人\ud800", "a\nb", "人\nb", "\u202e人", "", "人" * 5000, "a\0人"]
)
def test_boxes_of_every_class_name_are_drawn(name):
    """Also corners in the other order, which a network without distributions of distances may give."""
    image = np.full((60, 90, 3), 99, np.uint8)
    drawn = {}
    for box in ((10, 5, 50, 40), (50, 40, 10, 5), (50, 5, 10, 40)):
        found = Detections(np.array([box], float), np.array([0.5]), np.array([0]))
        result = make_results(found, Frame(image, "a.png"), [name], (60, 90), None)
        drawn[box] = result.plot()
        assert result.boxes.xyxy.tolist() == [list(box)] and result.names == {0: name}
    assert not np.array_equal(drawn[10, 5, 50, 40], image)
    assert all(np.array_equal(other, drawn[10, 5, 50, 40]) for other in drawn.values())


def test_ann_and_anytime_look_at_one_image(detector):
    one = detector.ann([RANDOM[0]], conf=0)
    assert record(one) == record(detector.ann(RANDOM[0], conf=0))
    tensor = torch.from_numpy(RANDOM[0][..., ::-1].transpose(2, 0, 1).copy())
    assert record(detector.ann(tensor, conf=0)) == record(one)
    for several in (list(RANDOM), torch.stack([tensor, tensor])):
        with pytest.raises(ArgumentError, match=r"ann\(\) looks at one image, got [23] of them"):
            detector.ann(several)
        with pytest.raises(ArgumentError, match=r"anytime\(\) looks at one image"):
            detector.anytime(several)  # at once, not when the first step is asked for


def test_every_entry_checks_its_image(detector):
    for entry in (detector, detector.predict, detector.ann, detector.anytime):
        for wrong in (RANDOM[0] / 1.0, RANDOM[0].transpose(2, 0, 1), b"x" * 1000, np.zeros((0, 3, 3), np.uint8)):
            with pytest.raises(ArgumentError, match="^source: ") as caught:
                entry(wrong)
            assert len(str(caught.value)) < 300
    assert record(detector.ann(RANDOM[0] / 255, conf=0)) == record(detector.ann(RANDOM[0], conf=0))


def test_convert_leaves_the_model_unchanged_and_keeps_provenance():
    model, _ = live_yolo("yolov8n")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    conversion = convert(model, imgsz=64)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert conversion.graph.meta["architecture"] == "yolov8n.yaml" and conversion.graph.imgsz == 64
    assert {row.status for row in conversion.audit} == {"exact"}


def test_convert_refuses_what_is_no_checkpoint(tmp_path):
    for wrong in (-5, 0, 5.0, True, 10**9):
        with pytest.raises(ArgumentError, match="^imgsz: expected an integer from 32 to 8192"):
            convert(live_yolo("yolov8n")[0], imgsz=wrong)
    with pytest.raises(ConversionError, match="detection model"):
        convert(torch.nn.Conv2d(3, 3, 1))
