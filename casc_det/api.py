"""`SpikingYOLO`, the detector as users of Ultralytics expect it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from numbers import Integral
from pathlib import Path
from time import perf_counter

import torch

from casc_det.base.arguments import check_counts, check_flags, check_texts, shown
from casc_det.base.device import check_device
from casc_det.base.threads import check_threads, computing, stepwise
from casc_det.errors import ArgumentError, nearest
from casc_det.evaluation.energy import EnergyModel
from casc_det.graph import Graph, SpikingGraph, moved
from casc_det.graph.file import load_graph
from casc_det.graph.validate import validate
from casc_det.graph.zoo import find
from casc_det.heads import head_of
from casc_det.heads.batch import run_batch
from casc_det.heads.detect.settings import DetectionSettings, check_classes
from casc_det.heads.policies import read_policy
from casc_det.simulation import SimulationSettings, Simulator, check_timesteps
from casc_det.simulation.tally import Tally
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.convert import Conversion

ENERGY = EnergyModel()
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class SpikingYOLO:
    """A spiking detector.

    Args:
        weights: a `.safetensors` file of `casc-det convert`, the name of shipped weights (`casc_det.graph.zoo`), a
            `SpikingGraph`, or what `convert` gives; None: the default weights.
        device: "cpu", "cuda", "cuda:0", 0, ...
        precision: "float32" or "float64". An integer graph is exact in both (default float32). A real-valued graph
            gives the ANN's answer in float64 (its default); in float32 a value on a rounding boundary can flip and
            change others, so that boxes may differ from the ANN's.
        engine: "fast" or "reference", see `casc_det.simulation`.
        hysteresis, delay: fewer corrections for the same answer at rest, see `casc_det.neurons.schedule`; 0 for none.
        threads: of the processor; "auto": as many as cores are free, at most `torch.get_num_threads()`. No answer
            depends on it.

    Example:
        >>> model = SpikingYOLO()
        >>> results = model.predict("bus.jpg", timesteps="auto")
        >>> results[0].boxes.xyxy, results[0].spiking.timesteps
    """

    def __init__(
        self,
        weights: str | Path | SpikingGraph | Conversion | None = None,
        device="cpu",
        precision: str | None = None,
        engine: str = "fast",
        hysteresis: float = 0.0,
        delay: float = 0.0,
        threads: int | str = "auto",
    ):
        if not isinstance(precision, str | None) or precision not in (*PRECISIONS, None):
            raise ArgumentError(f"precision: expected one of {', '.join(PRECISIONS)}, got {shown(precision)}")
        self.simulation = SimulationSettings(engine, hysteresis=hysteresis, delay=delay)
        self.threads = check_threads(threads)
        self.device = check_device(device)
        graph = spiking_graph(weights)
        self.dtype = PRECISIONS[precision or ("float32" if graph.integer else "float64")]
        self.graph = moved(graph, self.dtype, self.device)
        self._prepared: Simulator | None = None

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self.simulation).items() if value)
        return f"SpikingYOLO({self.graph!r}, {settings}, {str(self.dtype)[6:]} on {self.device})"

    @property
    def names(self) -> dict[int, str]:
        return dict(enumerate(self.graph.names))

    def __call__(self, *args, **kwargs):
        return self.predict(*args, **kwargs)

    def predict(
        self,
        source,
        timesteps: int | str = "auto",
        conf: float = DetectionSettings.conf,
        iou: float = DetectionSettings.iou,
        imgsz: int | tuple[int, int] | None = None,
        device=None,
        stream: bool = False,
        max_det: int = DetectionSettings.max_det,
        classes: list[int] | None = None,
        batch: int = 1,
        rect: bool = True,
        vid_stride: int = 1,
        policy: str = "quiescent",
    ):
        """Detect objects with the spiking network.

        Args:
            source: picture, folder, glob, .txt list, video, webcam index, URL, PIL image, array (H, W, 3) BGR or (H, W)
                of integers 0..255 or floats 0..1, tensor (3, H, W) or (B, 3, H, W) RGB of these, or a list of these.
            timesteps: number of time steps, or "auto": until the network is quiescent, when the answer is the ANN's.
            conf: smallest score. iou: NMS threshold. max_det: most boxes a picture.
            classes: labels or class names to keep.
            imgsz: longest side in pixels or (height, width); default: that of the graph.
            device: move the network there first.
            stream: return a generator (constant memory) instead of a list.
            batch: pictures of equal letterboxed size that are simulated together.
            rect: pad to the stride only; False pads to a square.
            vid_stride: every so many frames of a video.
            policy: with timesteps="auto": when to stop, see `heads.policies`; each picture stops by itself.

        Returns:
            A list or generator of Ultralytics `Results`, boxes in pixels of the original picture, each with
            `result.spiking` (`timesteps`, `quiescent`, `spikes`, `sops`).

        Raises:
            ArgumentError: an argument cannot work. SourceError: nothing of the source can be read.
        """
        from casc_det.yolo.letterbox import check_imgsz
        from casc_det.yolo.sources import Source

        if device is not None:
            self.to(device)
        settings = DetectionSettings(conf, iou, max_det, self._classes(classes), False)
        check_timesteps(timesteps, self.graph, self.simulation)
        check_counts(batch=batch, vid_stride=vid_stride)
        check_flags(stream=stream, rect=rect)
        policy = read_policy(policy)
        if not isinstance(timesteps, str) and policy.kind != "quiescent":
            raise ArgumentError(f"policy: '{policy}' needs timesteps=auto, got timesteps={shown(timesteps)}")
        size = check_imgsz(self.graph.imgsz if imgsz is None else imgsz, max(self.graph.strides))
        frames = source if isinstance(source, Source) else Source(source, vid_stride)
        generator = self._predict(frames, timesteps, settings, size, rect, batch, policy)
        return generator if stream else list(generator)

    def _predict(self, frames, timesteps, settings, size, rect, batch, policy) -> Iterator:
        for group in _batches(((frame, self._input(frame.image, size, rect)) for frame in frames), batch):
            begun = perf_counter()
            images = torch.stack([image for _, image in group]).to(self.device, self.dtype)
            start = perf_counter()
            with computing(self.threads):
                found, infos, deciding = run_batch(self._simulator(), images, timesteps, settings, policy)
            speed = {
                "preprocess": (start - begun) * 1e3 / len(images),
                "inference": (perf_counter() - start - deciding) * 1e3 / len(images),
                "postprocess": deciding * 1e3 / len(images),
            }
            for i, (frame, image) in enumerate(group):
                yield self._results(found[i], frame, image, infos[i], speed)

    def anytime(
        self,
        image,
        timesteps: int | str = "auto",
        at=None,
        conf: float = DetectionSettings.conf,
        iou: float = DetectionSettings.iou,
        imgsz=None,
    ):
        """The answer to one picture at every time step, from one simulation.

        Args:
            image: one image, see `predict`.
            at: the steps to yield; None yields all. The last one is always yielded.

        Yields:
            `Results` with `result.spiking`, in the order of the steps.
        """
        frame, x, settings = self._single("anytime", image, conf, iou, imgsz)
        last = check_timesteps(timesteps, self.graph, self.simulation)
        return self._anytime(frame, x, settings, timesteps, last, None if at is None else check_steps(at))

    def _anytime(self, frame, x, settings, timesteps, last: int, at: set[int] | None) -> Iterator:
        tally = Tally(1)
        steps = self._simulator().run(x[None].to(self.device, self.dtype), timesteps)
        for step in stepwise(self.threads, steps):
            tally.add(step)
            done = step.t == last or (timesteps == "auto" and bool(step.quiescent.all()))
            if at is None or step.t in at or done:
                (answer,) = head_of(self.graph).answers(step.readout, settings)
                yield self._results(answer, frame, x, tally.info(0, step.t))

    def ann(self, image, conf: float = DetectionSettings.conf, iou: float = DetectionSettings.iou, imgsz=None):
        """`Results` of the ANN twin for one image (see `predict`): what the spiking network converges to."""
        frame, x, settings = self._single("ann", image, conf, iou, imgsz)
        with computing(self.threads):
            output = ann_forward(self.graph, x[None].to(self.device, self.dtype), keep_counts=False)
        (answer,) = head_of(self.graph).answers(output.readout, settings)
        return self._results(answer, frame, x, None)

    def val(
        self,
        data,
        timesteps="auto",
        against=None,
        images=None,
        split: str = "val",
        protocol: str | None = None,
        imgsz: int | tuple[int, int] | None = None,
        rect: bool = False,
        batch: int = 1,
        limit: int | None = None,
        mapping: dict[str, str] | None = None,
        bootstrap: int = 1000,
        energy: EnergyModel = ENERGY,
        project: str | None = None,
        name: str | None = None,
        exist_ok: bool = False,
        resume: str | Path | None = None,
        progress=lambda done, total: None,
        trust: bool = False,
    ) -> dict | None:
        """Score the spiking network, its ANN twin and, optionally, a float network on a data set.

        Args:
            data: COCO `instances_*.json`, VOC folder, or dataset YAML; `images`, `split`: see `read_truth`.
            timesteps: the rows of the spiking network, for example "8,16,32,auto"; all from one simulation a picture.
            against: float network (.pt, or .safetensors state dict of the same architecture) for the row "float".
            protocol: "coco", "voc07" or "voc12"; default: voc12 for a VOC folder, else coco.
            rect: letterbox to the stride only instead of a square.
            batch: pictures simulated together. limit: score only the first so many pictures.
            mapping: data set class name -> model class name, where names differ.
            bootstrap: draws for the interval of the gap to the ANN; 0 for none.
            project, name, exist_ok: the run folder; default: a fresh `runs/detect/val`.
            resume: a run folder to go on with; all other arguments as they were.
            progress: called with (pictures done, to do).
            trust: unpickle a `.pt` file of `against` fully, which runs any code that is in it.

        Returns:
            The content of `results.json`, `{"settings", "rows", "problems", ...}`; None on all but the first process
            under torchrun.
        """
        from casc_det.evaluation.folder import start_folder
        from casc_det.evaluation.run import evaluate
        from casc_det.evaluation.settings import ValidationSettings, check_rows
        from casc_det.evaluation.shard import Shard
        from casc_det.evaluation.truth import limited, read_truth
        from casc_det.yolo.float_network import FloatNetwork
        from casc_det.yolo.letterbox import check_imgsz

        check_counts(**({} if limit is None else {"limit": limit}))
        check_flags(exist_ok=exist_ok)
        check_texts(project=project, name=name)
        settings = ValidationSettings(
            timesteps=check_rows(timesteps, self.graph),
            imgsz=check_imgsz(self.graph.imgsz if imgsz is None else imgsz, max(self.graph.strides)),
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

    def to(self, device) -> "SpikingYOLO":
        """Move the network to a device, in place."""
        self.device = check_device(device)
        self.graph = moved(self.graph, self.dtype, self.device)
        return self

    def _simulator(self) -> Simulator:
        """The network made ready, once; anew where another graph or other settings were put in their place."""
        ready = self._prepared
        if ready is None or ready.graph is not self.graph or ready.settings != self.simulation:
            ready = self._prepared = Simulator(self.graph, self.simulation)
        return ready

    def _single(self, what, image, conf, iou, imgsz):
        from casc_det.yolo.images import Frame
        from casc_det.yolo.letterbox import check_imgsz
        from casc_det.yolo.sources import Source

        size = check_imgsz(self.graph.imgsz if imgsz is None else imgsz, max(self.graph.strides))
        frame = image if isinstance(image, Frame) else Source(image).single(f"{what}()")
        return frame, self._input(frame.image, size, True), DetectionSettings(conf, iou)

    def _input(self, image, size, rect):
        from casc_det.yolo.letterbox import letterbox

        return letterbox(image, size, max(self.graph.strides), rect)

    def _classes(self, classes) -> tuple[int, ...] | None:
        if classes is None:
            return None
        if isinstance(classes, str):
            classes = read_classes(classes, self.graph.names)
        if not isinstance(classes, int | list | tuple | set | range):
            raise ArgumentError(f"classes: expected labels or class names, got {shown(classes)}")
        given = (classes,) if isinstance(classes, int) else tuple(classes)
        for name in given:
            if isinstance(name, str) and name not in self.graph.names:
                raise ArgumentError(f"classes: the model has no class '{name}'{nearest(name, self.graph.names)}")
        labels = tuple(self.graph.names.index(c) if isinstance(c, str) else c for c in given)
        return check_classes(labels, len(self.graph.names))

    def _results(self, found, frame, x, info, speed=None):
        from casc_det.yolo.results import make_results

        return make_results(found, frame, self.graph.names, tuple(x.shape[1:]), info, speed)


def spiking_graph(weights: str | Path | SpikingGraph | Conversion | None) -> SpikingGraph:
    """The graph that `weights` of `SpikingYOLO` stands for.

    Raises:
        ArgumentError: it is of no such type. ConversionError: the graph cannot be computed exactly.
        WeightsError: there is no such file, or it holds no spiking graph.
    """
    if isinstance(weights, str | os.PathLike | None):
        return load_graph(find(weights), torch.float64)
    graph = weights.graph if isinstance(weights, Conversion) else weights
    if isinstance(graph, SpikingGraph):
        validate(graph)
        return graph
    if isinstance(weights, SpikingYOLO):
        remedy = "pass its .graph"
    elif isinstance(weights, Graph):
        remedy = "it is captured, not converted yet: pass casc_det.convert(model) of its network"
    elif isinstance(weights, torch.nn.Module) or type(weights).__name__ == "YOLO":
        remedy = "it is a network of floats: pass casc_det.convert(model)"
    else:
        remedy = "pass what casc_det.convert(model) or casc_det.load(path) gives"
    raise ArgumentError(
        f"weights: expected a path, a name, a SpikingGraph or a Conversion, got {type(weights).__name__}; {remedy}"
    )


def check_steps(at) -> set[int]:
    """`at` of `anytime`, one step or several, as a set, or ArgumentError."""
    steps = list(at) if isinstance(at, Iterable) else [at]
    if any(isinstance(t, bool) or not isinstance(t, Integral) for t in steps):
        raise ArgumentError(f"at: expected time steps, integers, got {shown(at)}")
    return set(steps)


def _batches(pairs, size: int) -> Iterator[list]:
    """Consecutive (frame, input) pairs of equal input shape, at most `size` together."""
    for _, same in groupby(pairs, key=lambda pair: pair[1].shape):
        group = []
        for pair in same:
            group.append(pair)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group


def read_classes(text: str, names: list[str]) -> list[int | str]:
    """`person,bus` or `[0,2]` as names and labels; a part that is a class name is one, also where it is a number."""
    if text in names:
        return [text]
    parts = [part.strip().strip("'\"") for part in text.strip("[]() ").split(",")]
    if not any(parts):
        raise ArgumentError(f"classes: expected labels or class names, got {shown(text)}")
    return [part if part in names or not part.isdecimal() else int(part) for part in parts if part]
