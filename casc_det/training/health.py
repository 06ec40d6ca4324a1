"""Is training going anywhere? Clips that stay in a sane range, gradients that are finite, losses that move.

Without these a training that is broken from its first step runs to its end, writes its files and exits with 0.
"""

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import math

import torch
from torch import nn
from ultralytics.utils import LOGGER

from casc_det.errors import TrainingError
from casc_det.neurons.activation import MIN_CLIP
from casc_det.yolo.install import cq_sites

CLIP_RANGE = 16.0  # a clip stays within this factor of where it was when training began
PATIENCE = 10  # steps in a row without finite gradients, after which there is no going on
STUCK_EPOCHS, MOVED = 5, 1e-3  # a loss that has moved by less than this share in so many epochs is stuck


class Health:
    """Watches one training of `model` (with CQ), from now on."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        starts = {site.learned: max(site.learned.item(), MIN_CLIP / site.levels) for site in cq_sites(model)}
        self.ranges = {clip: (value / CLIP_RANGE, value * CLIP_RANGE) for clip, value in starts.items()}
        self.broken = 0
        self.history: list[dict[str, float]] = []
        self.named: set[str] = set()

    def check_gradients(self) -> bool:
        """Whether all gradients are finite; where not, they are dropped, which is said once.

        Raises:
            TrainingError: they were not in `PATIENCE` steps in a row.
        """
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        if not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients.values()))):
            self.broken = 0
            return True
        largest = {name: gradient.abs().max().nan_to_num(math.inf, math.inf) for name, gradient in gradients.items()}
        name = max(largest, key=largest.__getitem__)  # each may be finite where the norm of all is not
        self.broken += 1
        if self.broken >= PATIENCE:
            raise TrainingError(
                f"train: the gradients were not finite in {PATIENCE} steps in a row (first at {name}); "
                "use a smaller lr0= or other weights="
            )
        if "gradients" not in self.named:
            self.named.add("gradients")
            LOGGER.warning(f"train: the gradients are not finite (first at {name}); such steps are left out")
        self.model.zero_grad()
        return False

    @torch.no_grad()
    def keep_clips(self) -> None:
        """Bring clips that a step drove out of their range back to its border."""
        for clip, (low, high) in self.ranges.items():
            clip.clamp_(low, high)

    def end_epoch(self, losses: dict[str, float]) -> None:
        """Warn of losses that do not move. losses: the means of the epoch by name."""
        self.history.append({key: float(value) for key, value in losses.items()})
        if len(self.history) <= STUCK_EPOCHS:
            return
        for key in self.history[-1]:
            recent = [epoch[key] for epoch in self.history[-STUCK_EPOCHS - 1 :]]
            if max(recent) - min(recent) <= MOVED * abs(recent[0]) and key not in self.named and recent[0]:
                self.named.add(key)
                LOGGER.warning(
                    f"train: {key} has not moved in {STUCK_EPOCHS} epochs ({recent[-1]:.4g}); the network is not "
                    "learning it. Look at labels and learning rate (lr0=, optimizer=)"
                )
