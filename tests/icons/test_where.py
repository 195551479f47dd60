"""The where stage: its maps in the build, their figure and how pages show them."""

import duckdb
import pyarrow.parquet as pq
import pytest

from atlas.icons.where import figures, where_table
from atlas.site.pages.icon import VEILS, veils


def test_the_figure_stands_beside_its_null():
    def row(own, null):
        return {"lost_gray": own, "lost_gray_null": null, "other": None if null is None else 4}

    rows = [{**row(*pair), "feature": 1, "rank": 0, "image": 2, "activation": 1.0, "on_thumbnail": 1.0, "lost": [0.0]}
            for pair in ((0.5, 0.1), (0.7, 0.3), (0.9, None), (0.6, 0.2))]  # fmt: skip
    (figure,) = figures(where_table(rows))
    assert (figure["value"], figure["null_value"], figure["n"]) == pytest.approx((0.6, 0.2, 3))
    assert figures(where_table([])) == []


def test_veils_hide_what_matters_little_and_leave_the_rest_clear():
    lost = [-0.5, 0.0, 0.25, 0.5, 1.0] + [1.0] * 59
    found = dict(veils(lost))
    assert found == {
        "0.4": "M3 0h1v1h-1z",
        "0.6": "M2 0h1v1h-1z",
        "0.8": "M0 0h1v1h-1zM1 0h1v1h-1z",
    }
    assert len(found) < VEILS
    assert veils([0.0] * 64)[0][0] == "0.8"


def test_the_build_maps_a_sample_and_its_pages_show_it(drawn_atlas):
    build = drawn_atlas / "build"
    rows = pq.read_table(build / "where" / "where.parquet").to_pylist()
    assert rows
    with duckdb.connect(str(build / "catalog/atlas.duckdb"), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM where_maps").fetchone() == (len(rows),)
        hidden = [r[0] for r in db.execute("SELECT image FROM images WHERE sensitive").fetchall()]
        dark = [r[0] for r in db.execute("SELECT feature FROM features WHERE sensitive").fetchall()]
    assert not {row["image"] for row in rows} & set(hidden)
    for feature in {row["feature"] for row in rows}:
        text = (build / f"site/feature/0/{feature}.html").read_text()
        shown = sum(row["feature"] == feature for row in rows)
        assert text.count('class="look"') == (0 if feature in dark else shown)
