"""Names of classes from files."""

import pytest

from casc_det.errors import SourceError
from casc_det.yolo.data import read_names


@pytest.mark.parametrize("content", ["", "a text", "names: 7", "names: []", "[1, 2]", "names: {a"])
def test_names_of_no_dataset_are_refused(content, tmp_path):
    for name in ("n.yaml", "n.txt"):
        (tmp_path / name).write_text(content)
        with pytest.raises(SourceError, match="^names: '.*' (is no dataset YAML|names no class)"):
            read_names(tmp_path / name)
