"""What changed between two builds is told feature by feature, wherever the two are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb
import pytest
from building import atlas

from atlas.publish.diff import diff
from atlas.publish.diff_report import markdown, write_page

HOSTILE = 'a | <img src=x onerror=alert(1)> [x](https://example.org) "quoted"'


@pytest.fixture
def changed(planted_atlas, tmp_path) -> Path:
    """The planted atlas's published site, with some rows changed by hand."""
    site = tmp_path / "site"
    for folder in ("parquet", "api/v1"):
        (site / folder).mkdir(parents=True)
    shutil.copy(planted_atlas / "site" / "api/v1/index.json", site / "api/v1/index.json")
    shutil.copytree(planted_atlas / "site" / "parquet", site / "parquet", dirs_exist_ok=True)
    rewrite(site, "metrics", "SELECT * REPLACE (value + 1 AS value) FROM t WHERE name = 'alive'")
    rewrite(site, "top_images", "SELECT * FROM t WHERE NOT (feature = 3 AND rank < 8)")
    rewrite(
        site,
        "features",
        "SELECT * REPLACE (alive AND feature <> 4 AS alive, sensitive OR feature = 6 AS sensitive) FROM t",
    )
    hostile = HOSTILE.replace("'", "''")
    rewrite(
        site,
        "names",
        f"""SELECT * REPLACE (CASE WHEN feature = 8 THEN '{hostile}' ELSE name END AS name) FROM t
            WHERE feature <> 10""",
    )
    return site


def rewrite(site: Path, table: str, query: str) -> None:
    path, new = site / "parquet" / f"{table}.parquet", site / "new.parquet"
    with duckdb.connect() as db:
        db.execute(f"CREATE VIEW t AS SELECT * FROM '{path}'")
        db.execute(f"COPY ({query}) TO '{new}'")
    new.replace(path)


@pytest.fixture(scope="module")
def named(planted_atlas) -> dict[int, str]:
    """Name of each feature of the planted atlas."""
    path = planted_atlas / "site" / "parquet" / "names.parquet"
    return dict(duckdb.sql(f"SELECT feature, name FROM '{path}'").fetchall())


def test_an_atlas_differs_from_its_own_site_and_bundle_in_nothing(planted_atlas, tmp_path):
    assert atlas("bundle", "--atlas", planted_atlas, "--out", tmp_path / "bundle")[0] == 0
    for other in (planted_atlas / "site", tmp_path / "bundle"):
        found = diff(str(planted_atlas), str(other))
        assert (found.same_sae, found.features, found.figures) == (True, (), ())


def test_each_kind_of_change_is_told_with_its_feature(planted_atlas, changed, named):
    found = diff(str(planted_atlas), str(changed))
    told = {one.feature: one.what for one in found.features}
    assert told[3] == ("pictures",)
    assert told[4][:1] == ("verdict",)
    assert "verdict" in told[6]
    assert told[8] == ("name",)
    assert told[10] == ("name", "verdict")
    assert set(told) == {3, 4, 6, 8, 10}
    by_number = {one.feature: one for one in found.features}
    assert (by_number[4].old.verdict, by_number[4].new.verdict) == ("named", "dead")
    assert by_number[4].page == "", "a dead feature has no page"
    assert by_number[6].new.name == "", "what is withheld has no name"
    assert (by_number[8].old.name, by_number[8].new.name) == (named[8], HOSTILE)
    assert by_number[3].gone
    (figure,) = [one for one in found.figures if one.name == "alive"]
    assert figure.new == figure.old + 1


def test_the_command_prints_text_json_and_writes_a_page(planted_atlas, changed, tmp_path):
    page = tmp_path / "diff.html"
    status, out, err = atlas("diff", planted_atlas, changed, "--html", page)
    assert (status, err) == (0, [])
    assert out[1].startswith("5 of 96 features changed (name 3, verdict 3, pictures ")
    assert any(line.startswith("8\t") and HOSTILE in line for line in out)
    status, out, _ = atlas("diff", planted_atlas, changed, "--json")
    found = json.loads("\n".join(out))
    assert found["counts"]["name"] == 3
    assert [one["feature"] for one in found["features"]] == [3, 4, 6, 8, 10]
    text = page.read_text()
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_nothing_in_a_name_is_markup_in_a_summary(planted_atlas, changed):
    text = markdown(diff(str(planted_atlas), str(changed)))
    (row,) = [line for line in text.splitlines() if line.startswith("| 8 |")]
    assert row.count("|") == 3, "two cells"
    assert not re.search(r"[<>\[\]`*]", row)
    assert "https://" in row.replace("&#47;", "/"), "the text is still there"


def test_pages_are_linked_where_the_new_atlas_has_an_address(planted_atlas, changed, tmp_path):
    from dataclasses import replace

    found = diff(str(planted_atlas), str(changed))
    public = replace(found, new=replace(found.new, place="https://example.org/x/index.html"))
    write_page(public, tmp_path / "diff.html")
    text = (tmp_path / "diff.html").read_text()
    assert 'href="https://example.org/x/feature/0/8.html"' in text
    assert text.count("<a ") == 4, "all but the dead one"


def test_another_sae_is_said_to_be_one(planted_atlas, changed):
    rewrite(
        changed,
        "provenance",
        "SELECT * REPLACE (CASE WHEN key = 'sae_digest' THEN 'other' ELSE value END AS value) FROM t",
    )
    status, out, _ = atlas("diff", planted_atlas, changed)
    assert status == 0
    assert out[1] == (
        "the SAEs differ, so numbers mean other features: match them with atlas compare OLD NEW"
    )


def test_the_report_is_printed_as_markdown(planted_atlas):
    status, out, err = atlas("report", "--atlas", planted_atlas, "--markdown")
    assert (status, err) == (0, [])
    assert out[0].startswith("### ")
    assert out[2] == "| figure | value | unit | n | baseline | what the baseline is |"
    assert any(line.startswith("| alive | 87 |") for line in out)
