"""Addresses of the site."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.site import links

FEATURES = st.integers(0, 200_000)
PAGES = st.one_of(
    FEATURES.map(links.feature_page),
    FEATURES.map(links.image_page),
    st.integers(1, 90).map(links.browse_page),
    st.sampled_from([links.HOME, links.MAP, links.words_page("a"), links.STYLE]),
)


@given(page=PAGES, target=PAGES)
def test_a_relative_link_leads_to_its_target_from_any_page(page, target):
    way = links.relative(page, target)
    assert not way.startswith("/")
    assert posixpath.normpath(posixpath.join(posixpath.dirname(page), way)) == target


def test_anchors_stay_on_links():
    assert links.relative("feature/0/1.html", "map.html#f1") == "../../map.html#f1"
    assert links.relative("map.html", "#f1") == "#f1"


def test_a_feature_has_its_permanent_address():
    assert links.feature_page(12345) == "feature/12/12345.html"
    assert links.feature_json(12345) == "api/v1/features/192.json"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "javascript:alert(1)",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,x",
        "//example.org/x",
        "http://",
        "http://user@example.org/",
        "https://example.org\\@evil.org/",
        "http://[bad/",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_addresses_that_are_not_plain_web_addresses_are_dropped(url):
    assert links.outward(url) == ""


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://example.org/a?b=c&d=1#x", "https://example.org/a?b=c&d=1"),
        ('http://example.org/"><b>', "http://example.org/%22%3E%3Cb%3E"),
        ("https://example.org/ä", "https://example.org/%C3%A4"),
    ],
)
def test_web_addresses_are_kept_and_escaped(url, safe):
    assert links.outward(url) == safe


def test_feedback_names_its_subject_where_a_new_issue_can_take_it():
    new = "https://forge.example/me/atlas/issues/new"
    assert links.feedback(new, "atlas:0/f1") == f"{new}?title=atlas%3A0%2Ff1"
    assert links.feedback(f"{new}?labels=a", "f&1") == f"{new}?labels=a&title=f%261"
    assert links.feedback("https://me.example/write", "f1") == "https://me.example/write"
    assert links.feedback("javascript:alert(1)", "f1") == ""
