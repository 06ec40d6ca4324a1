"""Disturbed images: the same each time, and more disturbed with each severity."""

import numpy as np
import pytest
from PIL import Image

from casc_det.studies.corruptions import SEVERITIES, STRENGTHS, corrupt


@pytest.mark.parametrize("kind", STRENGTHS)
def test_corruptions_are_repeatable_and_grow(kind):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(image).resize((96, 64), Image.Resampling.BICUBIC))
    gaps = []
    for severity in SEVERITIES:
        first, second = corrupt(image, kind, severity, "a"), corrupt(image, kind, severity, "a")
        assert first.shape == image.shape and first.dtype == np.uint8 and np.array_equal(first, second)
        gaps.append(np.abs(first.astype(int) - image).mean())
    assert 0 < gaps[0] < gaps[1] < gaps[2]
    assert corrupt(image, kind, 0, "a") is image
