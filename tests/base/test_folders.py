"""Run folders are made at once and never twice, and are removed when nothing is in them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from casc_det.base.files import write_bytes
from casc_det.base.folders import run_folder
from casc_det.errors import OutputError


def test_run_folders_are_made_at_once_and_never_twice(tmp_path):
    def work(number):
        with run_folder(tmp_path / "deep" / "runs", "predict") as folder:
            assert not list(folder.iterdir())
            write_bytes(folder / "x", str(number).encode())
            return folder

    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(work, range(64)))
    assert len(set(folders)) == 64 and {f.name for f in folders} == {"predict", *(f"predict-{i}" for i in range(2, 65))}
    assert sorted(int((f / "x").read_text()) for f in folders) == list(range(64))


def test_a_run_folder_without_anything_in_it_is_removed(tmp_path):
    with pytest.raises(KeyError), run_folder(tmp_path / "new" / "runs", "val") as folder:
        assert folder.is_dir()
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old" / "val").mkdir(parents=True)
    with run_folder(tmp_path / "old", "val", exist_ok=True) as folder:
        assert folder == tmp_path / "old" / "val"
    assert folder.is_dir()
    (tmp_path / "file").write_text("")
    for project, name in ((tmp_path / "file", "x"), (tmp_path, "file"), (tmp_path, "x" * 300)):
        with pytest.raises(OutputError, match="cannot be written"), run_folder(project, name, exist_ok=True):
            pass
