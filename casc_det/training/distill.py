"""Distillation: teach a CQ network to answer as a float network does; no labels needed.

Loss = gain * features + scores + boxes, gain = 2 unless training is told otherwise
    features  mean over backbone and neck stages of |s - t|^2 / |t|^2
    scores    binary cross entropy of the class logits against the teacher's probabilities, less its minimum,
              divided by the sum of the teacher's probabilities
    boxes     KL divergence of the box distributions (DFL), each anchor weighted by the teacher's best class
"""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import torch
from torch import nn
from torch.nn import functional as F
from ultralytics.nn.modules import Concat
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import TQDM

from casc_det.errors import ArgumentError
from casc_det.yolo.float_network import float_model
from casc_det.yolo.network import description_of, head_of, layers_of, raw_outputs

FEATURE_GAIN = 2.0
WITHOUT_WEIGHTS = (nn.Upsample, Concat, nn.ZeroPad2d, nn.MaxPool2d)  # stages that only hand on what others made


class DistillationLoss:
    """Criterion of an Ultralytics model: `(predictions, batch) -> (loss, items)`; hooks the student's stages.

    Args:
        student: in training; its stages are observed by forward hooks until `close()`.
        teacher: float detection model with the same number of classes and the same head layout.
        cpu_bf16: run the teacher under bf16 autocast on a CPU.
        features: weight of the feature maps.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, cpu_bf16: bool = False, features: float = FEATURE_GAIN
    ) -> None:
        self.teacher, self.cpu_bf16, self.features = teacher.eval(), cpu_bf16, features
        self.student_maps: dict[int, torch.Tensor] = {}
        self.teacher_maps: dict[int, torch.Tensor] = {}
        for parameter in teacher.parameters():
            parameter.requires_grad_(False)
        *own, _ = layers_of(student)
        *others, _ = layers_of(teacher)
        self.hooks = []
        for i, (mine, other) in enumerate(zip(own, others, strict=False)):
            if not isinstance(mine, WITHOUT_WEIGHTS):
                self.hooks.append(mine.register_forward_hook(_keep(self.student_maps, i)))
                self.hooks.append(other.register_forward_hook(_keep(self.teacher_maps, i)))

    def close(self) -> None:
        """Observe the student no more."""
        for hook in self.hooks:
            hook.remove()

    def __call__(self, predictions: Any, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of what the student gives for `batch["img"]` (B, 3, H, W), and its parts."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.cpu_bf16):
            target = raw_outputs(self.teacher(batch["img"]))
        answer = raw_outputs(predictions)
        items = {
            "feature_loss": self.features * self._features(),
            "score_loss": score_loss(answer["scores"].float(), target["scores"].float()),
            "box_loss": box_loss(answer["boxes"].float(), target["boxes"].float(), target["scores"].float()),
        }
        loss = items["feature_loss"] + items["score_loss"] + items["box_loss"]
        self.student_maps.clear()
        self.teacher_maps.clear()
        return loss, {key: value.detach() for key, value in items.items()}

    def _features(self) -> torch.Tensor:
        losses = []
        for i, student in self.student_maps.items():
            teacher = self.teacher_maps[i]
            if student.shape == teacher.shape:
                teacher = teacher.to(student.dtype)
                losses.append(F.mse_loss(student, teacher).float() / teacher.square().mean().float().clamp(min=1e-6))
        return torch.stack(losses).mean() if losses else torch.zeros(())


def _keep(maps: dict[int, torch.Tensor], i: int) -> Callable[..., None]:
    """A forward hook that keeps what stage i gives."""

    def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        maps[i] = output

    return hook


class DistillationValidator:
    """Stands in for the detection validator where there are no labels: mean distillation loss of held-out images."""

    metrics = SimpleNamespace(keys=[])

    def __init__(self, dataloader: Iterable[dict], args: Any) -> None:
        self.dataloader, self.args = dataloader, args

    def __call__(self, trainer: Any) -> dict[str, float]:
        """The losses of the averaged network (EMA), and less their sum as `fitness`."""
        batches = (trainer.as_they_are(batch)["img"] for batch in TQDM(self.dataloader, desc="held-out images"))
        losses = mean_losses(trainer.ema.ema, trainer.teacher, batches)
        mean = {f"val/{key}": round(value, 5) for key, value in losses.items()}
        return {**mean, "fitness": -sum(mean.values())}


@torch.no_grad()
def mean_losses(student: nn.Module, teacher: nn.Module, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Mean over images of each part of the loss. batches: (B, 3, H, W) in 0..1."""
    criterion, total, count = DistillationLoss(student, teacher), dict[str, float](), 0
    for images in batches:
        for key, value in criterion(student(images), {"img": images})[1].items():
            total[key] = total.get(key, 0.0) + float(value) * len(images)
        count += len(images)
    criterion.close()
    return {key: value / count for key, value in total.items()}


def load_teacher(path: str, student: DetectionModel, classes: int, trust: bool) -> DetectionModel:
    """The float network of a file.

    Raises:
        ArgumentError: its head is laid out otherwise than that of `student`.
        WeightsError: the file cannot be used.
    """
    teacher = float_model(path, description_of(student), classes, "teacher", trust)
    head, own = head_of(teacher), head_of(student)
    for what, theirs, ours in (
        ("classes", head.nc, classes),
        ("bins of box distances (reg_max)", head.reg_max, own.reg_max),
        ("strides", head.stride.tolist(), own.stride.tolist()),
    ):
        if theirs != ours:
            raise ArgumentError(f"teacher: it has {theirs} {what}, the network in training {ours}; they must be equal")
    return teacher


def score_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Of class logits (B, classes, anchors)."""
    target = teacher.sigmoid()
    excess = F.binary_cross_entropy_with_logits(student, target, reduction="sum")
    floor = F.binary_cross_entropy_with_logits(teacher, target, reduction="sum")
    return (excess - floor) / target.sum().clamp(min=1)


def box_loss(student: torch.Tensor, teacher: torch.Tensor, teacher_scores: torch.Tensor) -> torch.Tensor:
    """Of box distributions (B, 4*reg_max, anchors), weighted by the best class of `teacher_scores`."""
    batch, channels, anchors = student.shape
    student, teacher = (x.view(batch, 4, channels // 4, anchors) for x in (student, teacher))
    divergence = F.kl_div(student.log_softmax(2), teacher.log_softmax(2), reduction="none", log_target=True).sum((1, 2))
    weight = teacher_scores.sigmoid().amax(1)
    return (divergence * weight).sum() / weight.sum().clamp(min=1)
