"""`predict_to_folder`: whatever ends it, what was done is written."""

import json

import clips
import cv2
import pytest
from conftest import live_yolo

from casc_det import SpikingYOLO, convert
from casc_det.prediction.predict import inside, predict_to_folder


@pytest.fixture
def clip(tmp_path):
    return clips.clip(tmp_path / "clip.avi", 6, shade=60)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(28, "No space left on device")])
def test_whatever_ends_predict_its_video_and_json_are_there(clip, tmp_path, error):
    model, seen = SpikingYOLO(convert(live_yolo("yolov8n")[0], imgsz=64)), []

    def progress(result, total):
        seen.append((result.frame, total))
        if len(seen) == 3:
            raise error

    if error is KeyboardInterrupt:
        assert predict_to_folder(model, clip, tmp_path / "r", progress, {}, timesteps=2)["interrupted"]
    else:
        with pytest.raises(error if isinstance(error, type) else OSError):
            predict_to_folder(model, clip, tmp_path / "r", progress, {}, timesteps=2)
    content = json.loads((tmp_path / "r/predictions.json").read_text())
    assert content["interrupted"] and [r["frame"] for r in content["results"]] == [1, 2, 3]
    assert seen == [(1, 6), (2, 6), (3, 6)]
    assert int(cv2.VideoCapture(str(tmp_path / "r/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["clip.mp4", "predictions.json"]


def test_inputs_in_the_run_folder_are_found_also_behind_links(tmp_path):
    (tmp_path / "run/labels").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    files = [str(tmp_path / path) for path in ("link/a.jpg", "run/labels/b.txt", "c.jpg")]
    assert inside(tmp_path / "run", files) == {"a.jpg", "labels/b.txt"}
