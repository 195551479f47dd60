"""The report: every metric stands under one question, and each question's figure is told."""

import html
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from site_fixture import thumbnail_parts

from atlas.settings.site import SiteSettings
from atlas.site.book import MetricRow, read_book
from atlas.site.pages.questions import (
    QUESTIONS,
    Scale,
    by_question,
    headline,
    question_of,
)
from atlas.site.pages.report import PLOTS, _bars, read_reliability, report_view
from atlas.site.render import open_templates, render


def metric(name, value, null, unit="share", null_name="chance"):
    return MetricRow(name, value, unit, 10, null, null_name, "atlas report", "")


def book(*metrics):
    return SimpleNamespace(metrics=metrics, n_features=1200)


def question(key):
    (found,) = (q for q in QUESTIONS if q.key == key)
    return found


def test_the_page_has_every_metric_once_and_each_question(site, db):
    text = (site / "report.html").read_text()
    shown = re.findall(r'<th scope="row">([^<]+?)(?: <small>[^<]*</small>)?(?:<small|</th>)', text)
    names = [row[0] for row in db.execute("SELECT name FROM metrics ORDER BY name").fetchall()]
    told = [name.replace("_", " ").replace("l0", "L0") for name in names]
    assert sorted(name for name in shown if name in told) == sorted(told)
    assert re.findall(r"<h2>([^<]+\?)</h2>", text) == [q.title for q in QUESTIONS]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("l0_mean", "sparse"),
        ("sae_heldout_explained_variance", "explained"),
        ("sae_heldout_pictures_a_feature", "single"),
        ("features_with_parent", "single"),
        ("features_shared", "seeds"),
        ("icons_shown_in_every_seed", "icons"),
        ("concept_removed_fall", "concepts"),
        ("anything_that_a_file_of_figures_holds", "made"),
    ],
)
def test_a_metric_belongs_to_one_question(name, key):
    assert question_of(name).key == key
    held = by_question([metric(name, 1.0, None)])
    assert [k for k, rows in held.items() if rows] == [key]


def test_every_chart_stands_beside_a_question():
    assert {plot.question for plot in PLOTS} <= {q.key for q in QUESTIONS}


def test_each_figure_told_belongs_to_its_question():
    for one in QUESTIONS:
        assert {question_of(claim.metric) for claim in one.claims} == {one}


def test_a_figure_is_told_beside_its_baseline_and_the_published_one():
    found = headline(book(metric("explained_variance", 0.5, 0.0)), question("explained"))
    assert found.before + found.value + found.after == (
        "The features account for 50.0% of what tells pictures apart."
    )
    assert found.bar == Scale(500, 0, 650)
    assert (found.null, found.published) == ("Chance: 0%", "65%")


def test_a_figure_no_better_than_its_baseline_says_so():
    held = metric("monosemanticity_mean", 0.162, 0.172, "cosine", "random directions")
    found = headline(book(held), question("single"))
    assert found.null == "Random directions: 0.172, so no better than that"


def test_the_first_figure_that_there_is_answers_a_question():
    assert headline(book(), question("names")) is None
    names = metric("names_auroc", 0.8, 0.5, "AUROC")
    assert headline(book(names), question("names")).value == "80.0%"
    both = book(names, metric("names_right", 0.3, 0.1))
    assert headline(both, question("names")).value == "30.0%"


def test_l0_is_a_share_of_the_features_and_a_count_has_no_bar():
    found = headline(book(metric("l0_mean", 36.0, None, "features an image")), question("sparse"))
    assert found.bar == Scale(30, None, 1)
    counted = headline(book(metric("images", 22_000.0, None, "images")), question("made"))
    assert (counted.value, counted.bar, counted.published) == ("22,000", None, "5 million")


def test_captions_of_charts_are_findings_with_numbers(drawn_site):
    text = html.unescape((drawn_site / "report.html").read_text())
    captions = re.findall(r"<figcaption><b>[^<]+</b> ([^<]+)</figcaption>", text)
    assert len(captions) >= 6
    assert all(caption.endswith(".") for caption in captions)
    assert all(re.search(r"\d|None", caption) for caption in captions)


def test_one_bar_is_no_chart():
    rows = [(3, 7), (4, 2)]
    assert _bars(rows[:1], str) is None
    bars, table, first, last = _bars(rows, str)
    assert (len(bars), table, first, last) == (2, [("3 to 4", "7"), ("4 to 5", "2")], "3", "5")


@pytest.mark.parametrize(
    ("dead", "told"),
    [
        ((), "No feature is dead</a>: each fires on at least one picture."),
        ((5,), "1 dead feature</a> fires on none of the scanned pictures."),
        ((5, 6), "2 dead features</a> fire on none of the scanned pictures."),
    ],
)
def test_dead_features_are_counted_in_good_english(db, planted_atlas, dead, told):
    found = replace(read_book(db, SiteSettings(), thumbnail_parts(planted_atlas)), dead=dead)
    view = report_view(found, [], read_reliability(db))
    assert told in render(open_templates(), "report", view)
