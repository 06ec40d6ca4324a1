"""Every link in a page leads to a file and a heading that are there, as do `file.py` and `file.py:name`."""

import ast
import re
from pathlib import Path

import pytest
from update_tables import ROOT, pages

LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)|src=\"(?!https?:)([^\"]+)\"")
NAMED = re.compile(r"`([\w/]+\.py):([\w.]+)`")  # below casc_det/
FILE = re.compile(r"`((?:\w+/)+(?:\w+\.py)?)`")  # a folder or file below casc_det/, or of the repository
MADE = ("data/", "images/", "traces/")  # folders that users have or make


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names(file: Path) -> set[str]:
    """What a module defines at its top, and the members of its classes as `Class.member`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)} | {getattr(node, "name", "")}
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{member.name}" for member in node.body if isinstance(member, ast.FunctionDef)}
    return found


def broken(text: str, page: Path) -> list[str]:
    """What the text of a page refers to and is not there."""
    result = []
    for link in (first or second for first, second in LINK.findall(text)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and anchor not in anchors(target / "README.md" if target.is_dir() else target)
        ):
            result.append(link)
    for path, name in NAMED.findall(text):
        file = ROOT / "casc_det" / path
        if not file.is_file() or name not in names(file):
            result.append(f"{path}:{name}")
    for path in FILE.findall(text):
        if not path.startswith(MADE) and not any((root / path).exists() for root in (ROOT / "casc_det", ROOT)):
            result.append(path)
    return result


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page.read_text(), page) == []


def test_broken_links_are_found():
    text = "[a](README.md#install) [b](none.md) [c](README.md#none) `errors.py:CascError` `errors.py:X` `x.py:X` "
    text += "`graph/walk.py` `graph/x.py`"
    assert broken(text, ROOT / "README.md") == ["none.md", "README.md#none", "errors.py:X", "x.py:X", "graph/x.py"]


def test_every_page_is_linked():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in pages()
        for link in (first or second for first, second in LINK.findall(page.read_text()))
    }
    linked |= {path / "README.md" for path in linked if path.is_dir()}
    assert [page for page in pages() if page not in linked and page != ROOT / "README.md"] == []
