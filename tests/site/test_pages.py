"""Words and numbers of pages."""

import math
from types import SimpleNamespace

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import HOSTILE

from atlas.base.tables import TABLES, create_sql
from atlas.site.pages.data import QUERIES
from atlas.site.pages.feature import bibtex
from atlas.site.pages.histogram import histogram_bars
from atlas.site.pages.record import short
from atlas.site.pages.report import ranges
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
        (0.0042, "0.420\u00a0%"),
        (1, "100\u00a0%"),
        (0, "0\u00a0%"),
        (0.000001, "< 0.001\u00a0%"),
    ],
)
def test_shares_are_percentages_that_do_not_break(share, text):
    assert percent(share) == text


def test_runs_are_drawn_together_from_three_on():
    assert ranges([]) == []
    assert ranges([1, 2, 4, 5, 6, 9]) == ["1", "2", "4–6", "9"]


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


def test_stray_weak_firings_share_the_first_bar():
    rows = [(7, 0.0, 2.0**-16, 2, 0), (7, 0.5, 0.625, 3, 61), (7, 1.0, 1.25, 6, 65)]
    bars = histogram_bars(rows)
    assert bars.path == "M5 0v16M355 0v24M395 0v48"
    assert bars.counts == f"2{',' * 35}3{',' * 4}6"
    assert bars.quarter == "-39", "forty bins, the last of which begins at 1"
    assert bars.width == "400"
    assert not histogram_bars([]).path


@given(st.floats(-1e30, 1e30))
def test_json_numbers_have_five_digits(value):
    assert math.isclose(short(value), value, rel_tol=1e-4)
    assert repr(short(value)) == repr(float(f"{value:.4e}"))


@pytest.mark.parametrize("value", [7, True, None, "name"])
def test_what_is_no_fraction_stays_as_it_is_in_json(value):
    assert short(value) is value


def test_metrics_show_shares_with_three_decimals_and_counts_whole():
    assert metric_value(0.65, "share") == "0.650"
    assert metric_value(22000, "images") == "22,000"
    assert metric_value(17.53, "activation an image") == "17.5"


def test_a_citation_holds_names_that_mean_something_to_latex():
    book = SimpleNamespace(facts={"id": "atlas:0123456789ab", "title": "All & more"})
    assert bibtex(book, 17, "50 % {of} \\it") == (
        "@misc{atlas-0123456789ab-f17,\n"
        "  title = {Feature 17: 50 \\% \\{of\\}  it},\n"
        "  howpublished = {All \\& more, atlas:0123456789ab/f17},\n"
        "}"
    )


@pytest.mark.parametrize(("question", "sql"), QUERIES)
def test_the_queries_of_the_data_page_run_in_a_shell_on_the_tables(question, sql):
    assert not set(sql) & set('"$`\\!')
    with duckdb.connect() as db:
        for table in TABLES:
            db.execute(create_sql(table))
        assert db.execute(sql).fetchall() == [], question
