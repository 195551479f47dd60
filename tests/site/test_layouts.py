"""The site in its other layout and with joined pictures, and what a rebuild writes."""

import io
import json
import re
import shutil
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from PIL import Image
from planted import make_job
from pydantic import ValidationError
from site_fixture import column

from atlas.base.errors import SiteError
from atlas.base.files import digest_file, list_files
from atlas.base.sheets import join, sheet_key, shelf
from atlas.base.tables import TABLES
from atlas.settings.paths import template_root
from atlas.settings.site import SiteSettings
from atlas.site import feature_pages, links, site
from atlas.site.chapter import NEAR_SHOWN, TOP_SHOWN
from atlas.site.check import check_site
from atlas.site.host_files import sitemap_text, sitemaps
from atlas.site.hosts import URLS_A_SITEMAP
from atlas.site.output import RECORD, Output
from atlas.site.pages.feature import FILM_SHOWN, PICTURES_A_ROW
from atlas.site.picture_sheets import ON_FEATURES


def inputs_of(atlas):
    return {name: atlas / name for name in ("embed", "concepts", "catalog")}


def names_of(folder):
    return {path.relative_to(folder).as_posix(): path for path in list_files(folder)}


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


def picture(path, cell, columns, px):
    sheet = Image.open(path).convert("RGB")
    assert sheet.width == columns * px
    left, top = cell.x * px, cell.y * px
    return np.asarray(sheet.crop((left, top, left + px, top + px)), float)


def test_a_cell_shows_its_image(grouped_site, planted_atlas, db):
    rows = db.execute(
        f"""WITH distinct_top AS (
                SELECT feature, image, rank, images.sensitive FROM top_images JOIN images USING (image)
                QUALIFY row_number() OVER (PARTITION BY feature, coalesce(duplicate_of, image) ORDER BY rank) = 1
            ), shown AS (
                SELECT feature, image, rank, sensitive FROM distinct_top
                QUALIFY row_number() OVER (PARTITION BY feature ORDER BY rank) <= {TOP_SHOWN}
            )
            SELECT feature, image FROM shown JOIN features USING (feature)
            WHERE NOT features.sensitive AND NOT shown.sensitive ORDER BY feature, rank LIMIT 60"""
    ).fetchall()
    parts = sorted((planted_atlas / "embed" / "parts").glob("thumbnails-*.parquet"))
    with shelf(parts, "image", {image for _, image in rows}) as small:
        for feature, image in rows:
            page = (
                grouped_site / links.feature_page(feature, "groups").partition("#")[0]
            ).read_text()
            article = page.split(f'id="f{feature}"')[1].split("</article>")[0]
            at = [image for _, image in rows if _ == feature].index(image)
            top = article.split('<ul class="top">')[1].split("</ul>")[0]
            sheet = re.findall(r'<i><img src="\.\./(sheet/[^"]+)"', top)[at]
            assert f'<article class="feature r{feature % 16}" id="f{feature}">' in page
            cell = links.Cell(sheet, at, feature % 16)
            whole = Image.open(io.BytesIO(small[image])).convert("RGB").resize((64, 64))
            shown = picture(grouped_site / sheet, cell, PICTURES_A_ROW, 64)
            assert np.abs(shown - np.asarray(whole, float)).mean() < 12


def test_the_style_sheet_knows_where_each_list_begins_in_a_row_of_a_sheet():
    css = (template_root() / "site.css").read_text()
    assert f"width: {100 * PICTURES_A_ROW}% !important" in css
    found = {
        (name, int(place)): int(left)
        for name, place, left in re.findall(
            r"\.(top|film|near) li:nth-child\((\d+)\) i > img { left: -(\d+)%; }", css
        )
    }
    lists = (("top", TOP_SHOWN), ("film", FILM_SHOWN), ("near", NEAR_SHOWN))
    row = [(name, place) for name, most in lists for place in range(1, most + 1)]
    assert found == {key: 100 * at for at, key in enumerate(row) if at}
    tops = re.findall(r"\.r(\d+) li i:not\(\.cell\) > img { top: -(\d+)%; }", css)
    rows = range(1, links.FEATURES_A_GROUP)
    assert [(int(row), int(top)) for row, top in tops] == [(row, 100 * row) for row in rows]


def test_an_image_shown_in_place_of_a_repeated_one_is_written():
    with duckdb.connect() as db:
        db.execute("CREATE TABLE features AS SELECT 0 AS feature, false AS sensitive")
        db.execute(
            """CREATE TABLE images AS SELECT range AS image, false AS sensitive,
               CASE range WHEN 1 THEN 0 END AS duplicate_of FROM range(12)"""
        )
        db.execute(
            """CREATE TABLE top_images AS SELECT 0 AS feature, range AS rank, range AS image,
               12.0 - range AS activation FROM range(12)"""
        )
        db.execute("CREATE TABLE quantile_images AS SELECT * FROM top_images WHERE false")
        db.execute("CREATE TABLE near_misses AS SELECT * FROM top_images WHERE false")
        written = column(db, f"{ON_FEATURES} ORDER BY image")
    assert written == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_icons_lie_in_the_order_of_the_map(grouped_site, db):
    (table,) = (grouped_site / "assets" / "features").iterdir()
    rows = json.loads(table.read_text()[len("atlasRows(") : -3])
    places = dict(zip(rows["feature"], rows["place"], strict=True))
    icons = dict(zip(rows["feature"], rows["icon"], strict=True))
    n_sheets = -(-len(places) // links.ICON_COLUMNS**2)
    sheets = {path.name for path in (grouped_site / "sheet" / "icon").iterdir()}
    assert sheets == {f"{n}{twice}.webp" for n in range(n_sheets) for twice in ("", "@2x")}
    text = (grouped_site / "browse.html").read_text()
    shown = re.findall(r'data-feature="(\d+)"><i class="cell s(\d+) x(\d+) y(\d+)"></i>', text)
    for feature, sheet, x, y in shown:
        number, place = divmod(places[int(feature)], links.ICON_COLUMNS**2)
        assert int(sheet) == number
        assert (int(x), int(y)) == (place % links.ICON_COLUMNS, place // links.ICON_COLUMNS)
        assert icons[int(feature)] == -3
    assert shown


def test_addresses_of_cells_say_where_the_picture_lies():
    assert links.icon_cell(64 + 10, 32) == "sheet/icon/1.webp#xywh=64,32,32,32"
    assert links.as_cell("sheet/icon/1.webp#xywh=64,32,32,32") == (1, 2, 1)
    assert links.as_cell("icon/0/7.webp") is None
    assert links.feature_page(771, "groups") == "feature/0048.html#f771"


def test_a_sheet_is_white_where_a_picture_is_missing():
    red = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(red, "WEBP", lossless=True)
    webps = [red.getvalue(), None, red.getvalue()]
    sheet = np.asarray(Image.open(io.BytesIO(join(webps, 2, 16, 90))).convert("RGB"), float)
    assert sheet.shape == (32, 32, 3)
    assert np.abs(sheet[4:12, 4:12] - (200, 0, 0)).max() < 25
    assert sheet[4:12, 20:28].min() > 235
    assert sheet_key(webps, 2, 16, 90) != sheet_key(webps[::-1][:2], 2, 16, 90)


def rebuild(atlas, published, out_dir, settings):
    job = make_job("site", settings, inputs_of(atlas), out_dir)
    assert not job.published_dir.exists()
    job.published_dir.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(published, job.published_dir)
    (job.published_dir / "receipt.json").unlink()
    site.run(job)
    return job.published_dir


def test_a_site_that_knows_its_address_has_sitemaps_and_a_page_for_any_missing_one(
    planted_atlas, tmp_path
):
    base = "https://example.org/my/atlas"
    settings = SiteSettings(base_url=base, host="cloudflare-free")
    rebuild(open_data(planted_atlas, tmp_path), planted_atlas / "site", tmp_path / "site", settings)
    found = tmp_path / "site"
    listed = re.findall(r"<loc>(.*?)</loc>", (found / "sitemap.xml").read_text())
    pages = sorted(name for name in names_of(found) if name.endswith(".html"))
    assert listed == [f"{base}/{name}" for name in pages if name != "404.html"]
    robots = (found / "robots.txt").read_text()
    assert robots == f"User-agent: *\nDisallow:\nSitemap: {base}/sitemap.xml\n"
    assert (found / "_redirects").read_text() == "/f/* /404.html?f=:splat 302\n"
    text = (found / "404.html").read_text()
    assert 'href="/my/atlas/assets/site.css"' in text
    assert 'data-root="/my/atlas" data-layout="pages"' in text
    (found / "404.html").write_text(text.replace("/my/atlas/dead.html", "/my/other/dead.html"))
    with pytest.raises(SiteError, match=r"404.html: /my/other/dead.html is not relative"):
        check_site(found)


def open_data(atlas, folder):
    """Copy what a site is made of, no longer marked as synthetic."""
    copy = folder / "atlas"
    for name in ("embed", "concepts", "catalog"):
        shutil.copytree(atlas / name, copy / name)
    with duckdb.connect(str(copy / "catalog" / "atlas.duckdb")) as db:
        db.execute("UPDATE provenance SET value = 'false' WHERE key = 'synthetic'")
    return copy


def test_more_addresses_than_a_sitemap_holds_come_with_an_index():
    base = "https://example.org"
    files = sitemaps(base, [f"{base}/{number}.html" for number in range(URLS_A_SITEMAP + 1)])
    assert list(files) == ["sitemap-1.xml", "sitemap-2.xml", "sitemap.xml"]
    counts = {name: text.count("<loc>") for name, text in files.items()}
    assert counts == {"sitemap-1.xml": 50_000, "sitemap-2.xml": 1, "sitemap.xml": 2}
    assert f"<sitemap><loc>{base}/sitemap-2.xml</loc></sitemap>" in files["sitemap.xml"]
    assert all(len(text) < 50 << 20 for text in files.values())
    assert sitemap_text("urlset", "url", ["https://x/?a&b"]).count("a&amp;b") == 1


@pytest.mark.parametrize("url", ["example.org", "https://example.org/", "ftp://x", "https://x/?q"])
def test_an_address_to_publish_at_is_plain_and_ends_without_a_slash(url):
    with pytest.raises(ValidationError):
        SiteSettings(base_url=url)
    assert SiteSettings(base_url="https://x.github.io/atlas").base_url


LAYOUTS = {
    "pages": SiteSettings(),
    "groups": SiteSettings(layout="groups", pictures="sheets"),
}


def update(atlas, table, change):
    """Change rows of a catalog, and the table's Parquet copy with them."""
    (order,) = [known.order for known in TABLES if known.name == table]
    with duckdb.connect(str(atlas / "catalog" / "atlas.duckdb")) as db:
        db.execute(f"UPDATE {table} SET {change}")
        copy = atlas / "catalog" / "parquet" / f"{table}.parquet"
        db.execute(f"COPY (FROM {table} ORDER BY {order}) TO '{copy}'")


def name_feature(atlas, label):
    """Give the first feature that may be shown another name; return the feature."""
    with duckdb.connect(str(atlas / "catalog" / "atlas.duckdb"), read_only=True) as db:
        (feature,) = db.execute(
            """SELECT feature FROM labels JOIN features USING (feature)
               WHERE rank = 0 AND NOT sensitive ORDER BY feature LIMIT 1"""
        ).fetchone()
    update(atlas, "labels", f"label = '{label}' WHERE feature = {feature} AND rank = 0")
    return feature


def site_job(atlas, folder, layout):
    job = make_job("site", LAYOUTS[layout], inputs_of(atlas), folder / "site")
    labels = digest_file(atlas / "catalog" / "parquet" / "labels.parquet")
    return replace(job, digests={**job.digests, "catalog": labels})


def written(job):
    """Build a site and return which of its files are not those of the published one."""
    site.run(job)
    before, after = names_of(job.published_dir), names_of(job.out_dir)
    assert before.keys() <= after.keys()
    return {n for n, path in after.items() if n not in before or not path.samefile(before[n])}


@pytest.fixture(scope="module", params=LAYOUTS)
def published(request, planted_atlas, tmp_path_factory):
    """A folder with an atlas, one of its features named zebu, and its published site."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("embed", "concepts", "catalog"):
        shutil.copytree(planted_atlas / name, folder / "atlas" / name)
    name_feature(folder / "atlas", "zebu")
    job = site_job(folder / "atlas", folder, request.param)
    site.run(job)
    job.published_dir.parent.mkdir()
    job.out_dir.rename(job.published_dir)
    return request.param, folder


def test_a_changed_label_rewrites_exactly_the_files_that_show_it(published, tmp_path):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    feature = name_feature(folder / "atlas", "zebra")
    job = site_job(folder / "atlas", folder, layout)
    found = written(job)
    before, after = names_of(job.published_dir), names_of(job.out_dir)
    showed = {name for name, path in before.items() if b"zebu" in path.read_bytes()}
    show = {name for name, path in after.items() if b"zebra" in path.read_bytes()}
    assert showed == show
    assert found == show | {links.parquet_file("labels")}
    assert found >= {
        links.feature_page(feature, layout).partition("#")[0],
        *(links.feature_json(feature), links.search_script("z"), links.words_page("z")),
        *(links.rows_script(0), links.BROWSE),
    }


@pytest.mark.parametrize("published", ["groups"], indirect=True)
def test_a_part_taken_over_is_what_would_be_made(published, tmp_path):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    update(folder / "atlas", "features", "sensitive = true WHERE feature = 1")
    update(folder / "atlas", "images", "caption = 'quagga' WHERE image = 7")
    update(folder / "atlas", "coactivations", "p_other_given_feature = 0.123 WHERE feature = 2")
    job = site_job(folder / "atlas", folder, layout)
    changed = replace(job, digests={**job.digests, "catalog": "changed"})
    site.run(changed)
    fresh = replace(changed, out_dir=tmp_path / "new" / "site", published_home=tmp_path / "new")
    fresh = replace(fresh, published_dir=tmp_path / "nothing")
    site.run(fresh)
    found, made_anew = names_of(changed.out_dir), names_of(fresh.out_dir)
    assert found.keys() == made_anew.keys()
    assert [n for n in found if found[n].read_bytes() != made_anew[n].read_bytes()] == []


def test_building_again_makes_nothing_and_mends_what_was_touched(published, tmp_path, monkeypatch):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    page = folder / "published" / "site" / "index.html"
    text = page.read_text()
    page.write_text(text.replace("live features", "dead features"))
    dropped = folder / "published" / "site" / links.feature_json(0)
    dropped.unlink()
    job = site_job(folder / "atlas", folder, layout)
    assert written(job) == {"index.html", links.feature_json(0)}
    assert (job.out_dir / "index.html").read_text() == text
    shutil.rmtree(job.published_dir)
    job.out_dir.rename(job.published_dir)

    def never(*_):
        raise AssertionError("a part was made")

    monkeypatch.setattr(feature_pages, "write_block", never)
    for maker in ("write_other_pages", "write_hashes", "write_icon_sheets"):
        monkeypatch.setattr(site, maker, never)
    assert written(job) == set()


def test_a_damaged_record_means_that_all_is_made(published, tmp_path):
    _, made = published
    record = tmp_path / RECORD
    job = make_job("site", SiteSettings(), {}, tmp_path / "site")
    assert not Output(job).same_program
    shutil.copy(made / RECORD, record)
    assert Output(job).same_program
    record.write_text(record.read_text()[:-1])
    assert not Output(job).same_program
