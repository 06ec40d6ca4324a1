"""`casc-det train`: the Ultralytics trainer with CQReLU, progressive activation and, optionally, a teacher.

Everything that is not named in `OWN` is Ultralytics' (augmentation, run folder, args.yaml, results.csv, resume,
patience, seed, device, EMA).
"""

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import math
import re
import sys
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT, LOGGER, TQDM, YAML
from ultralytics.utils.files import get_latest_run
from ultralytics.utils.patches import override_configs
from ultralytics.utils.torch_utils import unwrap_model

from casc_det.base.arguments import check_texts
from casc_det.base.folders import PROJECT, locked, run_folder
from casc_det.errors import ArgumentError, CascError, SourceError, UsageError, WeightsError, nearest
from casc_det.graph.file import load_graph
from casc_det.graph.zoo import find
from casc_det.neurons.activation import check_levels
from casc_det.show.figures import without_mathtext
from casc_det.training.arguments import OWN
from casc_det.training.distill import FEATURE_GAIN, DistillationLoss, mean_losses
from casc_det.training.health import Health
from casc_det.training.preflight import check_convertible
from casc_det.training.regularise import FakeInt8, SpikePenalty
from casc_det.training.whole import WholePath, strip_whole, trim_results
from casc_det.yolo.architecture import check_description, read_architecture
from casc_det.yolo.checkpoint import check_answer, float_model, is_spiking, load_float, read_checkpoint, read_state
from casc_det.yolo.data import ImageDataset, is_yaml, read_data
from casc_det.yolo.guard import guarded
from casc_det.yolo.install import calibrate_clips, cqrelu_sites, install_cqrelu, set_alpha
from casc_det.yolo.network import CQReLUModel

DEFAULT_LEVELS = 8
TRAIN_KEYS = (*DEFAULT_CFG_DICT, *OWN)
CALIBRATION_IMAGES = 128
MOST_MATCHES = 10  # places that Ultralytics' loss matches with an object
NOTHING_SAVED = "no checkpoint was written yet (the first epoch had not ended), there is nothing to go on with"


def check_architecture(model, trust: bool = False) -> None:
    """Raise CascError where `model` is no known architecture and no .pt file, or cannot be converted."""
    path = Path(str(model))
    if path.suffix == ".pt":
        if not path.is_file():
            raise WeightsError(f"model: '{model}' does not exist (nothing is downloaded); give a file")
        network = read_checkpoint(path, trust, "model")
    else:
        description = read_architecture(model, trust)
        try:
            network = DetectionModel(description, verbose=False)
        except Exception as error:  # the layers' own
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise WeightsError(f"model: '{model}' describes no network that can be built ({reason})") from error
    check_convertible(network, str(model))


class DistillationValidator:
    """Stands in for the detection validator where there are no labels: mean distillation loss of held-out images."""

    metrics = SimpleNamespace(keys=[])

    def __init__(self, dataloader, args):
        self.dataloader, self.args = dataloader, args

    def __call__(self, trainer):
        batches = (trainer.as_they_are(batch)["img"] for batch in TQDM(self.dataloader, desc="held-out pictures"))
        losses = mean_losses(trainer.ema.ema, trainer.teacher, batches)
        mean = {f"val/{key}": round(value, 5) for key, value in losses.items()}
        return {**mean, "fitness": -sum(mean.values())}


class CascTrainer(DetectionTrainer):
    """Ultralytics' DetectionTrainer for CQReLU networks; `overrides` may hold the keys of `OWN`."""

    def __init__(self, cfg=DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        overrides = dict(overrides or {})
        self.own = {key: overrides.pop(key, argument.default) for key, argument in OWN.items()}
        self.teacher = self.fake_int8 = None
        self.saved = False  # whether there is a checkpoint to go on with
        threads = torch.get_num_threads()
        with guarded(self.own["trust"]):
            super().__init__(cfg, overrides, _callbacks)
        torch.set_num_threads(threads)  # Ultralytics leaves one core out when it selects a CPU
        self.wdir = WholePath(self.wdir)
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.asked_amp = self.args.amp
        self.cpu_bf16 = self.device.type == "cpu" and self.args.amp == "bf16"
        if self.cpu_bf16:
            self.args.amp = False  # Ultralytics has no bf16 on CPUs; CQReLUModel does it

    def check_resume(self, overrides):
        super().check_resume(overrides)
        for key, value in self.own.items():
            if not hasattr(self.args, key):
                setattr(self.args, key, value)
        self.args.trust = self.own["trust"]  # never that of a checkpoint
        if self.resume and not overrides.get("save_dir"):  # where the checkpoint lies, whatever is written in it
            folder = Path(self.args.resume).absolute().parent
            self.args.project, self.args.name = overrides.get("project"), overrides.get("name")
            self.args.save_dir = str(folder.parent) if folder.name == "weights" else None

    def resume_training(self, ckpt):
        if ckpt is not None and self.resume and not 0 <= ckpt.get("epoch", -1) < self.epochs - 1:
            raise ArgumentError(
                f"resume: the training of '{self.args.model}' is finished, there is nothing to go on with; start a new "
                f"one from it with model={self.args.model}"
            )
        super().resume_training(ckpt)
        if self.resume:
            self.saved = True
            trim_results(self.csv, self.start_epoch)

    # data ---------------------------------------------------------------------------------------------------------

    @property
    def unlabelled(self) -> bool:
        return not is_yaml(self.args.data)

    def get_dataset(self):
        return read_data(self.args.data, self.args.teacher, self.args.names, self.args.trust)

    def build_dataset(self, img_path, mode="train", batch=None):
        if not self.unlabelled:
            try:
                return super().build_dataset(img_path, mode, batch)
            except (RuntimeError, FileNotFoundError, AssertionError, ValueError) as error:  # no image can be used, ...
                raise SourceError(f"data: '{self.args.data}': {' '.join(str(error).split())[:500]}") from error
        settings = {"imgsz": self.args.imgsz, "cache": self.args.cache, "hyp": self.args, "batch_size": batch}
        return ImageDataset(img_path, data=self.data, augment=mode == "train", stride=32, **settings)

    # model --------------------------------------------------------------------------------------------------------

    def train(self):
        with guarded(self.args.trust), without_mathtext():
            super().train()

    def get_model(self, cfg=None, weights=None, verbose=True):
        if isinstance(cfg, dict):  # out of a checkpoint
            check_description(cfg, self.args.trust, f"model: '{self.args.model}'")
        else:
            cfg = read_architecture(cfg, self.args.trust)
        model = self.set_model_names_for_load(
            CQReLUModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=False)
        )
        self.start = "scratch" if weights is None else "cqrelu" if cqrelu_sites(weights) else "float"
        if self.start == "cqrelu":  # resumed or fine-tuned: same sites, clips included
            self.args.levels = self.args.levels or cqrelu_sites(weights)[0].levels
            self.install(model)
        if weights is not None:
            model.load(weights, verbose=False)
        return model

    def install(self, model):
        if self.args.progressive is None:
            self.args.progressive = 0.5 if self.start == "float" else 0.0
        self.args.levels = self.args.levels or DEFAULT_LEVELS
        count = install_cqrelu(model, self.args.levels)
        with override_configs(self.args, {"amp": self.asked_amp}):
            YAML.save(self.save_dir / "args.yaml", vars(self.args))  # again, now that the defaults are settled
        check_convertible(model, self.args.model)
        LOGGER.info(f"CQReLU: {count} activations replaced, {self.args.levels} levels")

    def setup_model(self):
        checkpoint = super().setup_model()
        self.model = self.model.to(self.device)
        if self.args.weights and is_spiking(self.args.weights) and self.start == "scratch":
            self.start = "cqrelu"
            self.args.levels = self.args.levels or load_graph(self.args.weights).levels
            self.install(self.model)
            self.load_weights(self.calibration_images())
        elif self.start != "cqrelu":
            images = self.calibration_images()
            if self.args.weights:
                self.start = "float"
                self.load_weights(images)
            self.install(self.model)
            calibrate_clips(self.model, images)
        self.model.cpu_bf16 = self.cpu_bf16
        if self.args.teacher:
            self.teacher = self.load_teacher()
        if self.cpu_bf16:
            self.model = self.model.to(memory_format=torch.channels_last)
        return checkpoint

    def load_weights(self, images: list[torch.Tensor]) -> None:
        missing = load_float(self.model, self.args.weights, images, self.args.trust)
        if missing:
            LOGGER.warning(f"weights: {len(missing)} tensors start at random, the first is {missing[0]}")

    def calibration_images(self) -> list[torch.Tensor]:
        """A few batches of the training set, without augmentation."""
        with override_configs(self.args, {"cache": False}):
            dataset = self.build_dataset(self.data["train"], "val", 16)
        collate = dataset.collate_fn
        step = max(len(dataset) // CALIBRATION_IMAGES, 1)
        chosen = range(0, len(dataset), step)[:CALIBRATION_IMAGES]
        batches = [collate([dataset[i] for i in chosen[k : k + 16]]) for k in range(0, len(chosen), 16)]
        self.stride = 32
        return [self.as_they_are(batch)["img"] for batch in batches]

    def as_they_are(self, batch):
        """`preprocess_batch` of images that are not trained on, without the random sizes of `multi_scale`."""
        with override_configs(self.args, {"multi_scale": 0.0}):
            return self.preprocess_batch(batch)

    @property
    def feature_gain(self) -> float:
        return FEATURE_GAIN if self.args.features is None else self.args.features

    def load_teacher(self) -> DetectionModel:
        teacher = float_model(self.args.teacher, self.model.yaml, self.data["nc"], "teacher", self.args.trust)
        head, own = teacher.model[-1], self.model.model[-1]
        for what, its, other in (
            ("classes", head.nc, self.data["nc"]),
            ("bins of box distances (reg_max)", head.reg_max, own.reg_max),
            ("strides", head.stride.tolist(), own.stride.tolist()),
        ):
            if its != other:
                raise ArgumentError(
                    f"teacher: it has {its} {what}, the network in training {other}; they must be equal"
                )
        teacher = teacher.to(self.device)
        return teacher.to(memory_format=torch.channels_last) if self.cpu_bf16 else teacher

    def _setup_train(self):
        with checks_of_ultralytics():
            super()._setup_train()
        model = unwrap_model(self.model)  # the EMA copy exists already: neither hooks nor teacher are saved
        self.health = Health(model)
        if self.teacher is not None:
            model.criterion = DistillationLoss(model, self.teacher, self.cpu_bf16, self.feature_gain)
        else:
            self.check_places(model)
        if self.args.sparsity:
            model.criterion = SpikePenalty(
                model, getattr(model, "criterion", None) or model.init_criterion(), self.args.sparsity
            )

    def check_places(self, model) -> None:
        """Raise ArgumentError where the smallest images have fewer places for boxes than the loss chooses from."""
        smallest = self.args.imgsz * (1 - self.args.multi_scale) // self.stride * self.stride
        places = int(sum((smallest // stride) ** 2 for stride in model.stride.tolist()))
        if places < MOST_MATCHES:
            raise ArgumentError(
                f"imgsz: images of {smallest:.0f} pixels give this network {places} places for boxes, the loss needs "
                f"{MOST_MATCHES}; use a larger one"
            )

    def build_optimizer(self, model, *args, **kwargs):
        sites = cqrelu_sites(unwrap_model(model))
        clips = [site._parameters.pop("lam") for site in sites]  # a shared clip must not enter a group twice
        optimizer = super().build_optimizer(model, *args, **kwargs)
        for site, lam in zip(sites, clips, strict=True):
            site.lam = lam
        asked = self.args.clip_lr
        rate = 2.5 * optimizer.param_groups[0]["lr"] if asked is None else asked
        if self.args.norm_lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.args.norm_lr if group.get("param_group") in ("bn", "bias") else group["lr"]
        unique = list(dict.fromkeys(clips))
        optimizer.add_param_group({"params": unique, "lr": rate, "weight_decay": 0.0, "param_group": "clip"})
        return optimizer

    # loop ---------------------------------------------------------------------------------------------------------

    def update_alpha(self, batch: int):
        """Progressive activation: alpha grows linearly with the number of batches seen. Then, at the end, 8 bits."""
        seen = (self.epoch * len(self.train_loader) + batch) / (self.epochs * len(self.train_loader))
        alpha = min(seen / self.args.progressive, 1.0) if self.args.progressive else 1.0
        set_alpha(unwrap_model(self.model), alpha)
        if self.fake_int8 is None and self.args.fake_int8 and seen >= 1 - self.args.fake_int8 and alpha >= 1:
            self.fake_int8 = FakeInt8(unwrap_model(self.model))
        set_alpha(self.ema.ema, 1.0)  # what is validated and saved is always the network that will be converted

    def _do_train(self):
        seen = {"batch": 0}

        def start_epoch(trainer):
            seen["batch"] = 0
            trainer.update_alpha(0)

        def start_batch(trainer):
            trainer.update_alpha(seen["batch"])
            seen["batch"] += 1

        self.add_callback("on_train_epoch_start", start_epoch)
        self.add_callback("on_train_epoch_end", lambda trainer: trainer.health.end_epoch(trainer.tloss or {}))
        self.add_callback("on_train_batch_start", start_batch)
        super()._do_train()

    def optimizer_step(self):
        if not self.scaler.is_enabled():  # else it leaves such steps out itself
            self.health.check_gradients()
        super().optimizer_step()
        self.health.keep_clips()

    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        if self.cpu_bf16:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def save_model(self):
        with override_configs(self.args, {"amp": self.asked_amp}):
            super().save_model()
        self.saved = True

    # validation ---------------------------------------------------------------------------------------------------

    def get_validator(self):
        plain = copy(self.args)
        for key in OWN:
            delattr(plain, key)
        if self.unlabelled:
            return DistillationValidator(self.test_loader, plain)
        return DetectionValidator(self.test_loader, self.save_dir, plain, self.callbacks)

    def validate(self):
        if self.teacher is None or self.unlabelled:
            return super().validate()
        student = self.ema.ema  # what is saved keeps neither hooks nor teacher
        student.criterion = DistillationLoss(student, self.teacher, features=self.feature_gain)
        try:
            return super().validate()
        finally:
            student.criterion.close()
            del student.criterion

    def plot_training_labels(self):
        if not self.unlabelled:
            super().plot_training_labels()

    def final_eval(self):
        if not self.unlabelled:
            with patch.object(engine, "strip_optimizer", strip_whole):
                return super().final_eval()
        for file in (self.last, self.best):
            if file.exists():
                strip_whole(file)
        return None


def last_checkpoint(resume: str | Path) -> Path:
    """The file that `resume=` means: a checkpoint, or a run folder of train, whose weights/last.pt it is.

    Raises:
        WeightsError: a folder has none, as the first epoch did not end.
    """
    check_texts(resume=resume)
    path = Path(resume)
    folder = path.parent.parent if (path.name, path.parent.name) == ("last.pt", "weights") else path
    file = folder / "weights" / "last.pt" if folder.is_dir() else path
    if file.is_file() or not folder.is_dir():
        return file
    if (folder / "args.yaml").is_file():
        raise WeightsError(
            f"resume: no weights/last.pt in '{folder}': its training stopped before the first epoch ended; start it "
            "again without resume="
        )
    raise WeightsError(f"resume: '{folder}' is no run folder of casc-det train (no weights/last.pt in it)")


def check_files(arguments: dict, trust) -> None:
    """Raise WeightsError where an argument names a file of weights that is missing or cannot be used; find the newest
    checkpoint for resume=true."""
    if not isinstance(trust, bool):
        raise ArgumentError(f"trust: expected true or false, got {trust!r}")
    if arguments.get("resume") is True:
        arguments["resume"] = get_latest_run() or None
        if arguments["resume"] is None:
            raise WeightsError("resume: there is no last.pt below this folder; give resume=<run>/weights/last.pt")
    elif arguments.get("resume"):
        arguments["resume"] = str(last_checkpoint(arguments["resume"]))
    for key in ("weights", "teacher", "pretrained", "distill_model", "resume"):
        file = arguments.get(key)
        if not isinstance(file, str | Path) or not file:
            continue
        if not Path(file).is_file():
            raise WeightsError(f"{key}: '{file}' does not exist (nothing is downloaded)")
        if Path(file).suffix == ".safetensors" and key in ("weights", "teacher"):
            read_state(file)
        else:
            network = read_checkpoint(file, trust, key)
            if key == "teacher":
                check_answer(network.eval(), file, key)
    if arguments.get("distill_model"):
        raise ArgumentError("distill_model: Ultralytics' distillation does not know CQReLU; use teacher= instead")


def check_choice(data: dict, split: str | None, classes: int | list[int] | None) -> None:
    """Raise ArgumentError where `split` or `classes` name what a data set does not have."""
    if split not in (None, "val") and not data.get(split):
        raise ArgumentError(f"split: the data set has no '{split}'; give val, or the name of an entry of its YAML")
    chosen = [classes] if isinstance(classes, int) else classes or ()
    unknown = [label for label in chosen if label not in data["names"]]
    if unknown:
        raise ArgumentError(f"classes: the data set has no class {unknown[0]}; its names are 0..{data['nc'] - 1}")


def train(**arguments) -> Path:
    """Train a CQReLU detector; keys are those of Ultralytics' `train` and of `OWN`. Returns the run folder.

    Raises:
        ArgumentError, SourceError, WeightsError: before anything is written where an argument cannot work.
    """
    for key in ("model", "data"):
        if not arguments.get(key) and not arguments.get("resume"):
            raise ArgumentError(
                f"{key}: missing; for example {key}={'yolov8n.yaml' if key == 'model' else 'data/tiny.yaml'}"
            )
    check_texts(project=arguments.get("project"), name=arguments.get("name"))
    unknown = [key for key in arguments if key not in TRAIN_KEYS]
    if unknown:
        raise UsageError(f"train: unknown argument '{unknown[0]}'{nearest(unknown[0], TRAIN_KEYS)}")
    if arguments.get("levels") is not None:
        check_levels(arguments["levels"])
    for key, argument in OWN.items():
        value, largest = arguments.get(key), argument.largest
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if largest is not None and value is not None and not (number and 0 <= value <= largest):
            upper = f"from 0 to {largest:g}" if largest < math.inf else "of at least 0"
            raise ArgumentError(f"{key}: expected a number {upper}, got {value!r}")
    if arguments.get("weights"):
        arguments["weights"] = str(find(arguments["weights"]))
    trust = arguments.setdefault("trust", False)
    check_files(arguments, trust)
    if not arguments.get("resume"):  # everything that can be wrong is looked at before a run folder is made
        check_architecture(arguments["model"], trust)
        data = read_data(arguments["data"], arguments.get("teacher"), arguments.get("names"), trust)
        check_choice(data, arguments.get("split"), arguments.get("classes"))
    project = Path(arguments.pop("project", None) or PROJECT).absolute()
    with ExitStack() as stack:
        if not arguments.get("resume"):
            folder = run_folder(project, arguments.get("name") or "train", bool(arguments.get("exist_ok")))
            arguments["save_dir"] = str(stack.enter_context(folder))
        else:
            folder = Path(arguments["resume"]).absolute().parent
            stack.enter_context(locked(folder.parent if folder.name == "weights" else folder))
        return _train({**arguments, "project": str(project), "task": "detect", "mode": "train"})


@contextmanager
def checks_of_ultralytics():
    """What Ultralytics raises about its arguments before the first epoch, as ArgumentError."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, AssertionError, FileNotFoundError) as error:
        if isinstance(error, CascError):
            raise
        text = " ".join(str(error).split())
        if device := re.match(r"Invalid CUDA 'device=(.*?)' requested", text):
            have = f"0..{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "none"
            text = f"device: '{device[1]}' cannot be used here (GPUs: {have}); use device=cpu"
            raise ArgumentError(text) from error
        raise ArgumentError(f"train: {text[:500]}") from error


def _train(overrides: dict) -> Path:
    with checks_of_ultralytics():
        trainer = CascTrainer(overrides=overrides)
    try:
        trainer.train()
    except CascError:
        if not trainer.csv.exists() and not any(trainer.wdir.iterdir()):  # refused: nothing stays of it
            trainer.wdir.rmdir()
            (trainer.save_dir / "args.yaml").unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        rest = f"go on with casc-det train resume={trainer.save_dir}" if trainer.saved else NOTHING_SAVED
        print(f"train: stopped; {rest}", file=sys.stderr)
        raise
    if not trainer.unlabelled and not trainer.best_fitness:
        LOGGER.warning(
            "train: no object of val was found after any epoch (mAP 0): the network has learned nothing yet; train "
            "longer, start from weights=, or look at the labels"
        )
    return trainer.save_dir
