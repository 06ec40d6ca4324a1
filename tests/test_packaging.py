"""What `setup.cfg` says of the package, held against what there is."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[1]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_editable_install_is_a_plain_path():
    """Else a clone called casc_det, seen from the folder that it lies in, is imported as an empty package."""
    assert SETUP["options"]["package_dir"].split() == ["=", "."]


def test_every_room_is_in_the_wheel():
    include = SETUP["options.packages.find"]["include"].split()
    folders = {path.parent for path in (ROOT / "casc_det").rglob("*.py")}
    assert set(find_packages(str(ROOT), include=include)) == {".".join(f.relative_to(ROOT).parts) for f in folders}
