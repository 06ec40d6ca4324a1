"""tools/update_tables.py: every page is what it would write, every table stands in one page, and that can fail."""

import re
from collections import Counter

import pytest
from record_tables import TABLES
from update_tables import PLACE, RECORDS, ROOT, WEIGHTS, makers, pages, updated


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_is_up_to_date(page):
    text = page.read_text()
    assert updated(text) == text, "run: python tools/update_tables.py"


def test_stale_page_is_found():
    text = (ROOT / "weights" / "yolov8n-cq16.md").read_text()
    changed = text.replace("0.25", "0.26", 1)
    assert changed != text and updated(changed) == text


def test_unknown_table_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        updated("<!-- table nothing -->\n<!-- end -->")


def test_every_table_stands_in_one_page():
    found = Counter(name for page in pages() for name, _ in PLACE.findall(page.read_text()))
    assert found == Counter(dict.fromkeys(makers(), 1))


def test_no_marker_is_left_open():
    for page in pages():
        text = page.read_text()
        assert len(re.findall("<!-- ", text)) == 2 * len(PLACE.findall(text)), page


def test_every_record_is_listed_and_shown():
    files = {str(path.relative_to(ROOT)) for room in ("weights", "tools") for path in (ROOT / room).glob("*.json")}
    assert files == set(RECORDS) == {record for _, sources in TABLES.values() for record in sources}


def test_every_weight_file_has_a_card():
    for name in WEIGHTS:
        assert f"<!-- table file.{name} -->" in (ROOT / "weights" / f"{name}.md").read_text()
