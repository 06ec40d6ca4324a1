"""Distillation: teach a CQReLU network to answer as a float network does; no labels needed.

Loss = gain * features + scores + boxes, gain = 2 unless training is told otherwise
    features  mean over backbone and neck stages of |s - t|^2 / |t|^2
    scores    binary cross entropy of the class logits against the teacher's probabilities, less its minimum,
              divided by the sum of the teacher's probabilities
    boxes     KL divergence of the box distributions (DFL), each anchor weighted by the teacher's best class
"""

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F
from ultralytics.nn.modules import Concat

from casc_det.yolo.network import raw_outputs

FEATURE_GAIN = 2.0


class DistillationLoss:
    """Criterion of an Ultralytics model: `(predictions, batch) -> (loss, items)`; hooks the student's stages.

    Args:
        student: in training; its stages are observed by forward hooks until `close()`.
        teacher: float detection model with the same number of classes and the same head layout.
        cpu_bf16: run the teacher under bf16 autocast on a CPU.
        features: weight of the feature maps.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, cpu_bf16: bool = False, features: float = FEATURE_GAIN):
        self.teacher, self.cpu_bf16, self.features = teacher.eval(), cpu_bf16, features
        self.student_maps: dict[int, torch.Tensor] = {}
        self.teacher_maps: dict[int, torch.Tensor] = {}
        for parameter in teacher.parameters():
            parameter.requires_grad_(False)
        stages = [
            m.i for m in student.model[:-1] if not isinstance(m, nn.Upsample | Concat | nn.ZeroPad2d | nn.MaxPool2d)
        ]
        self.hooks = [
            model.model[i].register_forward_hook(self._keep(maps, i))
            for model, maps in ((student, self.student_maps), (teacher, self.teacher_maps))
            for i in stages
            if i < len(teacher.model) - 1
        ]

    @staticmethod
    def _keep(maps, i):
        def hook(module, inputs, output):
            maps[i] = output

        return hook

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def __call__(self, predictions, batch):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.cpu_bf16):
            target = raw_outputs(self.teacher(batch["img"]))
        predictions = raw_outputs(predictions)
        items = {
            "feature_loss": self.features * self._features(),
            "score_loss": score_loss(predictions["scores"].float(), target["scores"].float()),
            "box_loss": box_loss(predictions["boxes"].float(), target["boxes"].float(), target["scores"].float()),
        }
        self.student_maps.clear()
        self.teacher_maps.clear()
        return sum(items.values()), {key: value.detach() for key, value in items.items()}

    def _features(self):
        losses = []
        for i, student in self.student_maps.items():
            teacher = self.teacher_maps[i]
            if student.shape == teacher.shape:
                teacher = teacher.to(student.dtype)
                losses.append(F.mse_loss(student, teacher).float() / teacher.square().mean().float().clamp(min=1e-6))
        return torch.stack(losses).mean() if losses else torch.zeros(())


@torch.no_grad()
def mean_losses(student: nn.Module, teacher: nn.Module, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Mean over images of each part of the loss. batches: (B, 3, H, W) in 0..1."""
    criterion, total, count = DistillationLoss(student, teacher), {}, 0
    for images in batches:
        for key, value in criterion(student(images), {"img": images})[1].items():
            total[key] = total.get(key, 0.0) + float(value) * len(images)
        count += len(images)
    criterion.close()
    return {key: value / count for key, value in total.items()}


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
