"""What pages and JSON files show of a feature, the report and the tables."""

import math
from types import SimpleNamespace

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.base.tables import TABLES, create_sql
from atlas.site.chapter import NAME_COLUMNS
from atlas.site.pages.data import QUERIES
from atlas.site.pages.example import taus_view
from atlas.site.pages.feature import bibtex, summary
from atlas.site.pages.histogram import histogram_bars
from atlas.site.pages.record import short
from atlas.site.pages.report import ranges


def test_runs_are_drawn_together_from_three_on():
    assert ranges([]) == []
    assert ranges([1, 2, 4, 5, 6, 9]) == ["1", "2", "4–6", "9"]


def test_stray_weak_firings_share_the_first_bar():
    rows = [(7, 0.0, 2.0**-16, 2, 0), (7, 0.5, 0.625, 3, 61), (7, 1.0, 1.25, 6, 65)]
    bars = histogram_bars(rows)
    assert bars.path == "M5 0v16M355 0v24M395 0v48"
    assert bars.counts == f"2{',' * 35}3{',' * 4}6"
    assert bars.quarter == "-39", "forty bins, the last of which begins at 1"
    assert bars.width == "400"
    assert bars.most == "6"
    assert not histogram_bars([]).path


@pytest.mark.parametrize(
    ("captions", "told"),
    [
        ([], "Fires on 2.00% of pictures."),
        (["a red kite"], "Fires on 2.00% of pictures, most of all on “a red kite”."),
        (
            ["Red kite", "kite and sea", "the sea"],
            "Fires on 2.00% of pictures, most of all on “kite”, a word in the captions of 2 of its 3 strongest.",
        ),
        (["one", "two"], "Fires on 2.00% of pictures, most of all on “one”."),
    ],
)
def test_a_feature_is_told_in_one_sentence_from_its_strongest_pictures(captions, told):
    rows = [(7, i, 1.0, caption, False) for i, caption in enumerate(captions)]
    book = SimpleNamespace(live={7: SimpleNamespace(density=0.02, sensitive=False)})
    assert summary(book, SimpleNamespace(top={7: rows}, named={}), 7) == told


def test_the_sentence_tells_of_the_name_without_the_word_that_tells_namesakes_apart():
    columns = NAME_COLUMNS.split(", ")
    best = dict.fromkeys(columns) | {
        "name": "bell · house",
        "label": "bell",
        "held": 9,
        "strong": 18,
    }
    chapter = SimpleNamespace(
        top={7: [(7, 0, 1.0, "bell", False)]}, named={7: [(7, *(best[c] for c in columns))]}
    )
    book = SimpleNamespace(live={7: SimpleNamespace(density=0.02, sensitive=False)})
    told = "Fires on 2.00% of pictures, most of all on “bell”: in the captions or tags of 9 of its 18 strongest."
    assert summary(book, chapter, 7) == told


def test_thresholds_are_shown_as_they_were_set_and_as_they_are_for_this_model():
    facts = {"tau_scale": "0.434", "tau_coarse": "11.284", "tau_fine": "5.208"}
    found = taus_view(facts)
    assert (found["tau_coarse_set"], found["tau_fine_set"]) == ("26", "12")
    assert (found["tau_coarse"], found["tau_scale"]) == ("11.3", "0.434")


@given(st.floats(-1e30, 1e30))
def test_json_numbers_have_five_digits(value):
    assert math.isclose(short(value), value, rel_tol=1e-4)
    assert repr(short(value)) == repr(float(f"{value:.4e}"))


@pytest.mark.parametrize("value", [7, True, None, "name"])
def test_what_is_no_fraction_stays_as_it_is_in_json(value):
    assert short(value) is value


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
