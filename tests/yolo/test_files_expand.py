"""What a path, folder, glob or list stands for, and what is left out."""

import os
from pathlib import Path

import pytest
from noise import noise

from casc_det.errors import SourceError
from casc_det.yolo.sources import Source


def test_folder_names_and_counts_what_it_skips(tmp_path):
    noise(tmp_path / "good.jpg", size=(400, 300))
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


def test_missing_source_says_so(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        Source(str(tmp_path / "none.jpg"))
    with pytest.raises(SourceError, match="pattern matches no file"):
        Source(str(tmp_path / "*.jpg"))


def test_list_file_and_glob_give_the_images(tmp_path):
    for name in ("b.png", "a.png"):
        noise(tmp_path / name)
    (tmp_path / "list.txt").write_text("b.png\na.png\nmissing.png\n")
    source = Source(str(tmp_path / "list.txt"))
    assert [f.path.rsplit("/", 1)[-1] for f in source] == ["b.png", "a.png"]
    assert len(source.skipped) == 1 and source.total == 2
    assert len(list(Source(str(tmp_path / "*.png")))) == 2


def test_everything_in_a_folder_but_folders_is_named(tmp_path):
    noise(tmp_path / "good.png")
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
        noise(tmp_path / name)
    (tmp_path / "list.csv").write_text('source\na.png,"b, c.png"\n\nd.png,\n')
    source = Source(str(tmp_path / "list.csv"))
    assert [Path(f.path).name for f in source] == ["a.png", "b, c.png", "d.png"] and not source.skipped


def test_name_in_a_message_stands_there_once(tmp_path):
    with pytest.raises(SourceError) as caught:
        Source([str(tmp_path / "none.png")])
    assert str(caught.value) == f"source: '{tmp_path / 'none.png'}' does not exist (no such file or folder)"


def test_list_of_files_skips_what_cannot_be_read(tmp_path):
    good, bad = noise(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"x")
    source = Source([str(bad), good])
    assert [frame.path for frame in source] == [str(good)] and source.skipped[0][0] == str(bad)
