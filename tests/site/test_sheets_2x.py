"""Sheets for dense screens: which there are, what shows them, what a change makes anew, and what the plan says."""

import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chromium import PATH
from PIL import Image
from planted import make_job
from site_fixture import inputs_of, names_of

from atlas.base.errors import SiteError
from atlas.base.files import digest_file
from atlas.base.picture_store import picture_side
from atlas.prepare.site_size import ALIVE_SHARE, CELL_BYTES, site_tally
from atlas.prepare.sizes import Size
from atlas.settings.site import SiteSettings
from atlas.site import links, picture_sheets, site
from atlas.site.check import check_site
from atlas.site.hosts import why_over
from atlas.site.picture_sheets import SHEET_KEYS

DENSE = "@2x.webp"
LAYOUTS = ("pages", "groups")


def settings_of(**given):
    return SiteSettings(**{"pictures": "sheets", "sheets_2x": "all", **given})


@pytest.mark.parametrize(
    ("sheets_2x", "source_px", "icons", "thumbnails"),
    [
        ("all", 512, (64, 128), (64, 128)),
        ("all", 128, (64, 128), (64, 128)),
        ("all", 96, (64, 96), (64, 96)),
        ("all", 64, (64,), (64,)),
        ("all", 16, (64,), (64,)),
        ("all", 0, (64,), (64,)),
        ("icons", 512, (64, 128), (64,)),
        ("none", 512, (64,), (64,)),
    ],
)
def test_nothing_is_enlarged_for_dense_screens(sheets_2x, source_px, icons, thumbnails):
    settings = SiteSettings(sheets_2x=sheets_2x)
    assert settings.icon_sides(source_px) == icons
    assert settings.thumbnail_sides(source_px) == thumbnails


def test_what_has_no_second_sheet_is_said_with_what_to_change():
    said = SiteSettings().why_once(64, 128)
    assert said == [
        "no 2x sheets of icons: the pictures are 64 px wide and site.icon_px is 64; "
        "nothing is enlarged, so set it smaller or make larger pictures"
    ]
    assert SiteSettings().why_once(0, 0) == []
    assert SiteSettings(sheets_2x="none").why_once(64, 64) == []
    assert len(SiteSettings(sheets_2x="all").why_once(16, 16)) == 2


def make_site(atlas, folder, **given):
    inputs = {name: atlas / name for name in ("icons",) if (atlas / name).exists()}
    job = make_job("site", settings_of(**given), inputs_of(atlas) | inputs, folder / "site")
    site.run(replace(job, published_dir=folder / "none"))
    return job.out_dir


@pytest.fixture(scope="module", params=LAYOUTS)
def dense_site(request, planted_atlas, tmp_path_factory):
    """A site in sheets whose pictures are cut from those of 128 px."""
    return make_site(planted_atlas, tmp_path_factory.mktemp("dense"), layout=request.param)


def look(file):
    with Image.open(file) as picture:
        return picture.convert("RGB")


def sheets_in(folder):
    return {
        path.relative_to(folder).as_posix(): path for path in (folder / "sheet").rglob("*.webp")
    }


def test_each_sheet_has_one_of_twice_the_side_beside_it(dense_site):
    sheets = sheets_in(dense_site)
    once = {name for name in sheets if not name.endswith(DENSE)}
    assert {links.twice(name) for name in once} == sheets.keys() - once
    for name in once:
        size, dense = (look(sheets[n]).size for n in (name, links.twice(name)))
        assert dense == (2 * size[0], 2 * size[1]), name
    kept = json.loads((dense_site / SHEET_KEYS).read_text())
    tiles = {f"map/{path.name}" for path in (dense_site / "map").iterdir()}
    assert kept.keys() == sheets.keys() | tiles


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_plan_counts_second_sheets(layout):
    size = Size(100_000, 1280, 81_920, 1.0, 1.0)

    def plan(sheets_2x, source_px):
        settings = settings_of(layout=layout, sheets_2x=sheets_2x)
        return site_tally(size, settings, 0, source_px=source_px)

    once = plan("none", (512, 128))
    assert plan("all", (64, 64)) == once
    icons, everything = plan("icons", (512, 128)), plan("all", (512, 128))
    live = int(81_920 * ALIVE_SHARE)
    assert icons.files - once.files == -(-live // 64)
    assert icons.total_bytes - once.total_bytes == pytest.approx(live * CELL_BYTES * 128**2)
    assert everything.files - icons.files == {"pages": 81_920 // 4, "groups": 81_920 // 16}[layout]
    assert why_over(everything, "github")[0].count("site.sheets_2x=none") == 1


def test_a_second_sheet_shows_what_the_first_can_not(dense_site, planted_atlas):
    """Its cells are nearer to their pictures than the first one's, enlarged, are."""
    parts = sorted((planted_atlas / "embed" / "parts").glob("thumbnails-*.parquet"))
    assert picture_side(parts) == 128
    sheets = sheets_in(dense_site)
    name = sorted(name for name in sheets if not name.startswith("sheet/icon/"))[0]
    cell, dense = (look(sheets[n]) for n in (name, links.twice(name)))
    webps = [webp for path in parts for webp in pq.read_table(path)["webp"].to_pylist()]
    whole = [np.asarray(look(io.BytesIO(webp)), np.float32) for webp in webps]

    def off(picture):
        shown = np.asarray(picture.crop((0, 0, 128, 128)), np.float32)
        return min(float(np.abs(shown - one).mean()) for one in whole)

    # a page's first picture is one of the table's: the nearest of them is it
    assert off(dense) < off(cell.resize(dense.size, Image.Resampling.LANCZOS))


def test_the_check_misses_a_second_sheet_of_icons_and_of_thumbnails(dense_site, tmp_path):
    check_site(dense_site)
    for kind, name in (("icon", "assets/icons.css"), ("[0-9]*", r"feature/\S+")):
        copy = shutil.copytree(dense_site, tmp_path / name.replace("\\", ""))
        gone = sorted((copy / "sheet").glob(f"{kind}/*{DENSE}"))[0]
        gone.unlink()
        address = gone.relative_to(copy).as_posix()
        with pytest.raises(SiteError, match=rf"promises: {name}: \S*{address} leads nowhere"):
            check_site(copy)


def test_the_check_misses_the_sheet_of_a_cell(dense_site, tmp_path):
    copy = shutil.copytree(dense_site, tmp_path / "site")
    page = copy / "browse.html"
    page.write_text(page.read_text().replace('class="cell s0 ', 'class="cell s99 ', 1))
    with pytest.raises(SiteError, match=r"class s99 leads nowhere: no sheet/icon/99.webp"):
        check_site(copy)


def test_a_style_sheet_fetches_nothing_from_elsewhere(dense_site, tmp_path):
    copy = shutil.copytree(dense_site, tmp_path / "site")
    style = copy / "assets" / "icons.css"
    style.write_text(style.read_text() + ".x{background:url(https://example.org/x.png)}")
    with pytest.raises(SiteError, match=r"icons.css: leads out to https://example.org/x.png"):
        check_site(copy)


def test_pages_say_no_more_of_icons_than_which_cell(dense_site):
    """Some thirty icons a page: the address of a sheet is said in one style sheet."""
    for path in sorted((dense_site / "feature").rglob("*.html")):
        text = path.read_text()
        heroes = len(re.findall(r'<article class="feature', text))
        assert len(re.findall(r'src="[^"]*sheet/icon/', text)) <= heroes
        cells = re.findall(r'<i class="cell s\d+ x\d y\d"></i>', text)
        assert len(cells) == text.count('<i class="cell s')
    style = (dense_site / links.ICONS_STYLE).read_text()
    named = set(re.findall(r'url\("\.\./([^"]+)"\)', style))
    assert named == {name for name in sheets_in(dense_site) if name.startswith("sheet/icon/")}


@pytest.mark.parametrize("given", [{"sheets_2x": "none"}, {"icon_px": 128, "thumbnail_px": 128}])
def test_without_second_sheets_nothing_names_one(planted_atlas, tmp_path, given):
    made = make_site(planted_atlas, tmp_path, **given)
    assert sheets_in(made)
    assert not [name for name in sheets_in(made) if name.endswith(DENSE)]
    for name, path in names_of(made).items():
        if path.suffix in (".html", ".css"):
            assert "@2x" not in path.read_text(), name
            assert "srcset" not in path.read_text(), name
    assert '"twice":false' in (made / links.FEATURES_SCRIPT).read_text()


def test_icons_drawn_small_have_no_second_sheet_and_thumbnails_do(drawn_atlas, tmp_path):
    made = make_site(drawn_atlas / "build", tmp_path)  # icons of 16 px, thumbnails of 128
    dense = [name for name in sheets_in(made) if name.endswith(DENSE)]
    assert dense
    assert not [name for name in dense if name.startswith("sheet/icon/")]
    assert "@2x" not in (made / links.ICONS_STYLE).read_text()


def with_another_picture(atlas, folder, image):
    """Copy an atlas in which an image of the first shard has another thumbnail; return its table too."""
    copy = folder / "atlas"
    for name in ("embed", "concepts", "catalog"):
        shutil.copytree(atlas / name, copy / name)
    (part,) = sorted((copy / "embed" / "parts").glob("thumbnails-*.parquet"))[:1]
    table = pq.read_table(part)
    webps = table["webp"].to_pylist()
    data = io.BytesIO()
    Image.new("RGB", (128, 128), (200, 0, 0)).save(data, "WEBP")
    webps[image] = data.getvalue()
    table = table.set_column(
        table.schema.get_field_index("webp"), "webp", pa.array(webps, pa.binary())
    )
    pq.write_table(table, part)
    return copy, part


def published(job):
    """Put a job's site where the next build looks for the last one."""
    shutil.rmtree(job.published_dir, ignore_errors=True)
    job.published_dir.parent.mkdir(parents=True, exist_ok=True)
    job.out_dir.rename(job.published_dir)
    job.out_dir.mkdir()


def not_those_of(job):
    """Return the files of a built site that are not those of the published one."""
    before, after = names_of(job.published_dir), names_of(job.out_dir)
    return {n for n, path in after.items() if n not in before or not path.samefile(before[n])}


def test_a_second_build_writes_nothing_and_a_changed_picture_its_sheets(
    planted_atlas, tmp_path, monkeypatch
):
    job = make_job("site", settings_of(), inputs_of(planted_atlas), tmp_path / "site")
    site.run(job)
    published(job)
    encoded = []
    join = picture_sheets.join_pictures
    monkeypatch.setattr(
        picture_sheets, "join_pictures", lambda *given: encoded.append(1) or join(*given)
    )
    site.run(job)
    assert not_those_of(job) == set()
    assert encoded == []
    published(job)
    records = json.loads((job.published_dir / links.feature_json(0)).read_text())
    image = min(image for record in records.values() for image in record["top_images"]["image"])
    atlas, part = with_another_picture(planted_atlas, tmp_path, image)
    changed = replace(
        job, inputs=inputs_of(atlas), digests={**job.digests, "embed": digest_file(part)}
    )
    site.run(changed)
    written = {name for name in not_those_of(changed) if name.endswith(".webp")}
    sheets = {name for name in written if name.startswith("sheet/")}
    assert sheets
    assert {links.twice(name) for name in sheets if not name.endswith(DENSE)} == {
        name for name in sheets if name.endswith(DENSE)
    }
    assert len(encoded) == len(sheets) < len(sheets_in(changed.out_dir))


SHOWN = ("index.html", "feature", "browse.html", "browse.html#order=density", "search.html?q=shape", "map.html#f{}", "families.html")  # fmt: skip


def sheets_asked(browser, made, path, scale, **options):
    """Open a page from the disk, scroll through it, and return the sheets that it asks for, and what it complains of."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, device_scale_factor=scale, **options
    )
    page, asked, complaints = context.new_page(), set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"file://{made}/{path}")
    page.wait_for_load_state("networkidle")
    if options.get("java_script_enabled", True):
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
    context.close()
    complaints = [text for text in complaints if "ViewTransition opt-in disabled" not in text]
    return {url.split("/sheet/")[1] for url in asked if "/sheet/" in url}, complaints


@pytest.mark.browser
@pytest.mark.skipif(PATH is None, reason="NO BROWSER; on Debian: apt install chromium")
@pytest.mark.parametrize("scripts", [True, False])
def test_a_dense_screen_asks_for_second_sheets_and_another_for_first_ones(
    browser, dense_site, scripts
):
    feature = sorted((dense_site / "feature").rglob("*.html"), key=lambda p: (len(p.name), p))[1]
    number = re.search(r'id="f(\d+)"', feature.read_text())[1]
    for path in SHOWN if scripts else SHOWN[:3]:
        name = feature.relative_to(dense_site) if path == "feature" else path.format(number)
        found = {}
        for scale in (1, 2):
            options = {} if scripts else {"java_script_enabled": False}
            found[scale], complaints = sheets_asked(browser, dense_site, name, scale, **options)
            assert complaints == [], path
        once = {name for name in found[1] if not name.endswith(DENSE)}
        assert once, path
        assert found[1] == once, path
        assert found[2] == {links.twice(name) for name in once}, path


@pytest.mark.browser
@pytest.mark.skipif(PATH is None, reason="NO BROWSER; on Debian: apt install chromium")
def test_a_cell_of_an_icon_is_seen_in_its_place_at_any_density(browser, dense_site):
    """A cell's background lies where an element of the same sheet would: it shows the same pixels."""
    text = (dense_site / "browse.html").read_text()
    sheet, x, y = map(int, re.findall(r'class="cell s(\d+) x(\d) y(\d)"', text)[10])
    for scale in (1, 2):
        name = links.icon_sheet(sheet) if scale == 1 else links.twice(links.icon_sheet(sheet))
        px = 64 * scale
        whole = look(dense_site / name)
        wanted = whole.crop((x * px, y * px, (x + 1) * px, (y + 1) * px)).resize((64, 64))
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, device_scale_factor=scale
        )
        page = context.new_page()
        page.goto(f"file://{dense_site}/browse.html")
        page.wait_for_load_state("networkidle")
        cell = page.locator(f".cell.s{sheet}.x{x}.y{y}").first
        shown = look(io.BytesIO(cell.screenshot())).resize((64, 64))
        context.close()
        apart = np.abs(np.asarray(shown, float) - np.asarray(wanted, float)).mean()
        assert apart < 8, scale
