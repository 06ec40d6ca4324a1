"""Running cells: which images are shown."""

from dataclasses import replace

from casc_det.evaluation.truth import Truth, make_image
from casc_det.studies.runner import Study
from casc_det.studies.settings import StudySettings


def test_examples_are_spread_and_have_something_to_see(tmp_path):
    row = lambda side: (0, 0, side, side, 0, False, False, None)
    rows = [[row(5)] * 9, [row(50)], [], [row(50)], [row(5)], [], [row(50)] * 2, [row(90)]]
    images = [make_image(i, f"{i}.png", (100, 100), boxes, []) for i, boxes in enumerate(rows)]
    truth = Truth("coco", "t", ["a"], [1], images)
    chosen = Study(StudySettings(), truth, (64, 64), tmp_path).examples
    assert [image.key for image in chosen] == [1, 3, 4, 5, 6, 7]
    few = Study(StudySettings(), replace(truth, images=images[:2]), (64, 64), tmp_path).examples
    assert [image.key for image in few] == [0, 1]
