"""Held-out images under multi-scale training."""

from types import SimpleNamespace

import torch


def test_held_out_images_keep_their_size_under_multi_scale():
    """Else the losses by which the best checkpoint is chosen would depend on the sizes that chance gave them."""
    from casc_det.training.trainer import CascTrainer

    trainer = CascTrainer.__new__(CascTrainer)
    trainer.args, trainer.device = SimpleNamespace(multi_scale=0.5, imgsz=64), torch.device("cpu")
    trainer.stride, trainer.cpu_bf16 = 32, False
    shapes = lambda prepare: {prepare({"img": torch.zeros(1, 3, 64, 64)})["img"].shape[3] for _ in range(40)}
    assert shapes(trainer.as_they_are) == {64} and trainer.args.multi_scale == 0.5
    assert len(shapes(trainer.preprocess_batch)) > 1
