"""Names from data, of files and classes: as paths, in a page, on a terminal."""

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import NASTY
from PIL import Image

from casc_det.cli.run import main
from casc_det.heads.detect.detections import Detections
from casc_det.studies.folder import trace_file
from casc_det.studies.page import page_of
from casc_det.yolo.images import Frame
from casc_det.yolo.progress import Progress
from casc_det.yolo.results import make_results


def test_trace_of_any_image_id_stays_in_the_study(tmp_path):
    for key in (*NASTY, 785):
        file = trace_file(tmp_path, "cell", key)
        assert file.parent.parent.parent == tmp_path and ".." not in file.parts


def test_crops_of_any_class_stay_in_their_folder(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    names = ["../../up", "/abs", "a/b", "ok"]
    boxes = np.tile(np.array([[2.0, 2, 20, 20]]), (4, 1))
    found = Detections(boxes, np.full(4, 0.9), np.arange(4))
    result = make_results(found, Frame(image, "x.jpg"), names, (32, 32), None)
    result.save_crop(tmp_path / "run" / "crops", "x.jpg")
    files = [path.relative_to(tmp_path / "run" / "crops") for path in tmp_path.rglob("*.jpg")]
    assert sorted(len(file.parts) for file in files) == [2] * 4 and Path("ok/x.jpg") in files
    assert result.names[0] == "../../up"


# the page of a study --------------------------------------------------------------------------------------------------


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], {}

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and data.strip():
            self.texts.setdefault((self.tags[-1][0], self.tags[-1][1].get("id")), data)


def parsed(content: dict) -> Elements:
    elements = Elements()
    elements.feed(page_of(content))
    return elements


@pytest.mark.parametrize(
    "text",
    ["</script><img src=x onerror=alert(1)>", "<!--<script>", "</title><b>", "__DATA__", "a&lt;b", "\u2028\ud800"],
)
def test_texts_in_the_page_are_data(text):
    content = {"title": text, "about": text, "examples": [{"name": text}], "answers": [text] * 2}
    page, plain = parsed(content), parsed({"title": "x"})
    assert page.tags == plain.tags  # not one element more
    assert json.loads(page.texts["script", "data"]) == content
    assert page.texts["title", None] == text
    assert [attrs for tag, attrs in page.tags if tag == "meta"][1]["content"].startswith("default-src 'none'")


def test_the_page_writes_no_html():
    script = page_of({"title": "x"})
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|srcdoc", script)


# terminal -------------------------------------------------------------------------------------------------------------


def test_bar_counts_the_time_of_the_first_image_and_shows_it(capsys):
    for total, shown in ((1, "s/it 2."), (3, "1/3 2.")):
        bar = Progress("val")
        bar.began -= 2
        bar.cells(1, total, "a")
        assert "val: a: " in (drawn := capsys.readouterr().err) and shown in drawn


def test_closed_output_takes_everything(monkeypatch, capsys):
    """A process that was started with `>&-` has None there."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["models"]) == 0 and main(["nothing"]) == 2
    assert sys.stdout is None and sys.stderr is None


EVIL = "a\x1b[2J\x1b[31m\rb\u202e"


def test_command_line_shows_names_that_would_steer_the_terminal(tmp_path, capfd):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / f"{EVIL}.png")
    (tmp_path / f"{EVIL}.jpg").write_bytes(b"no picture")
    words = ["predict", f"source={tmp_path}", "imgsz=32", "timesteps=1", f"project={tmp_path}/r{EVIL}", "save=false"]
    assert main(words) == 0
    for words in (["predict", f"source={EVIL}"], [EVIL], ["info", f"weights={EVIL}"], ["predict", f"{EVIL}=1"]):
        assert main(words) in (1, 2)
    out, error = capfd.readouterr()
    assert r"/a\x1b[2J\x1b[31m\rb\u202e.png: " in out
    assert len(re.findall(r"a\\x1b\[2J\\x1b\[31m(?: |\\r)b\\u202e", error)) >= 4
    assert not re.search("\x1b|\u202e|\r(?!\x1b\\[K)", (out + error).replace("\r\x1b[K", "").replace("\x1b[0m", ""))


def test_messages_of_ultralytics_are_seen_the_same_way(tmp_path):
    """In a process of its own, where its logger is made while the command line runs."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{EVIL}.jpg").write_bytes(b"no picture")
    (tmp_path / "d.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames: [a]\n")
    words = ["train", "model=yolov8n.yaml", f"data={tmp_path}/d.yaml", "epochs=1", "imgsz=32", f"project={tmp_path}"]
    done = subprocess.run([sys.executable, "-m", "casc_det", *words], capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 1 and r"a\x1b[2J" in said
    assert not re.search("\x1b|\u202e|\r", said.replace("\r\x1b[K", "")) and "Traceback" not in said
