"""The Ultralytics trainer with CQ activations and, optionally, a teacher, a price on spikes and 8 bits.

Whatever is not done here is Ultralytics' own: augmentation, run folder, args.yaml, results.csv, patience, EMA.
"""

from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import torch
from torch import nn
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel, load_checkpoint
from ultralytics.utils import DEFAULT_CFG, LOGGER, YAML
from ultralytics.utils.patches import override_configs
from ultralytics.utils.torch_utils import unwrap_model

from casc_det.errors import ArgumentError
from casc_det.graph.file import load_graph
from casc_det.show.figures import without_mathtext
from casc_det.training.arguments import OWN
from casc_det.training.data import DataTrainer
from casc_det.training.distill import FEATURE_GAIN, DistillationLoss, DistillationValidator, load_teacher
from casc_det.training.health import Health
from casc_det.training.preflight import check_places, checks_of_ultralytics
from casc_det.training.regularise import FakeInt8, SpikePenalty
from casc_det.training.start import Start, settled, start_of
from casc_det.training.whole import WholePath, strip_whole, trim_results
from casc_det.yolo.architecture import check_description, read_architecture
from casc_det.yolo.calibrate import calibrate, calibrate_clips
from casc_det.yolo.convertible import check_convertible
from casc_det.yolo.guard import guarded
from casc_det.yolo.install import KEEP, RELU, cq_sites, install_cq, set_alpha
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.weights import is_spiking, load_float

DEFAULT_LEVELS = 8
CALIBRATED = 24  # images, as in conversion
CLIP_RATE = 2.5  # learning rate of clips and steps, in those of the weights


class CascTrainer(DataTrainer):
    """Ultralytics' DetectionTrainer for CQ networks.

    Args:
        cfg, _callbacks: of Ultralytics. overrides: the arguments, also those of `casc_det.training.arguments.OWN`.
    """

    model: Any  # first a name, then the network, see `network`
    ema: Any

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None) -> None:
        overrides = dict(overrides or {})
        self.own = {key: overrides.pop(key, argument.default) for key, argument in OWN.items()}
        self.teacher: DetectionModel | None = None
        self.fake_int8: FakeInt8 | None = None
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

    @property
    def network(self) -> CQReLUModel:
        """The network in training, without what spreads it over GPUs."""
        network: Any = unwrap_model(self.model)
        return network

    def check_resume(self, overrides: dict) -> None:
        """As Ultralytics; the own arguments of the checkpoint hold, the folder is where the checkpoint lies.

        Raises:
            ArgumentError: there is nothing to go on with.
        """
        super().check_resume(overrides)
        for key, value in self.own.items():
            if not hasattr(self.args, key):
                setattr(self.args, key, value)
        self.args.trust = self.own["trust"]  # never that of a checkpoint
        if self.resume and not overrides.get("save_dir"):  # where the checkpoint lies, whatever is written in it
            folder = Path(self.args.resume).absolute().parent
            self.args.project, self.args.name = overrides.get("project"), overrides.get("name")
            self.args.save_dir = str(folder.parent) if folder.name == "weights" else None
        # before the data is looked at: of a finished training, Ultralytics keeps no own argument, so no teacher
        if self.resume and not 0 <= load_checkpoint(self.args.model)[1].get("epoch", -1) < self.args.epochs - 1:
            raise ArgumentError(
                f"resume: the training of '{self.args.model}' is finished, there is nothing to go on with; start a new "
                f"one from it with model={self.args.model}"
            )

    def resume_training(self, ckpt: dict | None) -> None:
        """As Ultralytics; of what is written, only what the checkpoint knows stays."""
        super().resume_training(ckpt)
        if self.resume:
            self.saved = True
            trim_results(self.csv, self.start_epoch)

    # network ------------------------------------------------------------------------------------------------------

    def get_model(self, cfg: Any = None, weights: nn.Module | None = None, verbose: bool = True) -> CQReLUModel:
        """A network of the architecture `cfg` with the `weights` of a checkpoint, and CQ where they have it."""
        if isinstance(cfg, dict):  # out of a checkpoint
            check_description(cfg, self.args.trust, f"model: '{self.args.model}'")
        else:
            cfg = read_architecture(cfg, self.args.trust)
        model = CQReLUModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=False)
        model = self.set_model_names_for_load(model)
        self.start = "scratch" if weights is None else "cq" if cq_sites(weights) else "float"
        if weights is not None and self.start == "cq":  # resumed or fine-tuned: same sites, clips included
            self.args.levels = self.args.levels or cq_sites(weights)[0].levels
            self.install(model, start_of(weights))
        if weights is not None:
            model.load(weights, verbose=False)
            for site, former in zip(cq_sites(model), cq_sites(weights), strict=False):  # none, or the same ones
                if site.levels != former.levels:
                    site.set_clip(float(former.clip))  # with other levels it is the step that changes
        return model

    def install(self, model: CQReLUModel, start: Start) -> None:
        """Put CQ into the network, and write down the defaults that are settled now."""
        self.args.activation = activation = settled(self.args.activation, start)
        if self.args.progressive is None:
            self.args.progressive = 0.5 if (self.start, activation) == ("float", RELU) else 0.0
        self.args.levels = self.args.levels or DEFAULT_LEVELS
        count = install_cq(model, self.args.levels, activation)
        with override_configs(self.args, {"amp": self.asked_amp}):
            YAML.save(self.save_dir / "args.yaml", vars(self.args))
        check_convertible(model, self.args.model)
        functions = ", ".join(start_of(model).functions)
        LOGGER.info(f"CQ: {count} activations replaced, {functions} in {self.args.levels} levels")

    def setup_model(self) -> Any:
        """As Ultralytics; the network gets CQ, its first weights and clips, and its teacher."""
        checkpoint = super().setup_model()
        self.model = self.model.to(self.device)
        if self.args.weights and is_spiking(self.args.weights) and self.start == "scratch":
            self.start = "cq"
            self.args.levels = self.args.levels or load_graph(self.args.weights).levels
            self.install(self.model, start_of(self.model, self.args.weights))
            self.load_weights(self.calibration_images())
        elif self.start != "cq":
            images = self.calibration_images()
            if self.args.weights:
                self.start = "float"
                self.load_weights(images)
            self.install(self.model, start_of(self.model, self.args.weights, self.args.trust))
            self.calibrate(images)
        self.model.cpu_bf16 = self.cpu_bf16
        if self.args.teacher:
            teacher = load_teacher(self.args.teacher, self.network, self.data["nc"], self.args.trust)
            self.teacher = in_layout(teacher.to(self.device), self.cpu_bf16)
        self.model = in_layout(self.model, self.cpu_bf16)
        return checkpoint

    def calibrate(self, images: list[torch.Tensor]) -> None:
        """Fit clips and steps to images: of a float network that keeps its functions, as conversion does."""
        if (self.start, self.args.activation) != ("float", KEEP):
            calibrate_clips(self.model, images)
            return
        single = (image for batch in images for image in batch.split(1))
        for _ in calibrate(self.model.eval(), list(islice(single, CALIBRATED))):
            pass

    def load_weights(self, images: list[torch.Tensor]) -> None:
        """Load what `weights=` names; of folded BatchNorm the statistics are those on `images`."""
        missing = load_float(self.network, self.args.weights, images, self.args.trust)
        if missing:
            LOGGER.warning(
                f"weights: '{self.args.weights}' has no value for {len(missing)} tensors, which start at random; "
                f"the first is {missing[0]}"
            )

    # loss and optimizer -------------------------------------------------------------------------------------------

    @property
    def feature_gain(self) -> float:
        """Weight of the feature maps in distillation."""
        return FEATURE_GAIN if self.args.features is None else self.args.features

    def _setup_train(self) -> None:
        with checks_of_ultralytics():
            super()._setup_train()
        model = self.network  # the EMA copy exists already: neither hooks nor teacher are saved
        self.health = Health(model)
        if self.teacher is not None:
            model.criterion = DistillationLoss(model, self.teacher, self.cpu_bf16, self.feature_gain)
        else:
            smallest = self.args.imgsz * (1 - self.args.multi_scale) // self.stride * self.stride
            check_places(model.stride.tolist(), smallest)
        if self.args.sparsity:
            criterion = getattr(model, "criterion", None) or model.init_criterion()
            model.criterion = SpikePenalty(model, criterion, self.args.sparsity)

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """As Ultralytics, with a group of parameters more: the clips."""
        sites = cq_sites(unwrap_model(model))
        clips = [site._parameters.pop(site.LEARNED) for site in sites]  # a shared one must not enter a group twice
        optimizer: torch.optim.Optimizer = super().build_optimizer(model, *args, **kwargs)
        for site, clip in zip(sites, clips, strict=True):
            site.register_parameter(site.LEARNED, clip)
        asked = self.args.clip_lr
        rate = CLIP_RATE * optimizer.param_groups[0]["lr"] if asked is None else asked
        if self.args.norm_lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.args.norm_lr if group.get("param_group") in ("bn", "bias") else group["lr"]
        unique = list(dict.fromkeys(clips))
        optimizer.add_param_group({"params": unique, "lr": rate, "weight_decay": 0.0, "param_group": "clip"})
        return optimizer

    # loop ---------------------------------------------------------------------------------------------------------

    def update_alpha(self, batch: int) -> None:
        """Progressive activation: alpha grows linearly with the number of batches seen. Then, at the end, 8 bits."""
        seen = (self.epoch * len(self.train_loader) + batch) / (self.epochs * len(self.train_loader))
        alpha = min(seen / self.args.progressive, 1.0) if self.args.progressive else 1.0
        set_alpha(self.network, alpha)
        if self.fake_int8 is None and self.args.fake_int8 and seen >= 1 - self.args.fake_int8 and alpha >= 1:
            self.fake_int8 = FakeInt8(self.network)
        set_alpha(self.ema.ema, 1.0)  # what is validated and saved is always the network that will be converted

    def _do_train(self) -> None:
        seen = 0

        def start_epoch(trainer: CascTrainer) -> None:
            nonlocal seen
            seen = 0
            trainer.update_alpha(seen)

        def start_batch(trainer: CascTrainer) -> None:
            nonlocal seen
            trainer.update_alpha(seen)
            seen += 1

        self.add_callback("on_train_epoch_start", start_epoch)
        self.add_callback("on_train_epoch_end", lambda trainer: trainer.health.end_epoch(trainer.tloss or {}))
        self.add_callback("on_train_batch_start", start_batch)
        super()._do_train()

    def train(self) -> None:
        """As Ultralytics, which fetches nothing and runs nothing out of files."""
        with guarded(self.args.trust), without_mathtext():
            super().train()

    def optimizer_step(self) -> None:
        """As Ultralytics; steps without finite gradients are left out, clips stay in range."""
        if not self.scaler.is_enabled():  # else it leaves such steps out itself
            self.health.check_gradients()
        super().optimizer_step()
        self.health.keep_clips()

    def save_model(self) -> None:
        """As Ultralytics, with `amp` as it was asked for."""
        with override_configs(self.args, {"amp": self.asked_amp}):
            super().save_model()
        self.saved = True

    # validation ---------------------------------------------------------------------------------------------------

    def get_validator(self) -> DetectionValidator | DistillationValidator:
        """Ultralytics' validator, or where there are no labels the loss on held-out images."""
        plain = copy(self.args)
        for key in OWN:
            delattr(plain, key)
        if self.unlabelled:
            return DistillationValidator(self.test_loader, plain)
        return DetectionValidator(self.test_loader, self.save_dir, plain, self.callbacks)

    def validate(self) -> Any:
        """As Ultralytics, with the loss of distillation where there is a teacher."""
        if self.teacher is None or self.unlabelled:
            return super().validate()
        student = self.ema.ema  # what is saved keeps neither hooks nor teacher
        student.criterion = DistillationLoss(student, self.teacher, features=self.feature_gain)
        try:
            return super().validate()
        finally:
            student.criterion.close()
            del student.criterion

    def final_eval(self) -> Any:
        """As Ultralytics; a checkpoint without the optimizer's state is written whole or not at all."""
        if not self.unlabelled:
            with patch.object(engine, "strip_optimizer", strip_whole):
                return super().final_eval()
        for file in (self.last, self.best):
            if file.exists():
                strip_whole(file)
        return None


def in_layout(model: Any, cpu_bf16: bool) -> Any:
    """The network with its weights in the layout that bf16 on CPUs is fast in."""
    return model.to(memory_format=torch.channels_last) if cpu_bf16 else model
