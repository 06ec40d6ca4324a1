"""`SpikingYOLO`, the detector as users of Ultralytics expect it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from casc_det.base.arguments import (
    check_counts,
    check_fields,
    check_flags,
    check_one_of,
    check_steps,
    check_texts,
    shown,
)
from casc_det.base.device import check_device
from casc_det.base.threads import check_threads, computing, stepwise
from casc_det.errors import ArgumentError
from casc_det.evaluation.energy import ENERGY, EnergyModel
from casc_det.graph import SpikingGraph, moved
from casc_det.heads import head_of
from casc_det.heads.batch import run_batch
from casc_det.heads.detect.settings import DetectionSettings, chosen_labels
from casc_det.heads.policies import Policy, read_policy
from casc_det.simulation import SimulationSettings, Simulator, check_timesteps
from casc_det.simulation.step import Tally
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.convert import Conversion
from casc_det.yolo.images import Frame, check_imgsz, letterbox
from casc_det.yolo.results import SpikingResults, make_results
from casc_det.yolo.sources import Source
from casc_det.yolo.spiking import spiking_graph

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
CONF, IOU, MOST = DetectionSettings.conf, DetectionSettings.iou, DetectionSettings.max_det
Size = int | tuple[int, int]


class SpikingYOLO:
    """A spiking detector.

    Args:
        weights: a `.safetensors` file of `casc-det convert`, the name of shipped weights (`casc_det.graph.zoo`), a
            `SpikingGraph`, or what `convert` gives; None: the default weights.
        device: "cpu", "cuda", "cuda:0", 0, ...
        precision: "float32" or "float64". An integer graph is exact in both (default float32). A real-valued graph
            gives the ANN's answer in float64 (its default); in float32 a value on a rounding boundary can flip and
            change others, so that boxes may differ from the ANN's.
        threads: of the processor; "auto": as many as cores are free, at most `torch.get_num_threads()`. No answer
            depends on it.
        simulation: fields of `SimulationSettings` by name: engine ("fast" or "reference"), burst (the most unit spikes
            of a neuron in a step), ramp, hysteresis, delay (fewer corrections, the same answer at rest). What is not
            given is what the file recommends.

    Raises:
        ArgumentError: an argument cannot work. WeightsError: there are no such weights.
        ConversionError: the graph cannot be computed exactly.

    Example:
        >>> model = SpikingYOLO()
        >>> results = model.predict("bus.jpg", timesteps="auto")
        >>> results[0].boxes.xyxy, results[0].spiking.timesteps
    """

    def __init__(
        self,
        weights: str | Path | SpikingGraph | Conversion | None = None,
        device: str | int | torch.device = "cpu",
        precision: str | None = None,
        threads: int | str = "auto",
        **simulation: Any,
    ) -> None:
        if precision is not None:
            check_one_of(PRECISIONS, precision=precision)
        check_fields(SimulationSettings, simulation, "the simulation")
        settings = SimulationSettings(**simulation)
        self.threads = check_threads(threads)
        self.device = check_device(device)
        graph = spiking_graph(weights)
        self.simulation = settings.of(graph)
        self.dtype = PRECISIONS[precision or ("float32" if graph.integer else "float64")]
        self.graph = moved(graph, self.dtype, self.device)
        self._prepared: Simulator | None = None

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self.simulation).items() if value)
        return f"SpikingYOLO({self.graph!r}, {settings}, {str(self.dtype)[6:]} on {self.device})"

    @property
    def names(self) -> dict[int, str]:
        """Label -> class name."""
        return dict(enumerate(self.graph.names))

    def to(self, device: str | int | torch.device) -> "SpikingYOLO":
        """Move the network to a device, in place."""
        self.device = check_device(device)
        self.graph = moved(self.graph, self.dtype, self.device)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> list[SpikingResults] | Iterator[SpikingResults]:
        """`predict`."""
        return self.predict(*args, **kwargs)

    def predict(
        self,
        source: Any,
        timesteps: int | str = "auto",
        conf: float = CONF,
        iou: float = IOU,
        imgsz: Size | None = None,
        device: str | int | torch.device | None = None,
        stream: bool = False,
        max_det: int = MOST,
        classes: int | str | Iterable[int | str] | None = None,
        batch: int = 1,
        rect: bool = True,
        vid_stride: int = 1,
        policy: str = "quiescent",
    ) -> list[SpikingResults] | Iterator[SpikingResults]:
        """Detect objects with the spiking network.

        Args:
            source: image, folder, glob, .txt list, video, webcam index, URL, PIL image, array (H, W, 3) BGR or (H, W)
                of integers 0..255 or floats 0..1, tensor (3, H, W) or (B, 3, H, W) RGB of these, or a list of these.
            timesteps: number of time steps, or "auto": until the network is quiescent, when the answer is the ANN's.
            conf: smallest score. iou: NMS threshold. max_det: most boxes an image.
            classes: labels or class names to keep.
            imgsz: longest side in pixels or (height, width); default: that of the graph.
            device: move the network there first.
            stream: return a generator (constant memory) instead of a list.
            batch: images of equal letterboxed size that are simulated together.
            rect: pad to the stride only; False pads to a square.
            vid_stride: every so many frames of a video.
            policy: with timesteps="auto": when to stop, see `heads.policies`; each image stops by itself.

        Returns:
            A list or generator of Ultralytics `Results`, boxes in pixels of the original image, each with
            `result.spiking` (`timesteps`, `quiescent`, `spikes`, `messages`, `sops`, ...; see `SpikingInfo`).

        Raises:
            ArgumentError: an argument cannot work. SourceError: nothing of the source can be read.
        """
        if device is not None:
            self.to(device)
        settings = DetectionSettings(conf, iou, max_det, chosen_labels(classes, self.graph.names))
        check_timesteps(timesteps, self.graph, self.simulation)
        check_counts(batch=batch, vid_stride=vid_stride)
        check_flags(stream=stream, rect=rect)
        rule = read_policy(policy)
        if not isinstance(timesteps, str) and rule.kind != "quiescent":
            raise ArgumentError(f"policy: '{rule}' needs timesteps=auto, got timesteps={shown(timesteps)}")
        fitted = self._letterbox(imgsz, rect)
        frames = source if isinstance(source, Source) else Source(source, vid_stride)
        groups = _groups(((frame, fitted(frame.image)) for frame in frames), batch)
        results = self._predict(groups, timesteps, settings, rule)
        return results if stream else list(results)

    def _predict(
        self,
        groups: Iterable[list[tuple[Frame, torch.Tensor]]],
        timesteps: int | str,
        settings: DetectionSettings,
        policy: Policy,
    ) -> Iterator[SpikingResults]:
        for group in groups:
            begun = perf_counter()
            images = torch.stack([x for _, x in group]).to(self.device, self.dtype)
            start = perf_counter()
            with computing(self.threads):
                answers, infos, deciding = run_batch(self._simulator(), images, timesteps, settings, policy)
            speed = {
                "preprocess": (start - begun) * 1e3 / len(images),
                "inference": (perf_counter() - start - deciding) * 1e3 / len(images),
                "postprocess": deciding * 1e3 / len(images),
            }
            for (frame, x), answer, info in zip(group, answers, infos, strict=True):
                yield make_results(answer, frame, self.graph.names, x.shape[-2:], info, speed)

    def anytime(
        self,
        image: Any,
        timesteps: int | str = "auto",
        at: int | Iterable[int] | None = None,
        conf: float = CONF,
        iou: float = IOU,
        imgsz: Size | None = None,
    ) -> Iterator[SpikingResults]:
        """The answer to one image at every time step, from one simulation.

        Args:
            image: one image, see `predict`.
            at: the steps to yield; None yields all. The last one is always yielded.

        Yields:
            `Results` with `result.spiking`, in the order of the steps.

        Raises:
            ArgumentError: an argument cannot work. SourceError: the image cannot be read.
        """
        frame, x = self._single("anytime", image, imgsz)
        settings, chosen = DetectionSettings(conf, iou), None if at is None else check_steps(at)
        last = check_timesteps(timesteps, self.graph, self.simulation)

        def results() -> Iterator[SpikingResults]:
            tally = Tally(self.graph, self.simulation, 1)
            for step in stepwise(self.threads, self._simulator().run(x, timesteps)):
                tally.add(step)
                done = step.t == last or (timesteps == "auto" and bool(step.quiescent.all()))
                if chosen is None or step.t in chosen or done:
                    (answer,) = head_of(self.graph).answers(step.readout, settings)
                    yield make_results(answer, frame, self.graph.names, x.shape[-2:], tally.info(0, step.t))

        return results()

    def ann(self, image: Any, conf: float = CONF, iou: float = IOU, imgsz: Size | None = None) -> SpikingResults:
        """`Results` of the ANN twin for one image (see `predict`): what the spiking network converges to."""
        frame, x = self._single("ann", image, imgsz)
        settings = DetectionSettings(conf, iou)
        with computing(self.threads):
            output = ann_forward(self.graph, x, keep_counts=False)
        (answer,) = head_of(self.graph).answers(output.readout, settings)
        return make_results(answer, frame, self.graph.names, x.shape[-2:], None)

    def val(  # long: one line for each argument, and one to explain it
        self,
        data: str | Path,
        timesteps: int | str | Sequence[int | str] = "auto",
        against: str | Path | None = None,
        images: str | Path | None = None,
        split: str = "val",
        protocol: str | None = None,
        imgsz: Size | None = None,
        rect: bool = False,
        batch: int = 1,
        limit: int | None = None,
        mapping: Mapping[str, str | list[str]] | None = None,
        bootstrap: int = 1000,
        energy: EnergyModel = ENERGY,
        project: str | None = None,
        name: str | None = None,
        exist_ok: bool = False,
        resume: str | Path | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        trust: bool = False,
    ) -> dict[str, Any] | None:
        """Score the spiking network, its ANN twin and, optionally, a float network on a data set.

        Args:
            data: COCO `instances_*.json`, VOC folder, or dataset YAML; `images`, `split`: see `read_truth`.
            timesteps: the rows of the spiking network, for example "8,16,32,auto"; all from one simulation an image.
            against: float network (.pt, or .safetensors state dict of the same architecture) for the row "float".
            protocol: "coco", "voc07" or "voc12"; default: voc12 for a VOC folder, else coco.
            rect: letterbox to the stride only instead of a square.
            batch: images simulated together. limit: score only the first so many images.
            mapping: data set class name -> model class name, or several, where names differ.
            bootstrap: draws for the interval of the gap to the ANN; 0 for none.
            project, name, exist_ok: the run folder; default: a fresh `runs/detect/val`.
            resume: a run folder to go on with; all other arguments as they were.
            progress: called with (images done, to do).
            trust: unpickle a `.pt` file of `against` fully, which runs any code that is in it.

        Returns:
            The content of `results.json`, `{"settings", "rows", "problems", ...}`; None on all but the first process
            under torchrun.

        Raises:
            ArgumentError: an argument cannot work. SourceError: the data cannot be read.
        """
        from casc_det.evaluation.folder import start_folder
        from casc_det.evaluation.run import evaluate
        from casc_det.evaluation.settings import ValidationSettings, check_rows
        from casc_det.evaluation.shard import Shard
        from casc_det.evaluation.truth import limited, read_truth
        from casc_det.yolo.float_network import FloatNetwork

        if limit is not None:
            check_counts(limit=limit)
        check_flags(exist_ok=exist_ok)
        check_texts(project=project, name=name)
        settings = ValidationSettings(
            timesteps=check_rows(timesteps, self.graph),
            imgsz=self._size(imgsz),
            rect=rect,
            batch=batch,
            protocol=protocol,
            mapping=mapping,
            bootstrap=bootstrap,
            energy=energy,
            simulation=self.simulation,
            threads=self.threads,
        )
        truth = limited(read_truth(data, images, split), limit)
        floats = None
        if against is not None:
            architecture = self.graph.meta.get("architecture", "yolov8n.yaml")
            floats = FloatNetwork(against, architecture, self.graph.names, self.device, self.dtype, trust)
        shard = Shard.join()
        with ExitStack() as stack:
            folder = shard.share(lambda: stack.enter_context(start_folder(project, name or "val", exist_ok, resume)))
            return evaluate(self.graph, truth, settings, folder, floats, shard, progress, resumed=bool(resume))

    def _simulator(self) -> Simulator:
        """The network made ready, once; anew where another graph or other settings were put in their place."""
        ready = self._prepared
        if ready is None or ready.graph is not self.graph or ready.settings != self.simulation:
            ready = self._prepared = Simulator(self.graph, self.simulation)
        return ready

    def _size(self, imgsz: Size | None) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return check_imgsz(self.graph.imgsz if imgsz is None else imgsz, max(self.graph.strides))

    def _letterbox(self, imgsz: Size | None, rect: bool) -> Callable[[np.ndarray], torch.Tensor]:
        """What makes the network's input (3, H, W) of an image."""
        return partial(letterbox, imgsz=self._size(imgsz), stride=max(self.graph.strides), rect=rect)

    def _single(self, what: str, image: Any, imgsz: Size | None) -> tuple[Frame, torch.Tensor]:
        """The one image of method `what`, and the network's input (1, 3, H, W)."""
        fitted = self._letterbox(imgsz, rect=True)
        frame = image if isinstance(image, Frame) else Source(image).single(f"{what}()")
        return frame, fitted(frame.image)[None].to(self.device, self.dtype)


def _groups(pairs: Iterable[tuple[Frame, torch.Tensor]], size: int) -> Iterator[list[tuple[Frame, torch.Tensor]]]:
    """Consecutive images of equal input shape, at most `size` together."""
    for _, same in groupby(pairs, key=lambda pair: pair[1].shape):
        while group := list(islice(same, size)):
            yield group
