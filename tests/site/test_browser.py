"""The site in a real browser, from the disk: both themes, wide and narrow, with and without scripts."""

import math
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest
from chromium import PATH
from PIL import Image
from playwright.sync_api import expect
from screenshots import README_PX, shoot_for_readme
from site_fixture import column

from atlas.inputs.picture import difference_hash
from atlas.inputs.vocabulary import read_vocabulary
from atlas.site import links
from atlas.site.chapter import TOP_SHOWN
from atlas.site.pages.feature import FILM_SHOWN
from atlas.site.pages.histogram import BINS_SHOWN
from atlas.site.search_index import FIRST_SHOWN
from atlas.site.text import clean
from atlas.study.meanings import read_lists

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        PATH is None, reason="NO BROWSER: the site is not tested; on Debian: apt install chromium"
    ),
]
ONE_OF_EACH = (
    "index.html",
    "browse.html",
    "search.html?q=shape",
    "map.html",
    "pictures.html",
    "report.html",
    "data.html",
    "about.html",
    "dead.html",
    "go.html",
)


def one_of_each(site):
    words = sorted((site / "words").iterdir())[0].name
    feature = sorted((site / "feature" / "0").iterdir())[0].name
    image = sorted((site / "image" / "0").iterdir())[0].name
    return (*ONE_OF_EACH, f"words/{words}", f"feature/0/{feature}", f"image/0/{image}")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_every_kind_of_page_fits_and_stays_quiet(visit, site, width, theme):
    first, *others = one_of_each(site)
    page = visit(first, width, theme)
    for path in (first, *others):
        if path != first:
            page.goto(f"file://{site}/{path}")
        page.wait_for_load_state("networkidle")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{path} is {wider} px too wide at {width}"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(251, 250, 247)" if theme == "light" else "rgb(20, 20, 18)")


def wait_until(page, condition):
    """Ask until a condition holds, from outside: the pages' policy forbids what Playwright would do."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


ALL_FOUND = """document.querySelectorAll('#found a').length ===
    Math.min(60, parseInt(document.querySelector('#answer').textContent, 10))"""
"""Whether the list is as long as the search says; it grows after the first results."""


def sheets(page, paper="A4"):
    """How many sheets a page prints on."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format=paper)))


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_feature_prints_on_one_sheet(visit, drawn_site, paper):
    pages = sorted((drawn_site / "feature" / "0").iterdir(), key=lambda path: path.stat().st_size)
    for path in (pages[0], pages[len(pages) // 2], pages[-1]):
        page = visit(f"feature/0/{path.name}", theme="dark", site=drawn_site)
        assert sheets(page, paper) == 1, path.name
        page.emulate_media(media="print")
        for part in (".over", ".title", ".facts", ".end .id", ".foot"):
            assert page.locator(part).first.is_visible(), part
        for part in (".bar", ".turn", ".skip", ".cite pre", "button"):
            assert not any(item.is_visible() for item in page.locator(part).all()), part


def test_a_group_prints_a_sheet_for_each_feature(visit, grouped_site, shown):
    whole = visit(links.group_page(shown // links.FEATURES_A_GROUP), site=grouped_site)
    assert sheets(whole) == whole.locator("article").count() > 1
    assert sheets(visit(links.feature_page(shown, "groups"), site=grouped_site)) == 1


def test_paper_is_white_in_either_theme_and_no_page_is_cut_off(visit, site):
    for path in one_of_each(site):
        page = visit(path, 703, "dark")  # as wide as A4 between its margins
        page.emulate_media(media="print")
        colors = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        assert page.evaluate(colors) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"], path
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


def test_a_printed_page_tells_its_address_unless_it_lies_on_a_disk(visit, places):
    for below, told in ((places["pages"], f"{places['pages']}/about.html"), (None, None)):
        page = visit("about.html", below=below)
        page.pdf()
        assert page.locator(".foot").get_attribute("data-address") == told


def test_every_kind_of_page_reads_without_scripts(visit, site):
    for path in one_of_each(site):
        page = visit(path, java_script_enabled=False)
        assert page.locator("h1").count() == 1, path
        assert len(page.locator("main").inner_text()) > 20, path


def test_hostile_captions_are_shown_as_text(visit, db):
    rows = db.execute(
        """SELECT image, caption FROM images JOIN (SELECT DISTINCT image FROM decompositions) USING (image)
           WHERE image < 9 AND NOT sensitive ORDER BY image"""
    ).fetchall()
    assert rows
    for image, caption in rows:
        page = visit(f"image/0/{image}.html")
        shown = page.locator("h1").text_content()
        assert shown == (clean(caption) or "no caption")


def test_the_search_field_leads_to_features_from_any_page(visit, db):
    label, n = db.execute(
        """SELECT label, count(*) AS n FROM labels JOIN features USING (feature)
           WHERE NOT sensitive AND regexp_matches(label, '^[a-z]') GROUP BY label ORDER BY n DESC, label LIMIT 1"""
    ).fetchone()
    page = visit("about.html")
    page.keyboard.press("/")
    page.keyboard.type(label)
    page.keyboard.press("Enter")
    page.wait_for_selector("#found a")
    assert re.search(r"search\.html\?q=", page.url)
    wait_until(page, f"document.querySelectorAll('#found a').length >= {min(n, 60)}")
    page.locator("#found a").first.click()
    expect(page).to_have_url(re.compile("/feature/"))
    expect(page.locator("h1")).to_have_count(1)


def test_every_word_counts_where_something_has_them_all(visit):
    counts = []
    for query in ("shape", "shape 3", "3", "shape zzqqx"):
        page = visit(f"search.html?q={query}")
        page.wait_for_selector("#found a")
        counts.append(int(page.locator("#answer").inner_text().split()[0]))
    assert counts[1] == counts[2] < counts[0] == counts[3]


def test_search_finds_a_number_and_says_what_it_can_not_find(visit, db):
    feature = db.execute(
        "SELECT min(feature) FROM features WHERE alive AND NOT sensitive"
    ).fetchone()[0]
    page = visit(f"search.html?q={feature}")
    page.wait_for_selector("#found a")
    assert page.locator("#found a").first.get_attribute("href").endswith(f"/{feature}.html")
    page.fill("#find", "zzqqx")
    wait_until(page, "document.querySelector('#answer').textContent.startsWith('Nothing')")
    expect(page.locator("#found a")).to_have_count(0)


def test_the_last_of_many_keys_is_answered_however_late_the_lists_come(visit):
    page = visit("search.html")
    page.evaluate(
        """() => ["s", "shape 3", "zzqqx", "shape", ""].concat("shape 3").forEach(text => {
            const box = document.getElementById("find");
            box.value = text;
            box.dispatchEvent(new Event("input"));
        })"""
    )
    wait_until(page, ALL_FOUND)
    assert "“shape 3”" in page.locator("#answer").inner_text()
    wanted = page.locator("#found a").evaluate_all("links => links.map(l => l.href)")
    assert len(wanted) > FIRST_SHOWN
    page = visit("search.html?q=shape 3")
    wait_until(page, ALL_FOUND)
    assert page.locator("#found a").evaluate_all("links => links.map(l => l.href)") == wanted


@pytest.mark.parametrize("query", ["shape 5", "shape 1", "the 0 and 1", "shape"])
def test_search_by_meaning_shows_what_the_lists_add_up_to(visit, drawn_atlas, drawn_site, query):
    folder = drawn_atlas / "build" / "catalog" / "search"
    rows, _ = read_vocabulary(folder / "vocabulary").split(query)
    wanted = read_lists(folder).add_up(rows)[:24]
    page = visit("search.html", site=drawn_site)
    page.locator("#find").type(query)
    page.wait_for_selector("#meant:not([hidden]) a")
    wait_until(page, f"document.querySelector('#exactly').textContent.includes('{query}')")
    wait_until(page, f"document.querySelectorAll('#meant a').length >= {len(wanted)}")
    shown = page.locator("#meant a").evaluate_all("links => links.map(l => l.href)")
    assert [int(re.search(r"(\d+)\.html", href)[1]) for href in shown] == wanted


def test_names_and_captions_come_before_meaning_where_they_say_enough(
    visit, drawn_site, drawn_atlas
):
    with duckdb.connect(str(drawn_atlas / "build/catalog/atlas.duckdb"), read_only=True) as db:
        (label,) = db.execute(
            """SELECT label FROM labels JOIN features USING (feature)
               WHERE rank = 0 AND NOT sensitive ORDER BY label, feature LIMIT 1"""
        ).fetchone()
    place = (
        "document.querySelector('#meant').compareDocumentPosition(document.querySelector('#found'))"
    )
    for query, follows in ((label, False), ("shape 1 2 4 5 6 7 8 9 10 11", True)):
        page = visit(f"search.html?q={query}", site=drawn_site)
        page.wait_for_selector("#meant:not([hidden]) a")
        assert bool(page.evaluate(place) & 4) == follows, query


def test_an_unfinished_word_means_the_shortest_that_begins_so(visit, drawn_site):
    page = visit("search.html?q=sha", site=drawn_site)
    page.wait_for_selector("#meant:not([hidden]) a")
    assert page.locator("#meantwords").inner_text() == "“shape”"
    page.fill("#find", "zzqqx")
    wait_until(page, "document.querySelector('#answer').textContent.startsWith('Nothing')")
    expect(page.locator("#meant")).to_be_hidden()


def test_the_page_hashes_pictures_as_the_build_does(visit):
    page = visit("search.html")
    random = np.random.default_rng(0)
    for size in [(9, 8), (48, 48), (7, 5), (131, 77), (300, 200)]:
        coarse = Image.fromarray(random.integers(0, 256, (7, 6, 3), np.uint8), "RGB")
        picture = coarse.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(picture.convert("RGBA")).ravel().tolist()
        bits = page.evaluate("([p, w, h]) => atlasHash(p, w, h)", [pixels, *size])
        assert int("".join(map(str, bits)), 2) == difference_hash(picture) % 2**64, size


def test_a_picture_of_the_atlas_is_found_and_another_is_not(visit, site, db, tmp_path):
    (image,) = db.execute(
        """SELECT image FROM top_images JOIN features USING (feature) JOIN images USING (image)
           WHERE rank = 0 AND NOT features.sensitive AND NOT images.sensitive
           ORDER BY feature LIMIT 1"""
    ).fetchone()
    thumbnail = Image.open(site / "thumb" / "0" / f"{image}.webp").convert("RGB")
    thumbnail.save(tmp_path / "own.png")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (60, 60, 3), np.uint8)).save(tmp_path / "other.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    page = visit("search.html")
    page.set_input_files("#own input", tmp_path / "own.png")
    page.wait_for_selector("#own li a")
    said = page.locator("#own [role=status]").inner_text()
    assert said.startswith("It is, or looks just like, picture")
    assert page.locator("#own a").first.get_attribute("href").endswith(".html")
    for name, answer in (("other.png", "not among the pictures"), ("none.png", "can’t read")):
        page.set_input_files("#own input", tmp_path / name)
        page.locator("#own [role=status]", has_text=answer).wait_for()
        expect(page.locator("#own a")).to_have_count(0)


def test_browse_sorts_and_filters_over_all_features(visit, db):
    often = db.execute(
        "SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY density DESC, feature LIMIT 1"
    ).fetchone()[0]
    page = visit("browse.html")
    page.select_option("[name=order]", "density")
    page.locator(".tools output", has_text=re.compile(r"^\d+ features$")).wait_for()
    first = page.locator(".wall a").first
    expect(first).to_have_attribute("href", re.compile(rf"/{often}\.html$"))
    page.fill("[name=filter]", "zzqqx")
    expect(page.locator(".wall a")).to_have_count(0)
    page.fill("[name=filter]", "shape 1")
    expect(page).to_have_url(re.compile(r"#order=density&named=shape\+1$"))
    expect(page.locator(".wall a")).not_to_have_count(0)
    shown = page.locator(".wall a").count()
    page.reload()
    page.locator(".tools output", has_text=re.compile(rf"^{shown} features?$")).wait_for()
    expect(page.locator(".wall a")).to_have_count(shown)
    for order in page.locator("[name=order] option").all():
        page.select_option("[name=order]", order.get_attribute("value"))
        page.locator(".tools output", has_text=re.compile(rf"^{shown} features?$")).wait_for()


def test_the_map_is_drawn_and_opens_features(visit, db):
    feature = db.execute(
        "SELECT max(feature) FROM features WHERE alive AND NOT sensitive"
    ).fetchone()[0]
    page = visit("map.html")
    page.wait_for_selector(".zoom button")
    drawn = page.evaluate(
        """() => { const c = document.getElementById('sheet');
            // From a disk the canvas is tainted by pictures: look at the size, and click.
            return c.width > 300 && c.height > 300; }"""
    )
    assert drawn
    page.focus("#sheet")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel:not([hidden]) h2")
    page = visit(f"map.html#f{feature}")
    page.wait_for_selector("#panel:not([hidden]) h2")
    assert f"Feature {feature}" in page.locator("#panel").inner_text()


def test_the_map_inks_the_paper_where_features_lie(visit, places):
    for theme, paper in (("light", [251, 250, 247]), ("dark", [20, 20, 18])):
        page = visit("map.html", theme=theme, below=places["groups"])
        wait_until(page, "atlasTable.rows === atlasTable.n")
        page.wait_for_load_state("networkidle")
        shades = page.evaluate(
            """() => new Promise(requestAnimationFrame).then(() => {
                const c = document.getElementById('sheet');
                const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, found = {};
                for (let i = 0; i < data.length; i += 4) {
                    const color = data.slice(i, i + 4).join();
                    found[color] = (found[color] || 0) + 1;
                }
                return found;
            })"""
        )
        most = max(shades, key=shades.get)
        assert most == ",".join(map(str, [*paper, 255]))
        assert sum(shades.values()) > shades[most]


def test_arrows_turn_the_pages(visit, db):
    first, second = (
        row[0]
        for row in db.execute(
            "SELECT feature FROM features WHERE alive ORDER BY feature LIMIT 2"
        ).fetchall()
    )
    page = visit(f"feature/0/{first}.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/{second}.html")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/{first}.html")


def test_knobs_move_and_their_recipe_stays_in_the_address(visit, drawn_site):
    page = visit("index.html", site=drawn_site)
    page.locator(".bench .knob input").first.press("ArrowRight")
    expect(page.locator(".bench")).to_have_class(re.compile("turned"))
    page.locator(".bench > a").click()
    expect(page).to_have_url(re.compile("/image/"))
    page.locator(".knob input").first.press("ArrowRight")
    expect(page).to_have_url(re.compile("#turn="))
    said = page.locator(".knob output").first.inner_text()
    page.reload()
    expect(page.locator(".knob output").first).to_have_text(said)
    assert page.locator("[data-steer]").inner_text().count("--concept") == 1


def test_a_bar_says_what_it_stands_for(visit, db):
    (feature,) = db.execute(
        "SELECT feature FROM features WHERE alive ORDER BY count DESC, feature LIMIT 1"
    ).fetchone()
    rows = db.execute(
        "SELECT bin, low, high, count FROM activation_histogram WHERE feature = ? ORDER BY bin DESC",
        [feature],
    ).fetchall()
    page = visit(links.feature_page(feature, "pages"))
    chart, ends = page.locator(".spark .chart"), page.locator(".spark .ends span")
    box, room = chart.bounding_box(), chart.evaluate("chart => chart.viewBox.baseVal.width / 10")
    last = len(chart.get_attribute("data-counts").split(",")) - 1
    weakest, strongest = ends.first.inner_text(), ends.last.inner_text()
    said = {}
    for bin, low, high, count in rows[:BINS_SHOWN]:
        place = last - (rows[0][0] - bin)
        if place <= 0:
            break
        chart.hover(position={"x": (place + 0.5) * box["width"] / room, "y": 10})
        said[place] = ends.nth(1).inner_text()
        number, least, most = re.fullmatch(r"(\S+) images?, (\S+) to (\S+)", said[place]).groups()
        assert int(number.replace(",", "")) == count
        assert ("images" in said[place]) == (count != 1)
        assert math.isclose(float(least), low, rel_tol=0.005)
        assert (
            most == strongest if place == last else math.isclose(float(most), high, rel_tol=0.005)
        )
    assert len(said) > 3
    chart.hover(position={"x": 0.5 * box["width"] / room, "y": 10})
    assert f" {weakest} to " in ends.nth(1).inner_text()


@pytest.mark.parametrize("path", ["index.html", "browse.html"])
def test_a_tile_shows_its_caption_without_scripts(visit, path):
    page = visit(path, java_script_enabled=False)
    tiles = page.locator(".wall li a")

    def caption(place):
        cap = tiles.nth(place).locator(".cap")
        return cap.evaluate("c => [c.getBoundingClientRect().top, getComputedStyle(c).opacity]")

    assert caption(5)[0] < -900, "out of the layout until it is wanted"
    tiles.nth(5).hover()
    assert 0 < caption(5)[0] < 800
    assert caption(5)[1] == "1"
    tiles.nth(6).focus()
    page.keyboard.press("Tab")
    assert 0 < caption(7)[0] < 800
    assert caption(7)[1] == "1"


@pytest.mark.parametrize("path", ["index.html", "browse.html", "browse.html#order=density"])
@pytest.mark.parametrize("layout", ["pages", "groups"])
def test_a_tile_shows_its_three_strongest_pictures_beside_it(visit, places, db, path, layout):
    page = visit(path, below=places[layout])
    if "#" in path:
        page.locator(".tools output", has_text=re.compile(r"^\d+ features$")).wait_for()
    tile, tip = page.locator(".wall a").nth(5), page.locator(".tip")
    expect(tip).to_be_hidden()
    tile.hover()
    feature = int(tile.get_attribute("data-feature"))
    expect(tip).to_contain_text(re.compile(rf"^{feature} .*fires on"))
    if layout == "pages":
        tops = column(
            db,
            f"""SELECT image FROM top_images JOIN images USING (image)
                WHERE feature = {feature} AND NOT sensitive
                QUALIFY row_number() OVER (PARTITION BY coalesce(duplicate_of, image) ORDER BY rank) = 1
                ORDER BY rank LIMIT 3""",
        )
        expect(tip.locator("img")).to_have_count(3)
        shown = tip.locator("img").evaluate_all("all => all.map(image => image.src)")
        assert shown == [f"{places[layout]}/{links.thumbnail(image)}" for image in tops]
    else:
        sheet = links.thumbnail_sheet(feature // links.FEATURES_A_GROUP)
        expect(tip.locator("i")).to_have_css("background-image", f'url("{places[layout]}/{sheet}")')
        row, side = feature % links.FEATURES_A_GROUP, tip.locator("i").bounding_box()["height"]
        assert tip.locator("i").evaluate(
            "i => parseFloat(i.style.backgroundPositionY)"
        ) == pytest.approx(-row * side)
    inside = tip.evaluate(
        "t => t.getBoundingClientRect().left >= 0 && t.getBoundingClientRect().right <= innerWidth"
    )
    assert inside
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.mouse.move(1, 1)
    page.locator(".wall a").nth(6).focus()
    page.keyboard.press("Tab")
    expect(tip).to_be_visible()


def test_browse_filters_by_measures_and_the_address_says_how(visit, drawn_atlas, drawn_site):
    with duckdb.connect(str(drawn_atlas / "build/catalog/atlas.duckdb"), read_only=True) as db:
        wanted = {
            key: column(
                db,
                f"""SELECT feature FROM features LEFT JOIN icons USING (feature)
                    WHERE alive AND NOT sensitive AND ({condition}) ORDER BY feature""",
            )
            for key, condition in {
                "icon=yes": "verdict = 'shown'",
                "icon=no": "verdict = 'not shown'",
                "often=0.01-0.1": "density >= 0.01 AND density < 0.1",
                "family=0": "feature IN (SELECT feature FROM cluster_features WHERE level = 1 AND cluster = 0)",
            }.items()
        }
    assert any(wanted.values())
    page = visit("browse.html", site=drawn_site)
    counted = page.locator(".tools output")
    for address, features in wanted.items():
        page.goto(f"file://{drawn_site}/browse.html#order=feature&{address}")
        page.reload()
        expect(counted).to_have_text(re.compile(rf"^{len(features)} features?\b"))
        shown = page.locator(".wall a").evaluate_all("all => all.map(a => +a.dataset.feature)")
        assert shown == features[: len(shown)], address
    page.locator(".sieve button", has_text="clear all").click()
    expect(page).to_have_url(re.compile(r"#order=feature$"))
    expect(counted).to_have_text(re.compile(rf"^{page.evaluate('atlasTable.n')} features"))


def test_the_handles_of_a_filter_stay_apart_and_are_moved_by_keys(visit, drawn_site):
    page = visit("browse.html", site=drawn_site)
    page.locator(".sieve summary").click()
    ends = page.locator(".brush").first.locator("input")
    expect(ends).to_have_count(2)
    low, high = ends.all()
    low.press("End")
    expect(page).to_have_url(re.compile("#often="))
    assert int(low.input_value()) == int(high.input_value()) - 1
    assert "%" in low.get_attribute("aria-valuetext") or "1 in" in low.get_attribute(
        "aria-valuetext"
    )
    low.press("Home")
    expect(page).to_have_url(re.compile(r"browse\.html$"))


def test_the_readme_shows_each_screenshot_that_is_taken(browser, drawn_site, tmp_path):
    written = shoot_for_readme(browser, drawn_site, tmp_path)
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(f"data/screenshots/{path.name}" for path in written)
    for path in [*written, *(ROOT / address for address in shown)]:
        with Image.open(path) as picture:
            assert picture.size == README_PX
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 100, "more than an empty page"


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_knobs_fit_the_page(visit, drawn_site, width):
    image = sorted((drawn_site / "knob" / "0").iterdir())[0].name.split("-")[0]
    page = visit(f"image/0/{image}.html", width, site=drawn_site)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_game_keeps_the_score(visit, drawn_site):
    page = visit("index.html", site=drawn_site)
    page.locator(".game .pair a").first.click()
    page.wait_for_selector(".game .right-one")
    assert re.search(r"You have [01] of 1\.", page.locator(".game .answer").inner_text())
    page.locator(".game button").click()
    expect(page.locator(".game .right-one")).to_have_count(0)


def test_question_mark_lists_the_keys_and_g_leads_to_the_map(visit):
    page = visit("about.html")
    page.keyboard.press("?")
    page.locator("dialog[open] dt").nth(4).wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.wait_for_url("**/map.html")


def test_random_leads_to_some_feature_in_either_layout(visit, places, db):
    shown = column(db, "SELECT feature FROM features WHERE alive AND NOT sensitive")
    for layout in ("pages", "groups"):
        wanted = {f"{places[layout]}/{links.feature_page(feature, layout)}" for feature in shown}
        found = set()
        for _ in range(4):
            page = visit("about.html", below=places[layout])
            page.locator(".foot .random").click()
            page.wait_for_url("**/feature/**")
            found.add(page.url)
        assert found <= wanted
        assert len(found) > 1


def test_random_is_not_offered_where_it_can_not_work(visit, site):
    page = visit("index.html", java_script_enabled=False)
    assert not any(way.is_visible() for way in page.locator(".random").all())


def test_g_on_a_feature_opens_the_map_at_it(visit, db):
    feature = db.execute("SELECT min(feature) FROM features WHERE alive").fetchone()[0]
    page = visit(links.feature_page(feature))
    page.keyboard.press("g")
    page.wait_for_url(f"**/map.html#f{feature}")


def test_a_list_that_others_wrote_under_our_name_breaks_nothing(visit):
    page = visit("data.html")
    kept = '[null, 3, {"feature": 1}, {"feature": 2, "page": "javascript:1"}, {"feature": 4, "name": "x", "page": "feature/0/4.html"}]'
    for held, shown in ((kept, ["4 x"]), ("7", []), ('{"feature": 1}', []), ("null", [])):
        page.evaluate(
            "kept => localStorage.setItem('atlas-kept ' + document.documentElement.dataset.atlas, kept)",
            held,
        )
        page.reload()
        expect(page.locator("#shelf li")).to_have_text(shown)


def test_a_query_of_the_data_page_is_copied(visit, places):
    page = visit(
        "data.html", below=places["pages"], permissions=["clipboard-read", "clipboard-write"]
    )
    page.locator(".queries [data-copy]").first.click()
    page.locator(".queries button", has_text="copied").wait_for()
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == page.locator(".queries code").first.inner_text()
    )


SMALL = """() => Array.from(document.querySelectorAll('a, button, summary, input, select')).filter(part => {
    const box = part.getBoundingClientRect(), block = part.closest('p, dd, figcaption, h2');
    if (!part.checkVisibility({ visibilityProperty: true }) || part.closest('.unseen, .skip') || box.width < 2) return false;
    const length = links => links.reduce((sum, link) => sum + link.textContent.length, 0);
    const sentence = block && length([...block.querySelectorAll('a')]) < 0.6 * block.textContent.trim().length;
    if (getComputedStyle(part).display === 'inline' && sentence) return false;
    return box.height < 23.5 || box.width < 23.5;
}).map(part => part.outerHTML.slice(0, 90))"""
"""What is smaller than a finger; links within a sentence may be."""


@pytest.mark.parametrize("width", [390, 1440])
def test_whatever_is_pressed_is_24_pixels_high_and_wide(visit, drawn_site, width):
    first, *others = (*one_of_each(drawn_site), "families.html", "family/0.html", "concepts.html")
    page = visit(first, width, site=drawn_site)
    for path in (first, *others):
        page.goto(f"file://{drawn_site}/{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate(SMALL) == [], path


def test_paper_shows_between_the_icons_of_a_wall_in_the_dark(visit, drawn_site, tmp_path):
    page = visit("index.html", theme="dark", site=drawn_site)
    page.locator(".wall li").nth(20).screenshot(path=tmp_path / "tile.png")
    with Image.open(tmp_path / "tile.png") as tile:
        rgb = tile.convert("RGB")
        corners = [rgb.getpixel((x, y)) for x in (1, rgb.width - 3) for y in (1, rgb.height - 3)]
    assert corners == [(20, 20, 18)] * 4


def test_ways_up_stand_side_by_side(visit, drawn_site):
    page = visit("family/0.html", site=drawn_site)
    left, right = (page.locator(".over a").nth(i).bounding_box() for i in (0, 1))
    assert right["x"] - left["x"] - left["width"] < 40


def test_the_map_rings_what_is_searched(visit):
    page = visit("map.html")
    page.wait_for_selector(".zoom button")
    page.fill("#find", "shape")
    said = page.locator("#mapcap", has_text=re.compile(r"^\d+ features labeled “shape”"))
    said.wait_for()
    page.reload()
    said.wait_for()


def test_a_reader_keeps_a_list_and_takes_it_out_again(visit, db):
    feature = db.execute("SELECT min(feature) FROM features WHERE alive").fetchone()[0]
    page = visit(f"feature/0/{feature}.html")
    page.locator("[data-keep]").click()
    page.locator(".end a", has_text="All data").click()
    expect(page.locator("#shelf li")).to_have_count(1)
    with page.expect_download() as saved:
        page.locator("#shelf button").click()
    assert f'"feature": {feature}' in saved.value.path().read_text()
    page.locator("#shelf li a").click()
    page.wait_for_url(f"**/feature/0/{feature}.html")
    page.locator("[data-keep]").click()
    expect(page.locator("[data-keep]")).to_have_text("keep in your list")


@pytest.fixture(scope="module")
def shown(db):
    """The last feature that walls show."""
    (feature,) = db.execute(
        "SELECT max(feature) FROM features WHERE alive AND NOT sensitive"
    ).fetchone()
    return feature


@pytest.mark.parametrize("layout", ["pages", "groups"])
def test_below_a_folder_of_a_server_all_is_found_and_nothing_complains(
    visit, places, shown, layout
):
    for path in (*ONE_OF_EACH, links.feature_page(shown, layout)):
        page = visit(path, below=places[layout])
        page.wait_for_load_state("networkidle")
        assert page.locator("h1").count() == 1, path


@pytest.mark.parametrize("layout", ["pages", "groups"])
def test_every_script_leads_to_the_page_that_the_layout_has(visit, places, shown, layout):
    wanted = f"{places[layout]}/{links.feature_page(shown, layout)}"
    page = visit(f"search.html?q={shown}", below=places[layout])
    page.wait_for_selector("#found a")
    assert page.locator("#found a").first.evaluate("link => link.href") == wanted
    page = visit("browse.html#order=feature", below=places[layout])
    page.locator(".tools output", has_text=re.compile(r"^\d+ features$")).wait_for()
    while page.locator(".more-button").is_visible():
        page.locator(".more-button").click()
    assert page.locator(".wall a").last.evaluate("link => link.href") == wanted
    page = visit(f"map.html#f{shown}", below=places[layout])
    page.locator("#panel a").first.click()
    page.wait_for_url(wanted)
    assert page.locator(f"#f{shown} .over").inner_text().startswith(f"Feature {shown}")
    page.locator(f"#f{shown} [data-keep]").click()
    page.goto(f"{places[layout]}/data.html")
    expect(page.locator("#shelf li a")).to_have_js_property("href", wanted)


def test_a_missing_page_is_whole_at_any_depth(visit, site, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/404.html").write_bytes((site / "404.html").read_bytes())
    page = visit("a/b/404.html", 390, "dark", tmp_path)
    assert page.locator("h1").inner_text() == "Not here"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("layout", ["pages", "groups"])
def test_a_short_link_leads_on(visit, places, shown, layout):
    page = visit(f"go.html?f={shown}", below=places[layout])
    page.wait_for_url(f"{places[layout]}/{links.feature_page(shown, layout)}")
    page = visit("go.html?f=x", below=places[layout])
    expect(page.locator("h1")).to_have_text("Not here")


def test_a_group_shows_the_feature_that_its_address_names_scripts_or_not(
    visit, grouped_site, shown
):
    for scripts in (True, False):
        page = visit(
            links.feature_page(shown, "groups"), site=grouped_site, java_script_enabled=scripts
        )
        assert [a.is_visible() for a in page.locator("article").all()].count(True) == 1
        assert page.locator(f"#f{shown}").is_visible()
    page = visit(links.group_page(shown // links.FEATURES_A_GROUP), site=grouped_site)
    assert all(article.is_visible() for article in page.locator("article").all())
    page = visit(links.feature_page(shown, "groups"), 390, "dark", grouped_site)
    before = page.locator(f"#f{shown} [data-key=back]").get_attribute("href").split("#")[1]
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**#{before}")
    expect(page.locator(f"#{before}")).to_be_visible()


def test_a_picture_of_a_sheet_is_seen_in_the_place_that_css_gives_it(visit, grouped_site, shown):
    page = visit(links.feature_page(shown, "groups"), site=grouped_site)
    lefts = {}
    for name in ("top", "film", "near"):
        lefts[name] = page.eval_on_selector_all(
            f"#f{shown} .{name}:not(.plain-near) li",
            """items => items.map(item => {
                const seen = item.querySelector('i:not([class])');
                const cell = seen.getBoundingClientRect();
                const sheet = seen.querySelector('img').getBoundingClientRect();
                return [(cell.left - sheet.left) / cell.width, (cell.top - sheet.top) / cell.height];
            })""",
        )
    row = shown % links.FEATURES_A_GROUP
    first = {"top": 0, "film": TOP_SHOWN, "near": TOP_SHOWN + FILM_SHOWN}
    for name, places in lefts.items():
        for at, (x, y) in enumerate(places):
            assert (round(x, 1), round(y, 1)) == (first[name] + at, row), name
    assert lefts["top"]
    fires = page.eval_on_selector_all(
        f"#f{shown} .near .fires i",
        """cells => cells.map(cell => (cell.getBoundingClientRect().left - cell.firstChild.getBoundingClientRect().left)
            / cell.getBoundingClientRect().width)""",
    )
    assert [round(x, 1) for x in fires] == [at % len(lefts["top"]) for at in range(len(fires))]


ABOVE = """() => Array.from(document.querySelectorAll('main img')).filter(image =>
    !/sheet/.test(image.src) && image.naturalWidth && image.checkVisibility()
    && image.getBoundingClientRect().width > image.naturalWidth + 0.6
).map(image => `${image.src} ${image.getBoundingClientRect().width} > ${image.naturalWidth}`)"""


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_a_feature_begins_with_its_name_and_strongest_pictures_in_their_own_size(
    visit, drawn_site, width
):
    strip = sorted((drawn_site / "strip" / "0").iterdir())[0].stem
    page = visit(f"feature/0/{strip}.html", width, site=drawn_site)
    page.wait_for_load_state("networkidle")
    assert page.evaluate(ABOVE) == []
    parts = [
        ".title",
        ".turn",
        ".lead",
        ".top",
        ".icon",
        ".spark",
        ".film",
        ".near",
        ".sure",
        ".end",
    ]
    order = page.evaluate(
        "parts => Array.from(document.querySelectorAll('.feature *')).filter(e => parts.some(p => e.matches(p))).map(e => '.' + e.classList[0])",
        parts,
    )
    assert list(dict.fromkeys(order)) == [part for part in parts if part in order]
    assert {".title", ".turn", ".lead", ".top", ".icon", ".sure", ".end"} <= set(order)
    bottom = page.evaluate("document.querySelector('.top').getBoundingClientRect().bottom")
    assert bottom < 1.5 * 900
    assert (
        page.locator(".icon figcaption").inner_text().startswith("The model recognizes this icon: ")
    )
    assert not page.locator(".sure .pairs").is_visible()


def test_the_report_is_short_before_it_is_unfolded(visit, drawn_site):
    page = visit("report.html", site=drawn_site)
    assert page.evaluate("document.documentElement.scrollHeight") <= 2500
    assert not any(fold.get_attribute("open") for fold in page.locator("details").all())
