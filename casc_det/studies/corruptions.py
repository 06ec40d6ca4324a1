"""Disturbed images for robustness studies, by albumentations; the same image is always disturbed alike."""

import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import albumentations as A

STRENGTHS = {  # three severities each
    "noise": (0.05, 0.1, 0.2),  # standard deviation, of the range of values
    "blur": (3, 7, 13),  # pixels, side of the box
    "fog": (0.3, 0.6, 0.9),  # coefficient
    "jpeg": (30, 15, 7),  # quality
    "brightness": (-0.3, -0.5, -0.7),  # of the range of values, added
}
SEVERITIES = (1, 2, 3)


@cache
def _transform(kind: str, severity: int) -> "A.Compose":
    import albumentations as A

    value = STRENGTHS[kind][severity - 1]
    match kind:
        case "noise":
            step = A.GaussNoise(std_range=(value, value), p=1)
        case "blur":
            step = A.Blur(blur_limit=(value, value), p=1)
        case "fog":
            step = A.RandomFog(fog_coef_range=(value, value), alpha_coef=0.1, p=1)
        case "jpeg":
            step = A.ImageCompression(quality_range=(value, value), p=1)
        case "brightness":
            limits = {"brightness_limit": (value, value), "contrast_limit": (0, 0)}
            step = A.RandomBrightnessContrast(**limits, brightness_by_max=True, p=1)
    return A.Compose([step])


def corrupt(image: np.ndarray, kind: str, severity: int, name: str) -> np.ndarray:
    """A disturbed copy of a BGR image (H, W, 3) uint8; severity 0: the image itself.

    Args:
        kind: a key of `STRENGTHS`. severity: one of `SEVERITIES`. name: seeds what is random.
    """
    if not severity:
        return image
    transform = _transform(kind, severity)
    transform.set_random_seed(zlib.crc32(f"{kind} {name}".encode()))
    return transform(image=np.ascontiguousarray(image[..., ::-1]))["image"][..., ::-1].copy()
