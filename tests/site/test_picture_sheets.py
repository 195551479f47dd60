"""Pictures joined in sheets: where each lies, and how pages and scripts find it."""

import io
import json
import re

import duckdb
import numpy as np
from PIL import Image
from site_fixture import column

from atlas.base.picture_store import open_pictures
from atlas.base.sheets import join_pictures, sheet_key
from atlas.settings.paths import template_root
from atlas.site import links
from atlas.site.chapter import NEAR_SHOWN, TOP_SHOWN
from atlas.site.pages.feature import FILM_SHOWN, PICTURES_A_ROW
from atlas.site.picture_sheets import ON_FEATURES


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
    with open_pictures(parts, "image", {image for _, image in rows}) as small:
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
    sheet = np.asarray(
        Image.open(io.BytesIO(join_pictures(webps, 2, 16, 90))).convert("RGB"), float
    )
    assert sheet.shape == (32, 32, 3)
    assert np.abs(sheet[4:12, 4:12] - (200, 0, 0)).max() < 25
    assert sheet[4:12, 20:28].min() > 235
    assert sheet_key(webps, 2, 16, 90) != sheet_key(webps[::-1][:2], 2, 16, 90)
