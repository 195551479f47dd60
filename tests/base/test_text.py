"""Text from outside, fit for files, terminals and tables; files in the order of their numbers."""

from pathlib import Path

import pytest

from atlas.base.text import clean_text, decode_text, holds_name, in_order, plain_words, same_name


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("a plain caption", "a plain caption"),
        ("half \ud83d an emoji", "half \ufffd an emoji"),
        ("whole \U0001f600", "whole \U0001f600"),
        ("nul\0 bell\a", "nul bell"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end"),
        ("tab\tand\nline", "tab\tand\nline"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        (None, ""),
        (float("nan"), ""),
        (1.5, "1.5"),
        (["", None, "first", "second"], "first"),
        ([], ""),
    ],
)
def test_any_cell_becomes_text_that_utf8_holds(given, text):
    assert clean_text(given) == text
    clean_text(given).encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_file_is_read_as_its_editor_wrote_it(encoding):
    assert decode_text("a red café".encode(encoding)) == "a red café"


def test_numbers_in_names_count_as_numbers():
    names = ["img_10.npy", "img_2.npy", "img_1.npy", "a/9/x", "a/10/x"]
    ordered = [path.as_posix() for path in in_order(map(Path, names))]
    assert ordered == ["a/9/x", "a/10/x", "img_1.npy", "img_2.npy", "img_10.npy"]


def test_a_name_is_the_same_from_any_system():
    assert same_name("./Trip\\CAFE\u0301.JPG") == same_name("trip/caf\u00e9.jpg")


def test_words_are_compared_in_one_form():
    words = plain_words("T\u00fcrkiye\u2019s CAF\u00c9: \uff21\uff22 snow_capped, \ufb01n & 2x")
    assert words == ["t\u00fcrkiye's", "caf\u00e9", "ab", "snow", "capped", "fin", "2x"]
    assert plain_words("Cafe\u0301") == plain_words("caf\u00e9")


def test_a_text_holds_a_name_whose_words_it_has_without_the_one_that_tells_it_apart():
    assert holds_name("A house, derelict", "house · old")
    assert holds_name("tent of a circus", "circus tent")
    assert not holds_name("a warehouse", "house")
    assert not holds_name("anything", "")
