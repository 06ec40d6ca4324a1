"""Images on disk: written whole, with boxes of any class, beside each other on a board."""

import numpy as np
import pytest
from PIL import Image

from casc_det.errors import SourceError
from casc_det.show.images import board, draw_boxes, drawable, jpeg_of, panel, write_image

GREY = np.full((60, 90, 3), 128, np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_images_are_read_as_they_were_written(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    with Image.open(write_image(tmp_path / f"new/a{suffix}", image)) as read:
        assert np.array_equal(np.asarray(read)[..., ::-1], image)


def test_unknown_formats_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(SourceError, match="has no known picture suffix; use .jpg or .png"):
        write_image(tmp_path / "a.xyz", GREY)
    assert not list(tmp_path.iterdir())


def test_boxes_are_drawn_where_they_are_on_a_copy():
    drawn = draw_boxes(GREY, np.array([[20.0, 30, 60, 50]]), np.array([8]), ["x"] * 9, np.array([0.5]))
    changed = np.argwhere((drawn != GREY).any(2))
    assert (GREY == 128).all() and 5 < changed[:, 0].min() <= 30 and 49 <= changed[:, 0].max() <= 52
    assert (drawn[40, 20] != 128).any() and (drawn[40, 40] == 128).all()


@pytest.mark.parametrize("box", [[-20.0, 60, 40, 90], [230.0, 60, 260, 90], [100.0, -30, 140, 30], [0.0, 150, 40, 170]])
def test_class_names_at_the_edges_are_whole(box):
    """The label of a box that begins outside, or that ends near the right edge, is that of a box in the middle."""
    image = np.full((120, 240, 3), 128, np.uint8)
    middle = draw_boxes(image, np.array([[80.0, 60, 140, 100]]), np.array([0]), ["stop sign"])
    text = lambda drawn: int((drawn == 255).all(2).sum())
    assert text(draw_boxes(image, np.array([box]), np.array([0]), ["stop sign"])) == text(middle) > 20


def test_text_is_what_opencv_can_draw():
    assert drawable("caf\u00e9 \ud800\n$") == "caf? ??$"
    assert draw_boxes(GREY, np.zeros((1, 4)), np.array([0]), ["\ud800"]).shape == GREY.shape


def test_board_holds_panels_of_different_heights_in_rows():
    panels = [panel(GREY, "a", "b", width=90), panel(GREY[:30], "a", width=90), panel(GREY, "a", good=True, width=90)]
    assert [p.shape[0] for p in panels] == [128, 98, 128]
    sheet = board(panels, columns=2, gap=10)
    assert sheet.shape == (2 * 128 + 3 * 10, 2 * 100 + 10, 3)
    assert np.array_equal(sheet[10:138, 10:100], panels[0]) and np.array_equal(sheet[10:108, 110:200], panels[1])
    assert (sheet[108:138, 110:200] == 255).all()


def test_large_images_become_small_jpegs():
    data, scale = jpeg_of(np.full((100, 400, 3), 90, np.uint8), 200)
    assert scale == 0.5 and data[:2] == b"\xff\xd8" and jpeg_of(GREY, 200)[1] == 1.0


def test_texts_of_a_panel_are_made_to_fit():
    image = np.zeros((10, 320, 3), np.uint8)
    for title, note in (("T" * 80, "short"), ("short", "M" * 120)):
        drawn = panel(image, title, note)
        assert drawn.shape == (38 + 10 + 30, 320, 3)
        for strip in (drawn[:38], drawn[-30:]):
            assert (strip < 255).any() and (strip[:, -3:] == 255).all()
