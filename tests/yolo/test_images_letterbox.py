"""Letterboxing: sizes, padding, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise import noise

from casc_det.errors import ArgumentError
from casc_det.yolo.images import check_imgsz, letterbox, original_boxes
from casc_det.yolo.sources import Source


def test_image_of_one_pixel_is_letterboxed(tmp_path):
    (frame,) = Source(str(noise(tmp_path / "a.png", size=(1, 1))))
    assert letterbox(frame.image, (64, 64), 32).shape == (3, 64, 64)


def test_letterbox_pads_to_the_stride_or_to_a_square():
    image = np.zeros((30, 60, 3), np.uint8)
    assert letterbox(image, (128, 128), 32).shape == (3, 64, 128)
    square = letterbox(image, (128, 128), 32, rect=False)
    assert square.shape == (3, 128, 128)
    assert square[:, 0, 0].tolist() == pytest.approx([114 / 255] * 3) and float(square[:, 64].max()) == 0


@given(
    st.integers(8, 300),
    st.integers(8, 300),
    st.sampled_from([(64, 64), (96, 64), (64, 160), (320, 320)]),
    st.booleans(),
)
def test_letterbox_then_back_is_the_identity(height, width, imgsz, rect):
    """The place of a black image on the grey, looked up in the pixels, comes back as the whole image: within half a
    pixel of the letterboxed one, to which its size was rounded."""
    inside = letterbox(np.zeros((height, width, 3), np.uint8), imgsz, 32, rect)[0] == 0
    rows, columns = (inside.any(axis).nonzero().flatten() for axis in (1, 0))
    place = [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]
    back = original_boxes(np.array(place, np.float64), tuple(inside.shape), (height, width))
    half = max(height / len(rows), width / len(columns), 1 / min(imgsz[0] / height, imgsz[1] / width)) / 2
    np.testing.assert_allclose(back[0], [0, 0, width, height], atol=half + 1e-9)
    assert not back[0, :2].any()


def test_imgsz_is_rounded_up_to_the_stride():
    assert check_imgsz(100, 32) == (128, 128) and check_imgsz([64, 100], 32) == (64, 128)
    for wrong in (0, 31, True, "320", [64], [64, 64, 64], 1e9):
        with pytest.raises(ArgumentError, match="imgsz"):
            check_imgsz(wrong, 32)
