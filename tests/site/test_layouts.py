"""The site in its other layout: the features of a group on one page."""

import json
import re

from site_fixture import column

from atlas.site import links
from atlas.site.check import check_site


def test_groups_hold_every_live_feature_once(grouped_site, db):
    live = column(db, "SELECT feature FROM features WHERE alive ORDER BY feature")
    found = []
    for path in sorted((grouped_site / "feature").iterdir()):
        shown = [
            int(n)
            for n in re.findall(r'<article class="feature r\d+" id="f(\d+)">', path.read_text())
        ]
        assert {n // links.FEATURES_A_GROUP for n in shown} == {int(path.stem)}
        found += shown
    assert found == live


def test_groups_keep_the_promises_of_every_site(grouped_site, planted_atlas):
    checked = check_site(grouped_site)
    single = check_site(planted_atlas / "site")
    assert checked.pages < single.pages
    assert checked.files < single.files
    table = (grouped_site / links.FEATURES_SCRIPT).read_text()
    assert json.loads(table[len("atlasFeatures(") : -3])["layout"] == "groups"
