"""Hostile text in every field stays text in every file, terminal and page."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import duckdb
import pyarrow.parquet as pq
import pytest
from building import atlas
from chromium import PATH
from conftest import built_once
from faults.corpus import TEXTS, fits, plant_hostile
from faults.hostile_visits import every_address, visit_all

from atlas.base.text import clean_text
from atlas.site.names import name_problems

CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
STRIDE = [10, pytest.param(1, marks=pytest.mark.slow)]
"""Of the addresses, every how many are opened."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    def make(folder):
        status, _, err = atlas("build", plant_hostile(folder))
        assert status == 0, err

    return built_once(tmp_path_factory, "hostile", make)


@pytest.fixture(scope="module")
def browser():
    if PATH is None:
        pytest.skip("NO BROWSER: hostile text is not tried; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.browser
@pytest.mark.parametrize("stride", STRIDE)
def test_nothing_hostile_runs_is_blocked_or_becomes_markup(hostile, browser, stride):
    wanted = every_address(hostile / "build/site")[::stride]
    found = visit_all(browser, hostile / "build/site", wanted)
    assert found.visits == len(wanted) > 50
    assert found.wrong == []


@pytest.mark.browser
def test_the_hooks_see_what_they_are_for(browser, tmp_path):
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'self'\">"
    (tmp_path / "a.html").write_text("<body onload='alert(1)'><x-hostile>")
    (tmp_path / "b.html").write_text(f"{policy}<img src=x onerror='alert(2)'>")
    found = visit_all(browser, tmp_path, ["a.html", "b.html"])
    said = "\n".join(found.wrong)
    assert all(one in said for one in ("alert 1", "<x-hostile>", "violation script-src-attr"))


def test_files_for_machines_are_well_formed(hostile):
    site = hostile / "build/site"
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    assert list(name_problems(dict.fromkeys(files, 0))) == []
    assert not [name for name in files if name.endswith((".csv", ".tsv"))]  # no formulas to mind
    for name, path in files.items():
        if name.endswith((".xml", ".svg")):
            ElementTree.fromstring(path.read_bytes())
        elif name.endswith(".json"):
            json.loads(path.read_bytes())
        elif name.endswith(".js") and b"\xe2\x80\xa8" in path.read_bytes():
            pytest.fail(f"{name} has a line end that is one in scripts alone")
        if name.endswith((".html", ".js", ".json", ".txt", ".xml")):
            found = CONTROLS.search(path.read_text(encoding="utf-8"))
            assert found is None, (name, found)


def test_tables_and_database_hold_the_texts_as_they_are(hostile):
    wanted = [clean_text(fits(text)) for text in TEXTS]
    with duckdb.connect(str(hostile / "build/catalog/atlas.duckdb"), read_only=True) as db:
        held = {row[0] for row in db.execute("SELECT caption FROM images").fetchall()}
        labels = {row[0] for row in db.execute("SELECT label FROM labels").fetchall()}
        tables = db.execute("SELECT count(*) FROM duckdb_tables()").fetchone()[0]
    shown = pq.read_table(hostile / "build/site/parquet/images.parquet")["caption"].to_pylist()
    assert held <= {"", *wanted, *(text.strip() for text in wanted)}  # empty: withheld
    assert len(held) > len(wanted) * 0.8
    assert set(shown) <= held
    assert tables > 10
    assert {"'; DROP TABLE images; --", "__proto__"} <= labels


@pytest.mark.parametrize(
    "command",
    [("feature", 1), ("feature", 25), ("search", "red"), ("neighbors", 1), ("report",), ("status",),
     ("sql", "SELECT * FROM images"), ("sql", "SELECT * FROM labels"), ("search", "\x1b[31mx")],
)  # fmt: skip
def test_terminals_get_nothing_that_they_obey(hostile, command):
    name, *more = command
    place = [hostile / "atlas.toml"] if name == "status" else ["--atlas", hostile / "build"]
    _, out, err = atlas(name, *more, *place)
    assert out or err
    for line in [*out, *err]:
        assert CONTROLS.search(line) is None, line


def test_a_name_from_elsewhere_may_be_of_a_dead_feature(hostile):
    with duckdb.connect(str(hostile / "build/catalog/atlas.duckdb"), read_only=True) as db:
        query = "SELECT count(*) FROM labels JOIN features USING (feature) WHERE NOT alive"
        assert db.execute(query).fetchone()[0] > 0
    assert (hostile / "build/site/dead.html").exists()
