"""Files appear whole or not at all."""

import pytest

from casc_det.base.files import write_bytes
from casc_det.errors import OutputError


def test_the_longest_names_can_be_written(tmp_path):
    assert write_bytes(tmp_path / ("x" * 255), b"1").read_bytes() == b"1"
    with pytest.raises(OutputError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 256), b"1")
    assert len(list(tmp_path.iterdir())) == 1
