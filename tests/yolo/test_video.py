"""Video files: every frame that can be read, what cannot be is named."""

import numpy as np
import pytest
from clips import clip
from PIL import Image

from casc_det.errors import SourceError
from casc_det.yolo.sources import Source
from casc_det.yolo.video import VideoReader


def faststart(data: bytes) -> bytes:
    """An mp4 with its table of frames in front, so that it can be read when its end is missing."""
    boxes, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        boxes.append((data[at + 4 : at + 8], data[at : at + length]))
        at += length
    table = bytearray(dict(boxes)[b"moov"])
    at = table.index(b"stco") + 8
    for i in range(int.from_bytes(table[at : at + 4], "big")):
        place = slice(at + 4 + 4 * i, at + 8 + 4 * i)
        table[place] = (int.from_bytes(table[place], "big") + len(table)).to_bytes(4, "big")
    rest = b"".join(box for kind, box in boxes if kind not in (b"moov", b"ftyp"))
    return dict(boxes)[b"ftyp"] + bytes(table) + rest


def read(path, stride=1):
    reader = VideoReader(str(path))
    return list(reader.frames(stride)), reader.lost()


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_whole_video_gives_every_frame_with_its_time(tmp_path, suffix):
    frames, lost = read(clip(tmp_path / f"a.{suffix}"))
    assert lost is None and [number for number, _, _ in frames] == list(range(1, 21))
    assert [time for _, time, _ in frames] == pytest.approx([k / 25 for k in range(20)], abs=2e-3)
    assert [image.mean() for _, _, image in frames] == pytest.approx([10 * k for k in range(20)], abs=4)


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_cut_video_gives_its_frames_and_says_what_is_missing(tmp_path, suffix):
    data = clip(tmp_path / f"a.{suffix}").read_bytes()
    data = faststart(data) if suffix == "mp4" else data
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(len(data) * 0.7)])
    frames, lost = read(tmp_path / f"cut.{suffix}")
    assert 3 < len(frames) < 20 and "is damaged or cut" in lost
    assert [image.mean() for _, _, image in frames[:-1]] == pytest.approx(
        [10 * k for k in range(len(frames) - 1)], abs=4
    )


def test_hole_in_the_middle_is_skipped_and_counted(tmp_path):
    data = bytearray(clip(tmp_path / "a.avi").read_bytes())
    begin = data.index(b"movi")
    at = [i for i in range(begin, len(data)) if data[i : i + 4] == b"00dc"]
    for i in at[6:9]:
        data[i : i + 40] = b"\xff" * 40
    (tmp_path / "hole.avi").write_bytes(data)
    frames, lost = read(tmp_path / "hole.avi")
    assert [round(image.mean(), -1) for _, _, image in frames] == [10 * k for k in (*range(6), *range(9, 20))]
    assert lost == "is damaged or cut: 3 of its 20 frames cannot be read"


def test_stride_takes_the_frames_of_ultralytics_and_numbers_them_by_source(tmp_path):
    from ultralytics.data.loaders import LoadImagesAndVideos

    path = clip(tmp_path / "a.mp4")
    expected = [image for _, images, _ in LoadImagesAndVideos(str(path), vid_stride=3) for image in images]
    found = list(Source(str(path), 3))
    assert [f.frame for f in found] == [3, 6, 9, 12, 15, 18] and [f.number for f in found] == [0] * 6
    assert [f.time for f in found] == pytest.approx([(n - 1) / 25 for n in (3, 6, 9, 12, 15, 18)], abs=2e-3)
    assert all(np.array_equal(a, f.image) for a, f in zip(expected, found, strict=True)) and found[0].fps == 25 / 3


def test_videos_are_named_and_counted_beside_images_that_work(tmp_path):
    data = clip(tmp_path / "a.avi").read_bytes()
    (tmp_path / "b.avi").write_bytes(data[: int(len(data) * 0.7)])
    (tmp_path / "c.avi").write_bytes(b"RIFF" + b"\0" * 50)
    source = Source(str(tmp_path))
    frames = list(source)
    assert source.incomplete == 1 and {f.number for f in frames} == {0, 1} and source.total is None
    reasons = {path[-5:]: reason for path, reason in source.skipped}
    assert "frames cannot be read" in reasons["b.avi"] and "cannot be opened as a video" in reasons["c.avi"]
    single = Source(str(tmp_path / "a.avi"))
    next(iter(single))
    assert single.total == 20


def test_name_that_is_no_text_is_refused(tmp_path):
    """OpenCV itself would end the process."""
    clip(tmp_path / "a.avi", frames=2).rename(tmp_path / "a\udcff.avi")
    with pytest.raises(SourceError, match="name that is no text"):
        list(Source(str(tmp_path / "a\udcff.avi")))
    with pytest.raises(SourceError, match="name that is no text"):
        list(Source("rtsp://127.0.0.1/\udcff"))


def test_gif_that_is_damaged_inside_says_so(tmp_path):
    images = [Image.fromarray(np.random.default_rng(k).integers(0, 256, (24, 32, 3), np.uint8)) for k in range(8)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    assert len(read(tmp_path / "a.gif")[0]) == 8 and read(tmp_path / "a.gif")[1] is None
    half = len(data) // 2
    for name, damaged in {
        "zeros": data[:half] + bytes(300) + data[half + 300 :],
        "gap": data[:half] + data[half + 300 :],
        "cut": data[:half],
        "no end": data[:-1],
    }.items():
        (tmp_path / f"{name}.gif").write_bytes(damaged)
        frames, lost = read(tmp_path / f"{name}.gif")
        assert len(frames) < 8 or name == "no end", name
        assert "is damaged or cut" in lost, name
