"""Classes of model and data set are matched by name."""

import pytest

from casc_det.cli.val import parse_mapping
from casc_det.errors import ArgumentError
from casc_det.evaluation.classes import match_classes


def test_classes_match_by_name_and_alias():
    mapping = match_classes(["person", "couch", "tv", "horse"], ["TVmonitor", "sofa", "unicorn"])
    assert mapping.label_of.tolist() == [-1, 1, 0, -1]
    assert mapping.missing == ("unicorn",) and mapping.unused == ("person", "horse")
    given = match_classes(["person", "horse"], ["unicorn", "person"], {"unicorn": "horse"})
    assert given.label_of.tolist() == [1, 0] and given.missing == ()


def test_several_classes_of_the_model_count_as_one_of_the_data_set():
    mapping = match_classes(["chair", "couch", "person"], ["furniture", "person"], {"furniture": ["chair", "couch"]})
    assert mapping.label_of.tolist() == [0, 0, 1] and mapping.missing == mapping.unused == ()
    assert parse_mapping("furniture:chair, furniture:couch") == {"furniture": ["chair", "couch"]}
    taken = match_classes(["couch", "chair"], ["furniture", "couch", "chair"], {"furniture": "couch"})
    assert taken.label_of.tolist() == [0, 2] and taken.missing == ("couch",)


@pytest.mark.parametrize(
    ("model", "truth", "given"),
    [
        (["person"], ["man", "woman"], {"man": "person", "woman": ["person"]}),
        (["person"], ["Person", "person"], None),
        (["tv"], ["tv", "TV", "dog"], None),
        (["cat", "dog"], ["cat", "cat", "dog"], None),
        (["couch"], ["sofa", "Sofa"], None),
    ],
)
def test_one_class_of_the_model_cannot_be_two_of_the_data_set(model, truth, given):
    with pytest.raises(ArgumentError, match="cannot be several classes of the data set"):
        match_classes(model, truth, given)


def test_names_that_differ_in_case_only_match_as_written():
    mapping = match_classes(["Cat", "cat", "tv", "tvmonitor"], ["cat", "Cat", "tv"])
    assert mapping.label_of.tolist() == [1, 0, 2, -1]
    assert match_classes(["couch"], ["couch", "sofa"]).missing == ("sofa",)


def test_classes_without_anything_in_common_are_refused():
    with pytest.raises(ArgumentError, match=r"^against: .* the model of against= .*; give against= of a model"):
        match_classes(["a"], ["b"], None, "against=")
    with pytest.raises(ArgumentError, match="no class in common"):
        match_classes(["a"], ["b"])
    with pytest.raises(ArgumentError, match="names a class that"):
        match_classes(["a"], ["b"], {"b": "c"})
