"""Videos that are written hold every frame, at every frame rate, and appear whole."""

import math

import cv2
import numpy as np
import pytest

import casc_det.show.video
from casc_det.errors import SourceError
from casc_det.show.video import VideoFile, count_frames, encodable
from casc_det.yolo.video import VideoReader


@pytest.mark.parametrize(
    "fps", [211.222, 23.976, 29.97, 0.5, 1, 239.76, 120000 / 1001, 1000, 14.652014652014651, 25 / 3]
)
def test_every_frame_rate_can_be_written(tmp_path, fps):
    video = VideoFile(tmp_path / "a.mp4", fps)
    for k in range(4):
        video.write(np.full((48, 64, 3), 50 * k, np.uint8))
    video.close()
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3) and count_frames(tmp_path / "a.mp4") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("fps", [None, 0, -1, math.nan, math.inf, 1e6, 90000, 1e-9])
def test_frame_rate_that_is_none_becomes_25(fps):
    assert encodable(fps) == 25


def test_frames_of_another_size_are_fitted(tmp_path):
    video = VideoFile(tmp_path / "a.mp4", 25)
    for size in ((48, 64), (24, 32), (49, 65)):
        video.write(np.zeros((*size, 3), np.uint8))
    video.close()
    assert count_frames(tmp_path / "a.mp4") == 3


@pytest.mark.parametrize("step", ["count_frames", "replace"])
def test_finishing_a_video_can_be_interrupted_and_done_again(tmp_path, monkeypatch, step):
    video = VideoFile(tmp_path / "a.mp4", 25)
    for k in range(3):
        video.write(np.full((48, 64, 3), 40 * k, np.uint8))
    target = casc_det.show.video.os if step == "replace" else casc_det.show.video

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            video.close()
    video.close()
    video.close()
    assert count_frames(tmp_path / "a.mp4") == 3 and [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_several_videos_are_written_at_once_in_one_folder(tmp_path):
    videos = [VideoFile(tmp_path / name, 25) for name in ("a.mp4", "b.mp4")]
    for k in range(6):
        for video in videos[: 2 if k < 4 else 1]:
            video.write(np.full((48, 64, 3), 40 * k, np.uint8))
    for video in videos:
        video.close()
    assert [count_frames(tmp_path / name) for name in ("a.mp4", "b.mp4")] == [6, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_video_that_did_not_reach_the_disk_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(casc_det.show.video, "count_frames", lambda path: 1)
    video = VideoFile(tmp_path / "a.mp4", 25)
    for _ in range(3):
        video.write(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(SourceError, match="holds 1 of the 3 frames"):
        video.close()
    assert (tmp_path / "a.mp4").is_file()


def test_videos_that_are_written_in_turn_keep_their_frames(tmp_path):
    videos = {4: VideoFile(tmp_path / "a.mp4", 25), 7: VideoFile(tmp_path / "b.mp4", 25)}
    for k in range(7):
        for frames, video in videos.items():
            if k < frames:
                video.write(np.full((48, 16 * frames, 3), 20 * k, np.uint8))
    for frames, video in videos.items():
        video.close()
        found = [image for _, _, image in VideoReader(str(video.path)).frames()]
        assert len(found) == frames and found[0].shape == (48, 16 * frames, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_name_that_is_no_text_is_refused_before_opencv_ends_the_process(tmp_path):
    with pytest.raises(SourceError, match="name that is no text"):
        VideoFile(tmp_path / "b\udcff" / "c.mp4", 25).write(np.zeros((8, 8, 3), np.uint8))
