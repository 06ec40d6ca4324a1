"""Which classes to keep: labels and names as users give them."""

import pytest

from casc_det.errors import ArgumentError
from casc_det.heads.detect.settings import chosen_labels, read_classes

NAMES = ["cat", "dog", "traffic light"]


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (None, None),
        (1, (1,)),
        ([2, 0], (2, 0)),
        (range(2), (0, 1)),
        ("dog", (1,)),
        (["dog", 0], (1, 0)),
        ("cat,traffic light", (0, 2)),
        ("[0, 2]", (0, 2)),
        ("2", (2,)),
    ],
)
def test_labels_and_names_are_labels(given, labels):
    assert chosen_labels(given, NAMES) == labels


@pytest.mark.parametrize("wrong", [3, -1, [True], 0.5, ",", "", "horse", ["horse"], b"cat"])
def test_what_is_no_class_is_refused(wrong):
    with pytest.raises(ArgumentError, match="^classes: "):
        chosen_labels(wrong, NAMES)


def test_names_that_look_like_numbers_come_first():
    numbered = ["4", "3", "x, y", "1", "0"]
    assert chosen_labels("4,2", numbered) == (0, 2) and chosen_labels("x, y", numbered) == (2,)
    assert chosen_labels(4, numbered) == (4,) and read_classes("4,2", numbered) == ["4", 2]
