"""What goes in: pictures of every kind, folders, lists, and what cannot be read."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from casc_det.errors import ArgumentError, SourceError
from casc_det.yolo.letterbox import check_imgsz, letterbox, original_boxes
from casc_det.yolo.sources import Source


def picture(path, mode="RGB", size=(40, 30)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = (
        Image.fromarray(values, "RGBA") if mode != "I;16" else Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    )
    (image if mode == "I;16" else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", ".jpg"), ("L", ".png"), ("RGBA", ".png"), ("I;16", ".png")])
def test_picture_of_any_depth_is_read_as_bgr(tmp_path, mode, suffix):
    (frame,) = Source(str(picture(tmp_path / f"a{suffix}", mode)))
    assert frame.image.shape == (30, 40, 3) and frame.image.dtype == np.uint8 and frame.frame is None


def test_picture_of_one_pixel_is_letterboxed(tmp_path):
    (frame,) = Source(str(picture(tmp_path / "a.png", size=(1, 1))))
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
    assert torch.equal(back[0, :2], torch.zeros(2, dtype=torch.float64))


def test_folder_names_and_counts_what_it_skips(tmp_path):
    picture(tmp_path / "good.jpg", size=(400, 300))
    data = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "fake.png").write_bytes(b"no picture at all")
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "notes.doc").write_text("x")
    source = Source(str(tmp_path))
    assert [frame.path.rsplit("/", 1)[-1] for frame in source] == ["good.jpg"]
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in source.skipped}
    assert set(reasons) == {"half.jpg", "empty.png", "fake.png", "clip.mp4", "broken.mp4", "notes.doc"}
    assert "truncated" in reasons["half.jpg"] and "zero bytes" in reasons["clip.mp4"]


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
    picture(tmp_path / "7000" / "a.png")
    (frame,) = Source("7000")
    assert frame.image.shape == (30, 40, 3)


def test_missing_source_says_so(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        Source(str(tmp_path / "none.jpg"))
    with pytest.raises(SourceError, match="pattern matches no file"):
        Source(str(tmp_path / "*.jpg"))


def test_list_file_and_glob_give_the_pictures(tmp_path):
    for name in ("b.png", "a.png"):
        picture(tmp_path / name)
    (tmp_path / "list.txt").write_text("b.png\na.png\nmissing.png\n")
    source = Source(str(tmp_path / "list.txt"))
    assert [f.path.rsplit("/", 1)[-1] for f in source] == ["b.png", "a.png"]
    assert len(source.skipped) == 1 and source.total == 2
    assert len(list(Source(str(tmp_path / "*.png")))) == 2


def test_everything_in_a_folder_but_folders_is_named(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "dangling.png").symlink_to("nothing.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    source = Source(str(tmp_path))
    assert [Path(f.path).name for f in source] == ["good.png"]
    reasons = {Path(path).name: reason for path, reason in source.skipped}
    assert reasons == {"dangling.png": "does not exist", "loop.png": "does not exist", "pipe.png": "is no file"}


def test_cells_of_a_csv_are_files(tmp_path):
    for name in ("a.png", "b, c.png", "d.png"):
        picture(tmp_path / name)
    (tmp_path / "list.csv").write_text('source\na.png,"b, c.png"\n\nd.png,\n')
    source = Source(str(tmp_path / "list.csv"))
    assert [Path(f.path).name for f in source] == ["a.png", "b, c.png", "d.png"] and not source.skipped


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2", None])
def test_stride_of_videos_is_checked_before_anything_is_read(wrong):
    with pytest.raises(ArgumentError, match="^vid_stride: expected an integer above 0"):
        Source(np.zeros((4, 4, 3), np.uint8), wrong)


def test_name_in_a_message_stands_there_once(tmp_path):
    with pytest.raises(SourceError) as caught:
        Source([str(tmp_path / "none.png")])
    assert str(caught.value) == f"source: '{tmp_path / 'none.png'}' does not exist (no such file or folder)"


def test_list_of_files_skips_what_cannot_be_read(tmp_path):
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"x")
    source = Source([str(bad), good])
    assert [frame.path for frame in source] == [str(good)] and source.skipped[0][0] == str(bad)


def test_array_is_a_source():
    (frame,) = Source(np.zeros((20, 30, 3), np.uint8))
    assert frame.image.shape == (20, 30, 3)


def test_imgsz_is_rounded_up_to_the_stride():
    assert check_imgsz(100, 32) == (128, 128) and check_imgsz([64, 100], 32) == (64, 128)
    for wrong in (0, 31, True, "320", [64], [64, 64, 64], 1e9):
        with pytest.raises(ArgumentError, match="imgsz"):
            check_imgsz(wrong, 32)
