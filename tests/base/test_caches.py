"""Where nothing can be written: a container or a service user without a home."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from casc_det.base import caches
from casc_det.simulation.fast import compiling

# The package's own folder is taken from numba, as if it were read-only; root may write everywhere else, so that places
# which nobody can write are below a file.
PREDICT = """
import sys
from numba.core import caching
caching.CacheImpl._locator_classes.remove(caching.InTreeCacheLocator)
from casc_det import SpikingYOLO
(result,) = SpikingYOLO(sys.argv[1]).predict(sys.argv[2], imgsz=64, conf=0.0, timesteps=3, max_det=3)
from casc_det.simulation.fast import loops
assert len(result) == 3 and result.spiking.timesteps == 3
print(getattr(loops.scan_loop._cache, "cache_path", None))
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    from conftest import live_yolo

    from casc_det import convert

    folder = tmp_path_factory.mktemp("inputs")
    model, _ = live_yolo("yolov8n")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(folder / "x.png")
    return convert(model, imgsz=64).save(folder / "x.safetensors"), folder / "x.png"


def test_predict_works_without_a_home(inputs, tmp_path):
    """The compiled loops are kept in the temporary folder; that they are compiled is said the first time."""
    pytest.importorskip("numba")
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "YOLO_CONFIG_DIR", "MPLCONFIGDIR")}
    environment = kept | dict.fromkeys(names, "/dev/null/home") | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PREDICT, *map(str, inputs)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1].startswith(str(tmp_path / f"casc_det-{os.getuid()}" / "numba"))
    assert not (tmp_path / "~").exists()
    assert done.stderr.count("compiling the loops") == 1
    again = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "compiling" not in again.stderr


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch):
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(compiling, "temporary_folder", lambda name: None)
    with pytest.raises(RuntimeError, match="cannot cache"):
        compiling.numba.njit(abs_sum, cache=True)
    assert compiling.compile_cached(abs_sum)(-1, 2) == 3 and compiling.numba.config.CACHE_DIR == ""


def test_loops_run_where_the_disk_is_full(tmp_path, monkeypatch):
    caching = pytest.importorskip("numba.core.caching")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setattr(compiling.numba.config, "CACHE_DIR", str(tmp_path))
    inner = compiling.compile_part(abs_sum)
    called = []

    @compiling.compile_cached
    def loop(out):
        out[0] += inner(-1, 2)

    out = np.zeros(1)
    compiling.run_loop(lambda *x: called.append(1) or loop(*x), out)
    assert out[0] == 3 and len(called) == 2
    compiling.run_loop(loop, out)
    assert out[0] == 6


def abs_sum(a, b):
    return abs(a) + abs(b)


def test_temporary_folder_is_private_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(caches.tempfile, "tempdir", str(tmp_path))
    folder = caches.temporary_folder("loops")
    assert folder == caches.temporary_folder("loops") and folder.startswith(str(tmp_path))
    own = tmp_path / f"casc_det-{os.getuid()}"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)  # somebody else may have put code there
    assert caches.temporary_folder("loops") is None
    own.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    own.symlink_to(tmp_path / "elsewhere")
    assert caches.temporary_folder("loops") is None


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    assert caches.usable(tmp_path / "new" / "folder")
    assert not caches.usable(tmp_path / "file" / "folder") and not caches.usable("~/.config")


def test_config_folders_of_the_user_are_kept(tmp_path, monkeypatch):
    for name in ("YOLO_CONFIG_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "x")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    caches.set_config_folders()
    assert os.environ["YOLO_CONFIG_DIR"] == str(tmp_path / "casc_det") and "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("YOLO_CONFIG_DIR", "given")
    caches.set_config_folders()
    assert os.environ["YOLO_CONFIG_DIR"] == "given"
