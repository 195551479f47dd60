"""The page About tells of this atlas, not of some atlas."""

import html
import re

from atlas.site import links
from atlas.site.pages.about import NAMED_BY


def words_of(site):
    text = (site / links.ABOUT).read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text)))


def test_it_says_how_many_features_have_a_name_and_where_names_come_from(site, db):
    found = words_of(site)
    n, sources = db.execute("SELECT count(*), list(DISTINCT source) FROM names").fetchone()
    assert f"{n:,} features have one" in found
    assert sources
    for source in sources:
        assert NAMED_BY.get(source, "from outside") in found
    (l0,) = db.execute("SELECT value FROM metrics WHERE name = 'l0_mean'").fetchone()
    assert f"features: {l0:.0f} on average" in found


def test_what_an_atlas_lacks_it_does_not_explain(site, drawn_site):
    without, whole = words_of(site), words_of(drawn_site)
    for term in ("Icon, round trip", "Knob"):
        assert term in whole
        assert term not in without
    assert "the picture that stands in for an icon" in without
