"""Any text as the name of one file in its folder."""

import pytest
from conftest import NASTY
from hypothesis import given
from hypothesis import strategies as st

from casc_det.base.files import safe_name

TEXTS = st.text(st.sampled_from("a/\\.-_ \0\u202e人0"), max_size=8)


@pytest.mark.parametrize("text", ["bus", "000000000785", "US$ a_^ $x", "été", "2008_000001", "a b.c", "人"])
def test_ordinary_names_stay(text):
    assert safe_name(text) == text and safe_name(785) == "785"


@pytest.mark.parametrize("text", NASTY)
def test_any_text_becomes_one_file_in_its_folder(text, tmp_path):
    name = safe_name(text)
    (tmp_path / f"{name}.npz").write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.npz"] and len(name.encode()) <= 150
    assert not name.startswith((".", "-")) and name.isprintable()


@given(TEXTS, TEXTS)
def test_different_texts_have_different_names(first, second):
    assert (safe_name(first) == safe_name(second)) == (first == second)
    assert safe_name(safe_name(first)) != safe_name(first) or safe_name(first) == first  # none is taken for another's
