"""What robots.txt and X-Robots-Tag allow."""

import time
from urllib.robotparser import RobotFileParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.fetching.robots import Robots, Rule, parse_robots, refuses

LINES = st.sampled_from(["User-agent: *", "User-agent: other", "User-agent: feature-atlas",
                         "Disallow: /a", "Disallow: /b/c", "Disallow:", "Disallow: /", ""])  # fmt: skip


def test_the_longest_rule_counts_and_stars_stand_for_any_text():
    robots = parse_robots(
        "User-agent: *\nAllow: /\nDisallow: /private\nAllow: /private/open\nDisallow: /*.gif$\nDisallow: /*?sid="
    )
    assert [
        robots.allow(path)
        for path in ("/a.jpg", "/private/a", "/private/open/a", "/x/a.gif", "/a.gif?x", "/a?sid=1")
    ] == [True, False, True, False, True, False]


def test_a_group_of_our_own_counts_instead_of_that_for_all():
    text = "User-agent: Feature-Atlas\nUser-agent: x\nDisallow: /a # why\nCrawl-delay: 7\n\nUser-agent: *\nDisallow: /"
    assert parse_robots(text) == Robots((Rule(False, "/a"),), 7.0)
    assert not parse_robots(text.replace("Feature-Atlas", "y")).allow("/b")


@given(st.lists(LINES, max_size=8), st.sampled_from(["/", "/a", "/ab", "/b", "/b/c", "/b/c/d"]))
def test_plain_rules_mean_what_the_standard_library_takes_them_for(lines, path):
    # It drops a group without an empty line before the next; so every group gets one.
    lines = [f"\n{line}" if line.startswith("User") else line for line in lines if line]
    text = "\n".join(lines)
    known = RobotFileParser()
    known.parse(text.splitlines())
    groups = [line.strip() for line in lines if line.startswith("\n")]
    if len(groups) != len(set(groups)):
        return  # it reads the first of two equal groups, RFC 9309 joins them
    assert parse_robots(text).allow(path) == known.can_fetch("feature-atlas", path)


def test_a_hostile_rule_takes_no_time():
    began = time.monotonic()
    assert Rule(False, "/" + "*a" * 5000 + "b").fits("/" + "a" * 20000) is False
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "tags",
    [["noai"], ["NOINDEX"], ["nofollow, noimageai"], ["all", "noimageindex"], ["none"],
     ["feature-atlas: noai"], ["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"]],
)  # fmt: skip
def test_headers_that_refuse(tags):
    assert refuses(tags)


@pytest.mark.parametrize(
    "tags", [[], ["all"], ["nofollow, noarchive"], ["otherbot: noindex, noai"], ["max-snippet: 0"]]
)
def test_headers_that_do_not_refuse(tags):
    assert not refuses(tags)
