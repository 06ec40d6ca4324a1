"""What a training looks at: data sets with labels, images without, and the few images that clips are fitted to."""

from typing import Any

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.patches import override_configs

from casc_det.errors import SourceError, one_line
from casc_det.yolo.data import ImageDataset, is_yaml, read_data

STRIDE = 32  # pixels of the largest cells of the networks that are trained
CALIBRATION_IMAGES, CALIBRATION_BATCH = 128, 16


class DataTrainer(DetectionTrainer):
    """Ultralytics' DetectionTrainer, which also takes images without labels, and bf16 on CPUs.

    Attributes:
        cpu_bf16: compute in bf16 on a CPU.
    """

    cpu_bf16: bool

    @property
    def unlabelled(self) -> bool:
        """Whether there are only images, to distil on."""
        return not is_yaml(self.args.data)

    def get_dataset(self) -> dict:
        """What Ultralytics knows of a data set."""
        return read_data(self.args.data, self.args.teacher, self.args.names, self.args.trust)

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> Any:
        """As Ultralytics, also of images without labels; SourceError where none can be used."""
        if not self.unlabelled:
            try:
                return super().build_dataset(img_path, mode, batch)
            except (RuntimeError, FileNotFoundError, AssertionError, ValueError) as error:  # no image can be used, ...
                raise SourceError(f"data: '{self.args.data}': {one_line(error, 500)}") from error
        settings = {"imgsz": self.args.imgsz, "cache": self.args.cache, "hyp": self.args, "batch_size": batch}
        return ImageDataset(img_path, data=self.data, augment=mode == "train", stride=STRIDE, **settings)

    def calibration_images(self) -> list[torch.Tensor]:
        """A few batches (B, 3, H, W) of the training set in 0..1, without augmentation."""
        with override_configs(self.args, {"cache": False}):
            dataset = self.build_dataset(self.data["train"], "val", CALIBRATION_BATCH)
        step = max(len(dataset) // CALIBRATION_IMAGES, 1)
        chosen = range(0, len(dataset), step)[:CALIBRATION_IMAGES]
        batches = [chosen[k : k + CALIBRATION_BATCH] for k in range(0, len(chosen), CALIBRATION_BATCH)]
        self.stride = STRIDE
        return [self.as_they_are(dataset.collate_fn([dataset[i] for i in batch]))["img"] for batch in batches]

    def as_they_are(self, batch: dict) -> dict:
        """`preprocess_batch` of images that are not trained on, without the random sizes of `multi_scale`."""
        with override_configs(self.args, {"multi_scale": 0.0}):
            return self.preprocess_batch(batch)

    def preprocess_batch(self, batch: dict) -> dict:
        """As Ultralytics, in the layout that bf16 on CPUs is fast in."""
        batch = super().preprocess_batch(batch)
        if self.cpu_bf16:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def plot_training_labels(self) -> None:
        """As Ultralytics, where there are labels."""
        if not self.unlabelled:
            super().plot_training_labels()
