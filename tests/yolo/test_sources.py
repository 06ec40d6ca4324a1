"""Sources: whatever is given, one frame after the other."""

import numpy as np
import pytest
from noise import noise

from casc_det.errors import ArgumentError, SourceError
from casc_det.yolo.sources import Source


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", ".jpg"), ("L", ".png"), ("RGBA", ".png"), ("I;16", ".png")])
def test_image_of_any_depth_is_read_as_bgr(tmp_path, mode, suffix):
    (frame,) = Source(str(noise(tmp_path / f"a{suffix}", mode)))
    assert frame.image.shape == (30, 40, 3) and frame.image.dtype == np.uint8 and frame.frame is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jpg", b"", "zero bytes"),
        ("a.jpg", b"text", "cannot be read as a picture"),
        ("a.mp4", b"", "zero bytes"),
        ("a.mp4", b"text", "cannot be opened as a video"),
        ("a.doc", b"text", "no picture or video"),
    ],
)
def test_unreadable_file_is_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        list(Source(str(tmp_path / name)))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_number_is_a_camera_only_where_nothing_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not Source("7000").is_path
    (tmp_path / "7000").mkdir()
    noise(tmp_path / "7000" / "a.png")
    (frame,) = Source("7000")
    assert frame.image.shape == (30, 40, 3)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2", None])
def test_stride_of_videos_is_checked_before_anything_is_read(wrong):
    with pytest.raises(ArgumentError, match="^vid_stride: expected an integer above 0"):
        Source(np.zeros((4, 4, 3), np.uint8), wrong)


def test_array_is_a_source():
    (frame,) = Source(np.zeros((20, 30, 3), np.uint8))
    assert frame.image.shape == (20, 30, 3)
