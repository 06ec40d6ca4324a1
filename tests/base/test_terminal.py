"""Text on its way to a terminal."""

import io
import sys
import unicodedata

import pytest

from casc_det.base.terminal import Screen, printable, screened


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\udcff", r"\udcff"),
        ("人 été ✅", "人 été ✅"),
    ],
)
def test_printable(text, seen):
    assert printable(text) == seen


def test_printable_leaves_no_control_character():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = {unicodedata.category(c) for c in printable(every)}
    assert not kinds & {"Cc", "Zl", "Zp", "Cs"}
    turning = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}
    assert not turning & {unicodedata.bidirectional(c) for c in printable(every)}


def test_screen_lets_lines_and_bars_through_only():
    stream = io.StringIO()
    screen = Screen(stream)
    screen.write("\r\x1b[Kval: 10%\n")
    screen.write("\x1b[34m\x1b[1mtrain: \x1b[0ma\x1b[2J\rb\u202e\r\n")
    assert stream.getvalue() == "\r\x1b[Kval: 10%\ntrain: a\\x1b[2J\\rb\\u202e\n"
    assert screen.getvalue() == stream.getvalue()  # all else is the stream's


def test_what_comes_beside_a_bar_begins_a_line_of_its_own():
    file, bars = io.StringIO(), []
    out, err = Screen(file, bars), Screen(file, bars)
    for stream, text in ((err, "\r\x1b[Kval: 1/2"), (out, "skipped a"), (out, "\n"), (err, "\r\x1b[Kval: 2/2")):
        stream.write(text)
    for stream, text in ((err, "\n"), (out, "done\n"), (err, "\n")):
        stream.write(text)
    assert file.getvalue() == "\r\x1b[Kval: 1/2\nskipped a\n\r\x1b[Kval: 2/2\ndone\n\n"
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    for text in ("\r\x1b[Kval: 1/2", "skipped a\n"):  # the bar goes, and is drawn again below
        (screen := Screen(terminal, bars)).write(text)
    assert screen.getvalue() == "\r\x1b[Kval: 1/2\r\x1b[Kskipped a\n"


def test_screened_ends_also_after_an_error():
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), screened():
        assert isinstance(sys.stdout, Screen)
        raise KeyError
    assert (sys.stdout, sys.stderr) == before
