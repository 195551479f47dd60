"""The map: its tiles of icons, and in a browser what is seen, pointed at, opened, colored and drawn around."""

import io
import json
import re

import duckdb
import numpy as np
import pytest
from chromium import PATH
from PIL import Image, ImageDraw
from playwright.sync_api import expect
from site_fixture import column

from atlas.site import links
from atlas.site.map_sheets import LEVELS, TILE_COLUMNS, TILE_ROWS, without_paper
from atlas.site.search_index import MAP_SIDE

browser_only = pytest.mark.skipif(
    PATH is None, reason="NO BROWSER; on Debian: apt install chromium"
)


def spots_of(site):
    text = (site / links.SPOTS_SCRIPT).read_text()
    return json.loads(text[len("atlasSpots(") : -3])


def test_tiles_hold_an_icon_in_each_cell_that_the_script_names_and_in_no_other(drawn_site):
    spots = spots_of(drawn_site)
    assert [(level["columns"], level["rows"]) for level in spots["levels"]] == list(LEVELS)[: len(spots["levels"])]  # fmt: skip
    tiles = {path.name for path in (drawn_site / "map").iterdir()}
    named = set()
    for number, level in enumerate(spots["levels"]):
        across = -(-level["columns"] // TILE_COLUMNS)
        for cell, place in zip(level["cells"], level["places"], strict=True):
            row, column = divmod(cell, level["columns"])
            assert column == min(int(spots["x"][place] / MAP_SIDE * level["columns"]), level["columns"] - 1) or abs(spots["x"][place] / MAP_SIDE * level["columns"] - column) < 0.02  # fmt: skip
            tile = links.map_tile(number, row // TILE_ROWS * across + column // TILE_COLUMNS)
            named.add(tile.removeprefix("map/"))
            with Image.open(drawn_site / tile) as picture:
                px = picture.width // min(level["columns"], TILE_COLUMNS)
                left, top = column % TILE_COLUMNS * px, row % TILE_ROWS * px
                alpha = picture.convert("RGBA").crop((left, top, left + px, top + px)).getchannel("A")  # fmt: skip
            assert alpha.getextrema()[1] > 200
    assert tiles == named


def test_the_last_level_shows_all_or_is_the_finest(drawn_site):
    spots = spots_of(drawn_site)
    shown = set(spots["levels"][-1]["places"])
    assert len(spots["levels"]) == len(LEVELS) or len(shown) == len(spots["x"])
    for coarse, fine in zip(spots["levels"], spots["levels"][1:], strict=False):
        assert len(coarse["cells"]) < len(fine["cells"])


def test_white_around_a_drawing_goes_and_white_within_it_stays():
    icon = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(icon)
    pen.ellipse((12, 12, 52, 52), fill="red")
    pen.ellipse((26, 26, 38, 38), fill="white")
    cut = np.asarray(without_paper(icon))
    assert cut[2, 2, 3] == cut[5, 58, 3] == 0
    assert cut[32, 18].tolist() == [255, 0, 0, 255]
    assert cut[32, 32].tolist() == [255, 255, 255, 255]
    flag = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(flag)
    for top in (16, 26, 36):
        pen.rectangle((0, top, 63, top + 5), fill="blue")
    cut = np.asarray(without_paper(flag))
    assert cut[4, 32, 3] == cut[60, 32, 3] == 0
    assert cut[23, 32, 3] == 255, "a stripe that reaches the edge is part of the flag"
    filled = np.asarray(without_paper(Image.new("RGB", (64, 64), (240, 230, 180))))
    assert filled[0, 0, 3] == 0
    assert (filled[16:48, 2:62, 3] == 255).all()
    assert filled[..., 3][16:48].min() > 180


def test_a_tile_is_one_webp_of_at_most_24_icons_a_row(drawn_site):
    for path in sorted((drawn_site / "map").iterdir()):
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            assert picture.format == "WEBP"
            assert picture.width <= TILE_COLUMNS * 64


def middle_of(page, feature):
    """Where on the page a feature is that the map was opened at."""
    box = page.locator("#sheet").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.browser
@browser_only
def test_a_tap_opens_a_feature_and_falls_through_to_no_link(visit, drawn_site, drawn_atlas):
    with duckdb.connect(str(drawn_atlas / "build/catalog/atlas.duckdb"), read_only=True) as db:
        features = column(db, "SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY feature LIMIT 5")  # fmt: skip
    page = visit("map.html", 390, site=drawn_site, has_touch=True)
    for feature in features:
        page.goto(f"file://{drawn_site}/map.html#f{feature}")
        page.reload()
        expect(page.locator("#panel h2")).to_be_visible()
        page.locator("#panel button").click()
        expect(page.locator("#panel")).to_be_hidden()
        page.touchscreen.tap(*middle_of(page, feature))
        expect(page.locator("#panel h2")).to_be_visible()
        page.wait_for_timeout(100)
        assert page.url.startswith(f"file://{drawn_site}/map.html")
    panel, sheet = page.locator("#panel").bounding_box(), page.locator("#map").bounding_box()
    assert panel["width"] == pytest.approx(390, abs=1)
    assert panel["y"] + panel["height"] == pytest.approx(sheet["y"] + sheet["height"], abs=2)


@pytest.mark.browser
@browser_only
def test_the_view_stays_in_the_address(visit, drawn_site):
    page = visit("map.html", site=drawn_site)
    page.wait_for_selector(".zoom button")
    page.focus("#sheet")
    for key in ("+", "+", "ArrowRight"):
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile(r"#at=[\d.]+_[\d.]+_1\.96$"))
    page.locator(".hues select").select_option("often")
    expect(page).to_have_url(re.compile(r"#color=often&at="))
    expect(page.locator(".legend li")).to_have_count(5)
    address = page.url
    page.reload()
    expect(page.locator(".legend li")).to_have_count(5)
    page.focus("#sheet")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(400)
    assert page.url == address
    page.locator("[data-zoom='0']").click()
    page.locator(".hues select").select_option("")
    expect(page).to_have_url(re.compile(r"map\.html$"))


@pytest.mark.browser
@browser_only
def test_what_is_drawn_around_leads_to_browse(visit, drawn_site):
    page = visit("map.html", site=drawn_site)
    page.wait_for_selector(".zoom button")
    box = page.locator("#sheet").bounding_box()
    page.locator("[data-around]").click()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 320, box["y"] + box["height"] - 10, steps=4)
    page.mouse.up()
    count = page.locator("#panel h2")
    expect(count).to_have_text(re.compile(r"^\d+ features$"))
    n = int(count.inner_text().split()[0])
    link = page.locator("#panel a", has_text="Browse them")
    left, top, right, bottom = map(int, link.get_attribute("href").split("within=")[1].split("-"))
    spots = spots_of(drawn_site)
    inside = [i for i, (x, y) in enumerate(zip(spots["x"], spots["y"], strict=True)) if left <= x <= right and top <= y <= bottom]  # fmt: skip
    assert len(inside) == n
    assert 0 < n < len(spots["x"])
    link.click()
    expect(page.locator(".tools output")).to_have_text(f"{n} features")
    page.locator(".sieve button", has_text="all of the map").click()
    expect(page.locator(".tools output")).to_have_text(f"{len(spots['x'])} features")


@pytest.mark.browser
@browser_only
@pytest.mark.parametrize("layout", ["pages", "groups"])
def test_an_icon_that_is_shown_is_the_one_that_is_opened(visit, places, layout):
    page = visit("map.html", below=places[layout])
    page.wait_for_selector(".zoom button")
    page.wait_for_load_state("networkidle")
    box = page.locator("#sheet").bounding_box()
    at = page.evaluate(
        """() => {
            const canvas = document.getElementById("sheet"), pen = canvas.getContext("2d");
            const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
            for (let y = 60; y < canvas.height - 60; y += 3) for (let x = 320; x < canvas.width - 60; x += 3) {
                const spot = all.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3);
                if (Math.max(...spot) - Math.min(...spot) > 60) return [x, y];
            }
        }"""
    )
    page.mouse.move(box["x"] + at[0], box["y"] + at[1])
    expect(page.locator("#mapcap b")).to_be_visible()
    pointed = page.locator("#mapcap b").inner_text()
    page.mouse.click(box["x"] + at[0], box["y"] + at[1])
    expect(page.locator("#panel .small")).to_contain_text(f"Feature {pointed},")


@pytest.mark.browser
@browser_only
def test_without_scripts_the_map_is_a_picture(visit, drawn_site):
    page = visit("map.html", site=drawn_site, java_script_enabled=False)
    still = page.locator(".still")
    assert still.evaluate("image => image.naturalWidth") > 100
    assert page.locator(".hues").is_hidden()
