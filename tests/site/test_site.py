"""The site of a planted atlas, as files."""

import gc
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from planted import make_job
from site_fixture import column, inputs_of, thumbnail_parts

from atlas.base.files import list_files
from atlas.base.tables import TABLES, create_sql
from atlas.settings.load import load_config
from atlas.settings.paths import DATABASE
from atlas.settings.runtime import Runtime
from atlas.settings.site import SiteSettings
from atlas.site import links
from atlas.site import site as site_stage
from atlas.site.book import read_book
from atlas.site.chapter import read_chapter
from atlas.site.feature_pages import (
    Renderer,
    adjacent_in,
    gc_paused,
    render_block,
    render_chapters,
)
from atlas.site.pages import families
from atlas.site.pages.data import PER_IMAGE
from atlas.site.rebuild import FEATURES_A_BLOCK
from atlas.site.render import open_templates, render


def pages(site):
    return [path for path in list_files(site) if path.suffix == ".html"]


def test_every_live_feature_has_a_page_and_no_dead_one(site, db):
    live = column(db, "SELECT feature FROM features WHERE alive ORDER BY feature")
    dead = column(db, "SELECT feature FROM features WHERE NOT alive ORDER BY feature")
    assert live
    assert dead
    assert all((site / links.feature_page(feature)).exists() for feature in live)
    assert not any((site / links.feature_page(feature)).exists() for feature in dead)
    text = (site / "dead.html").read_text()
    numbers = re.findall(r"<span>(\d+)(?:–(\d+))?</span>", text)
    listed = [n for first, last in numbers for n in range(int(first), int(last or first) + 1)]
    assert listed == dead


def test_walls_show_each_feature_once_except_sensitive_ones(site, db):
    shown = column(
        db, "SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY feature"
    )
    walls = [site / "browse.html", *sorted((site / "browse").glob("*.html"))]
    found = [
        int(n) for path in walls for n in re.findall(r'data-feature="(\d+)"', path.read_text())
    ]
    assert sorted(found) == shown


def test_sensitive_images_are_nowhere(site, db):
    hidden = column(db, "SELECT image FROM images WHERE sensitive ORDER BY image")
    assert hidden
    assert not any((site / links.thumbnail(image)).exists() for image in hidden)
    assert not any((site / links.image_page(image)).exists() for image in hidden)
    for path in (site / "api" / "v1" / "features").iterdir():
        for record in json.loads(path.read_text()).values():
            for name in ("top_images", "quantile_images", "near_misses"):
                assert not set(record[name]["image"]) & set(hidden)


def rows_of(site, name):
    """One column of the rows that the scripts list, of all files."""
    texts = [path.read_text() for path in (site / "assets" / "features").iterdir()]
    return [value for text in texts for value in json.loads(text[len("atlasRows(") : -3])[name]]


def test_sensitive_features_keep_a_page_without_pictures_or_words(site, db):
    hidden = column(db, "SELECT feature FROM features WHERE alive AND sensitive ORDER BY feature")
    assert hidden
    shown = column(db, "SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY ALL")
    assert sorted(rows_of(site, "feature")) == shown
    for feature in hidden:
        text = (site / links.feature_page(feature)).read_text()
        assert "withheld" in text
        assert "<figure" not in text
        assert re.search(r"<h1[^>]*>no name</h1>", text)
        record = json.loads((site / links.feature_json(feature)).read_text())[str(feature)]
        assert record["sensitive"] is True
        assert record["top_images"] == {"image": [], "value": []}
        assert record["labels"] == []
        assert record["icon"] is None


def test_every_page_of_planted_data_says_that_it_is_synthetic(site):
    for path in pages(site):
        text = path.read_text()
        assert "SYNTHETIC" in text, path
        assert '<meta name="robots" content="noindex">' in text, path
    assert (site / "robots.txt").read_text() == "User-agent: *\nDisallow: /\n"


def test_every_page_names_the_atlas(site, db):
    (name,) = column(db, "SELECT value FROM provenance WHERE key = 'id'")
    assert re.fullmatch("atlas:[0-9a-f]{12}", name)
    assert all(name in path.read_text() for path in pages(site))


def test_pages_of_features_leave_python_nothing_to_collect(db, planted_atlas):
    book = read_book(db, SiteSettings(), thumbnail_parts(planted_atlas))
    renderer = Renderer(db, open_templates(), book, adjacent_in(list(book.live)))

    def make_pages():
        render_block(renderer, read_chapter(db, 0, book.n_features), list(book.live))

    make_pages()
    gc.collect()
    with gc_paused():
        assert not gc.isenabled()
        make_pages()
        assert gc.collect() == 0
    assert gc.isenabled()


@pytest.mark.parametrize("pictures", ["files", "sheets"])
def test_worker_processes_render_the_same_pages(drawn_atlas, pictures):
    config = load_config(drawn_atlas / "atlas.toml", [f"site.pictures={pictures}"])
    catalog = drawn_atlas / "build" / "catalog"
    with duckdb.connect(str(catalog / DATABASE), read_only=True) as db:
        book = read_book(db, config.site, thumbnail_parts(drawn_atlas / "build"))
    sides = SimpleNamespace(thumbnail_sides=(64, 128))
    found = []
    for workers in (1, 2):
        job = SimpleNamespace(runtime=Runtime(workers=workers), inputs={"catalog": catalog})
        chapters = [[block] for block in range(-(-book.n_features // FEATURES_A_BLOCK))]
        found.append(list(render_chapters(job, book, sides, chapters)))
    assert len(found[0]) > 1
    assert found[0] == found[1]


def test_json_records_fit_their_schema(site):
    schema = json.loads((site / "api/v1/schema.json").read_text())["additionalProperties"]
    kinds = {
        "integer": int,
        "number": (int, float),
        "string": str,
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    records = 0
    for path in (site / "api" / "v1" / "features").iterdir():
        for number, record in json.loads(path.read_text()).items():
            records += 1
            assert int(number) == record["feature"]
            assert int(number) // 64 == int(path.stem)
            assert set(schema["required"]) <= record.keys()
            for name, rule in schema["properties"].items():
                wanted = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
                assert isinstance(record[name], tuple(kinds[kind] for kind in wanted)), name
                if "pattern" in rule:
                    assert re.fullmatch(rule["pattern"], record[name])
                if "required" in rule:
                    assert list(record[name]) == rule["required"]
                    assert len({len(column) for column in record[name].values()}) == 1
    index = json.loads((site / "api/v1/index.json").read_text())
    assert records == index["n_alive"]


def test_the_parquet_copies_are_the_catalog_s_and_of_images_those_shown(site, planted_atlas):
    for path in (planted_atlas / "catalog" / "parquet").iterdir():
        if path.stem not in PER_IMAGE:
            assert (site / "parquet" / path.name).read_bytes() == path.read_bytes()
            continue
        whole, some = pq.read_table(path), pq.read_table(site / "parquet" / path.name)
        images = some["image"].to_pylist()
        assert some.equals(whole.filter(pc.is_in(whole["image"], pa.array(images))))
    rows = pq.read_table(site / "parquet/images.parquet").to_pylist()
    pages = "".join(path.read_text() for path in site.rglob("*.html"))
    named = {int(found) for found in re.findall(r"thumb/\d+/(\d+)\.webp", pages)}
    assert named <= {row["image"] for row in rows}
    assert not any(row["sensitive"] for row in rows)


@pytest.mark.parametrize("tables", ["all", "none"])
def test_the_owner_chooses_which_tables_are_published(planted_atlas, tmp_path, tables):
    job = make_job("site", SiteSettings(tables=tables), inputs_of(planted_atlas), tmp_path / "site")
    site_stage.run(replace(job, published_dir=tmp_path / "none"))
    catalog = planted_atlas / "catalog" / "parquet"
    published = {path.name: path.read_bytes() for path in (tmp_path / "site/parquet").glob("*")}
    whole = {path.name: path.read_bytes() for path in catalog.iterdir()}
    assert published == ({} if tables == "none" else whole)
    assert ("no tables to download" in (tmp_path / "site/data.html").read_text()) == (
        tables == "none"
    )


def test_pages_hold_no_path_of_this_machine(site, tmp_path_factory):
    root = str(tmp_path_factory.getbasetemp())
    for path in list_files(site):
        if path.suffix in (".html", ".js", ".json", ".txt") and path.name != "receipt.json":
            assert root not in path.read_text(), path


def test_features_without_families_or_names_are_said_to_live(db, planted_atlas):
    book = read_book(db, SiteSettings(), thumbnail_parts(planted_atlas))
    with duckdb.connect() as none:
        for table in TABLES:
            if table.name in ("clusters", "cluster_features"):
                none.execute(create_sql(table))
        ((template, view),) = families.views(book, none)
        text = render(open_templates(), template, view)
        assert f"The {len(book.live):,} features have not been put into families." in text
        none.execute(
            "INSERT INTO clusters BY NAME SELECT level, 0 AS cluster, 0 AS parent, 1 AS features,"
            " '' AS label, 0 AS label_share, 0 AS null_share FROM range(3) AS levels(level)"
        )
        views = families.views(book, none)
    text = render(open_templates(), *views[0])
    assert "family 1" in text
    assert "This atlas has no words to name them with." in text


def test_the_way_to_every_kind_of_page_is_on_the_first_ones(site):
    front = (site / "index.html").read_text()
    nav = re.search(r'<nav aria-label="Main">(.*?)</nav>', front, re.DOTALL)[1]
    assert re.findall(r">([^<]+)</a>", nav) == [
        "Browse",
        "Concepts",
        "Map",
        "Pictures",
        "Report",
        "About",
    ]
    assert 'href="data.html"' in front
    assert 'href="families.html"' in (site / "browse.html").read_text()
