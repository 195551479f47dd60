"""Captions and numbers as pages show them."""

import pytest
from planted import HOSTILE

from atlas.site.text import clean, figure, metric_value, percent, share_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.500"),
        (63.14, "63.1"),
        (1234.5, "1,234"),
        (0.0001234, "0.000123"),
        (1e-9, "1.00e-09"),
        (-2.0, "-2.00"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert figure(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0042, "0.420%"),
        (1, "100%"),
        (0, "0%"),
        (0.000001, "< 0.001%"),
    ],
)
def test_shares_are_percentages_that_do_not_break(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_clean_text_is_one_short_line_without_controls(text):
    found = clean(text)
    assert len(found) <= 300
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in found)
    assert not set(found) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    )
    assert clean(found) == found


def test_what_fires_at_all_has_a_bar():
    assert [share_of(part, 100) for part in (0, 0.1, 50, 100)] == [0, 1, 25, 50]


def test_metrics_show_shares_with_three_decimals_and_counts_whole():
    assert metric_value(0.65, "share") == "0.650"
    assert metric_value(22000, "images") == "22,000"
    assert metric_value(17.53, "activation an image") == "17.5"
