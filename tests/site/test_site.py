"""The site of a planted atlas, as files."""

import gc
import json
import re
from functools import partial

import duckdb
import pytest
from site_fixture import column

from atlas.base.files import list_files
from atlas.settings.paths import DATABASE
from atlas.site import links
from atlas.site.book import read_book
from atlas.site.chapter import read_chapter
from atlas.site.feature_pages import gc_paused
from atlas.site.pages.feature import feature_view, frame_view
from atlas.site.pages.parts import Link
from atlas.site.pages.record import feature_record
from atlas.site.press import Press, open_templates


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


def test_pages_of_features_leave_python_nothing_to_collect(db):
    book = read_book(db)
    press = Press(open_templates(), frame_view(book))

    def make_pages():
        chapter = read_chapter(db, 0, book.n_features)
        for feature in book.live:
            press.page(feature_view(book, chapter, feature, (None, None)))
            feature_record(book, chapter, feature)

    make_pages()
    gc.collect()
    with gc_paused():
        assert not gc.isenabled()
        make_pages()
        assert gc.collect() == 0
    assert gc.isenabled()


def test_an_article_is_what_its_template_makes_of_it(drawn_atlas):
    env = open_templates()
    with duckdb.connect(str(drawn_atlas / "build" / "catalog" / DATABASE), read_only=True) as db:
        book = read_book(db)
        press = Press(env, frame_view(book))
        chapter = read_chapter(db, 0, book.n_features)
        to = partial(links.relative, links.any_feature_page(book.layout))
        template = env.get_template("article.html.jinja")
        for feature in book.live:
            for rank, turn in ((1, (None, feature + 1)), (2, (feature - 1, None))):
                view = feature_view(book, chapter, feature, turn)
                whole = template.render({**press.told(view, rank), "to": to})
                assert press.article(view, rank) == whole
        assert len(press._article_patterns) < len(book.live)


@pytest.mark.parametrize("thumb", ["icon/0/7.webp", links.icon_cell(70, 24), ""])
def test_a_feature_in_a_list_is_what_its_macros_make_of_it(db, thumb):
    env = open_templates()
    press = Press(env, frame_view(read_book(db)))
    to = partial(links.relative, links.any_feature_page("pages"))
    macros = env.get_template("macros.html.jinja").module
    for feature, name in ((7, "100 % <b>"), (8, "")):
        link = Link(feature, name, "5 %", thumb, links.feature_page(feature, "pages"))
        picture = macros.image(thumb, to, "", 64) if thumb else macros.no_picture()
        whole = macros.relation(to(link.page), picture, name or "no name", link.value)
        assert press._related([link]) == whole


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


def test_the_parquet_copies_are_the_catalog_s(site, planted_atlas):
    for path in (planted_atlas / "catalog" / "parquet").iterdir():
        assert (site / "parquet" / path.name).read_bytes() == path.read_bytes()


def test_pages_hold_no_path_of_this_machine(site, tmp_path_factory):
    root = str(tmp_path_factory.getbasetemp())
    for path in list_files(site):
        if path.suffix in (".html", ".js", ".json", ".txt") and path.name != "receipt.json":
            assert root not in path.read_text(), path
