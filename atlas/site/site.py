"""The site stage: the catalog as pages that anyone can read, with and without scripts."""

from __future__ import annotations

import gc
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from atlas.base.files import digest_file, digest_json, read_json
from atlas.base.picture_store import PictureStore, open_pictures, picture_side
from atlas.base.sheets import join_pictures, sheet_key
from atlas.base.tables import SURE, TABLES
from atlas.inputs.vocabulary import read_vocabulary
from atlas.run.stage import Job
from atlas.settings.paths import DATABASE, template_root
from atlas.site import all_pages, links, lookalikes
from atlas.site.all_pages import Book, Chapter
from atlas.site.check import check_host, check_site, list_sizes
from atlas.site.hosts import URLS_A_SITEMAP
from atlas.site.output import Output
from atlas.site.pages import compare, families, rooms
from atlas.site.press import Press, Templates, open_templates, render, render_group
from atlas.site.rebuild import FEATURES_A_BLOCK, Turns, digest_blocks
from atlas.site.search_index import file_name, index_scripts, script, table_scripts, word_weights
from atlas.study.meanings import read_lists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BLOCKS_A_CHAPTER = 16
"""Read at once."""
IMAGES_AT_ONCE = 1000
STRIP_QUALITY = 85
ASSETS = (
    *(
        "site.css",
        "mark.svg",
        "site.js",
        "table.js",
        "search.js",
        "picture.js",
        "browse.js",
        "map.js",
    ),
    "game.js",
    "go.js",
)
FONTS = ("inter.woff2", "newsreader.woff2", "inter-OFL.txt", "newsreader-OFL.txt")
HASHED = ("top_images", "features", "images")
"""Tables that choose the pictures whose hashes the site has."""
ON_ICONS = ("icons", "features", "images")
"""Tables that choose the pictures in sheets of icons."""
DENSE = 1.5
"""Pixels of the screen a pixel of the page from which on second sheets are shown; scripts know it too."""
SHEET_KEYS = "sheet/keys.json"
"""Digest of what each sheet was made of, for the next build."""
HOME_SCRIPTS = ("assets/rounds.js",)
ON_FEATURES = f"""
    SELECT image FROM {all_pages.distinct_tops("true")} JOIN features USING (feature)
    WHERE NOT sensitive
    UNION SELECT image FROM quantile_images JOIN features USING (feature)
    WHERE rank = 0 AND NOT sensitive
    UNION SELECT image FROM near_misses JOIN features USING (feature)
    WHERE rank < {all_pages.NEAR_SHOWN} AND NOT sensitive"""
"""Query of the images that features' pages show small; some may be sensitive."""


def columns_of(*names: str) -> dict[str, Any]:
    """Return the schema of a table by columns, all equally long."""
    numbers = {"type": "array", "items": {"type": "number"}}
    return {"type": "object", "required": list(names), "properties": dict.fromkeys(names, numbers)}


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "features/<feature // 64>.json: live features by number",
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]+$"},
    "additionalProperties": {
        "type": "object",
        "required": ["feature", "citation", "page", "density", "labels", "top_images", "neighbors"],
        "properties": {
            "feature": {"type": "integer", "minimum": 0},
            "citation": {"type": "string", "pattern": "^atlas:[0-9a-f]{12}/f[0-9]+$"},
            "page": {"type": "string"},
            "icon": {"type": ["string", "null"]},
            "density": {"type": "number", "minimum": 0, "maximum": 1},
            "sensitive": {"type": "boolean"},
            "labels": {"type": "array", "items": {"type": "object"}},
            "top_images": columns_of("image", "value"),
            "quantile_images": columns_of("image", "value"),
            "near_misses": columns_of("image", "value"),
            "round_trip": {"type": ["object", "null"]},
            "side_effects": {"type": "array", "items": {"type": "object"}},
            "strip": {"type": "array", "items": {"type": "object"}},
            "neighbors": columns_of("feature", "cosine"),
            "coactivations": columns_of("feature", "p_other_given_feature"),
            "relatives": {"type": "array", "items": {"type": "object"}},
            "clusters": {"type": "array", "items": {"type": "object"}},
        },
    },
}


def run(job: Job) -> None:
    """Write the site and check it.

    Raises:
        SiteError: The finished site breaks one of its own promises.
    """
    import duckdb

    out, catalog = Output(job), job.inputs["catalog"]
    with duckdb.connect(str(catalog / DATABASE), read_only=True) as db:
        book = all_pages.read_book(db, job.settings)
        sheets = open_sheets(out, db, book)
        book = replace(book, icons_2x=len(sheets.icon_sides) > 1)
        env = open_templates(icons_2x=book.icons_2x)
        write_assets(out)
        job.progress.start("site", total=len(book.live) + len(book.opened), unit="pages")
        with uncollected():
            write_features(out, env, db, book, sheets)
        own = out.make("hashes", _key(job, *HASHED), partial(write_hashes, out, db))
        whole = digest_json([job.settings.model_dump(mode="json"), dict(job.digests)])
        out.make("front", whole, partial(write_rest, out, env, db, book, own))
        write_hints(out, book)
        job.progress.stop()
        write_thumbnails(out, db, book)
        if in_sheets(job):
            icons = partial(write_icon_sheets, db, book, sheets)
            sheets.now |= out.make("icons", _key(job, *ON_ICONS), icons)
            out.put(links.ICONS_STYLE, icons_style(book))
        else:
            write_icons(out, book)
        sheets.close()
        write_strips(out, book)
        write_knobs(out, book)
    for table in TABLES:
        held = (catalog / "parquet" / f"{table.name}.parquet").read_bytes()
        out.put(links.parquet_file(table.name), held)
    checked = check_site(job.out_dir, job.published_dir if out.same_program else None)
    check_host(checked.tally, job.settings.host)
    out.close()
    job.progress.say(f"  {checked.summary()}")


def _key(job: Job, *tables: str) -> str:
    """Return a digest of what decides pictures, and of the rows that choose them."""
    paths = [job.inputs["catalog"] / "parquet" / f"{name}.parquet" for name in tables]
    inputs = [job.digests.get(name) for name in ("embed", "icons")]
    settings = job.settings.model_dump(mode="json")
    return digest_json([settings, inputs, [digest_file(path) for path in paths]])


def write_page(out: Output, env: Templates, template: str, view: dict[str, Any]) -> None:
    """Write one page to its address."""
    out.put(view["page"], render(env, template, view))


def write_assets(out: Output) -> None:
    """Copy style, scripts and fonts."""
    root = template_root()
    for name in ASSETS:
        out.put(f"assets/{name}", (root / name).read_bytes())
    for name in FONTS:
        out.put(f"assets/fonts/{name}", (root / "fonts" / name).read_bytes())


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from searching for cycles, which rows and pages of features never form.

    It would look at all rows again and again, in a quarter of the time that the pages take.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Shop:
    """What the pages of features are written with."""

    out: Output
    env: Templates
    press: Press
    book: Book
    turns: Turns
    sheets: Sheets
    small: PictureStore
    """Thumbnails that go into sheets."""


def write_features(
    out: Output, env: Templates, db: DuckDBPyConnection, book: Book, sheets: Sheets
) -> None:
    """Write every live feature's page, or its group's, its JSON record and its small pictures."""
    job = out.job
    turns = neighbors_in(list(book.live))
    sides = [sheets.icon_sides, sheets.thumbnail_sides]
    others = digest_json([job.settings.model_dump(mode="json"), job.digests.get("embed"), sides])
    keys = {}
    for block, key in digest_blocks(db, book, turns, others):
        part = out.take(_block_name(block), key)
        if part is None:
            keys[block] = key
        else:
            sheets.now |= part.said
            job.progress.advance(len(live_in(book, block)))
    wanted = images_on_features(db) if keys and in_sheets(job) else set()
    with thumbnails(job, wanted) as small:
        twice = len(sheets.thumbnail_sides) > 1
        press = Press(env, all_pages.frame_view(book), thumbnails_2x=twice)
        shop = Shop(out, env, press, book, turns, sheets, small)
        for blocks in runs(sorted(keys)):
            chapter = all_pages.read_chapter(
                db, blocks[0] * FEATURES_A_BLOCK, (blocks[-1] + 1) * FEATURES_A_BLOCK
            )
            for block in blocks:
                live = live_in(book, block)
                out.make(_block_name(block), keys[block], partial(write_block, shop, chapter, live))
                job.progress.advance(len(live))


def _block_name(block: int) -> str:
    return f"features/{block}"


def live_in(book: Book, block: int) -> list[int]:
    """Return the live features of a block, ascending."""
    first = block * FEATURES_A_BLOCK
    return [feature for feature in range(first, first + FEATURES_A_BLOCK) if feature in book.live]


def runs(blocks: Sequence[int]) -> Iterator[list[int]]:
    """Yield blocks that follow each other, at most BLOCKS_A_CHAPTER at a time."""
    held: list[int] = []
    for block in blocks:
        if held and (block != held[-1] + 1 or len(held) == BLOCKS_A_CHAPTER):
            yield held
            held = []
        held.append(block)
    if held:
        yield held


def write_block(shop: Shop, chapter: Chapter, live: Sequence[int]) -> dict[str, str]:
    """Write the files of one block.

    Returns:
        Key of each sheet that was written.
    """
    out, book = shop.out, shop.book
    written = write_thumbnail_sheets(shop, chapter, live)
    write_feature_pages(
        shop,
        [
            all_pages.feature_view(book, chapter, f, shop.turns[f], sheet_of(out.job, f))
            for f in live
        ],
    )
    records = {str(f): all_pages.feature_record(book, chapter, f) for f in live}
    out.put(links.feature_json(live[0]), json.dumps(records, separators=(",", ":")) + "\n")
    return written


def neighbors_in(ring: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
    """Return of each number the one before and the one after it; None at the ends."""
    around = [None, *ring, None]
    return {
        number: (before, after)
        for number, before, after in zip(ring, around, around[2:], strict=False)
    }


def write_feature_pages(shop: Shop, views: Sequence[dict[str, Any]]) -> None:
    """Write the pages of some features, all of every group that they are in."""
    if shop.book.layout == "pages":
        for view in views:
            shop.out.put(view["page"], shop.press.page(view))
        return
    for _, held in groupby(views, key=lambda view: view["feature"] // links.FEATURES_A_GROUP):
        group = list(held)
        frame = all_pages.group_view(shop.book, [view["feature"] for view in group])
        shop.out.put(frame["page"], render_group(shop.env, shop.press, frame, group))


def in_sheets(job: Job) -> bool:
    """Return whether pictures are joined."""
    joined: bool = job.settings.pictures == "sheets"
    return joined


def sheet_of(job: Job, feature: int) -> str:
    """Return the sheet of a feature's small pictures, or nothing where each is a file."""
    if not in_sheets(job):
        return ""
    return links.thumbnail_sheet(feature // links.features_a_sheet(job.settings.layout))


def images_on_features(db: DuckDBPyConnection) -> set[int]:
    """Return every image that a feature's page shows small."""
    rows = db.execute(f"SELECT image FROM ({ON_FEATURES}) ORDER BY image").fetchall()
    return {row[0] for row in rows}


def thumbnails(job: Job, wanted: set[int]) -> AbstractContextManager[PictureStore]:
    """Return the thumbnails of some images, by number."""
    return open_pictures(thumbnail_parts(job) if wanted else [], "image", wanted)


def thumbnail_parts(job: Job) -> list[Path]:
    """Return the tables of thumbnails."""
    return sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))


def write_thumbnail_sheets(shop: Shop, chapter: Chapter, live: Sequence[int]) -> dict[str, str]:
    """Write the sheets of some features, a row for each number, where pictures are joined.

    Returns:
        Address -> key of each.
    """
    job = shop.out.job
    written: dict[str, str] = {}
    if not in_sheets(job):
        return written
    a_sheet, columns = links.features_a_sheet(job.settings.layout), all_pages.PICTURES_A_ROW
    for sheet, held in groupby(live, key=lambda feature: feature // a_sheet):
        webps: list[bytes | None] = []
        for feature in held:
            webps += [None] * (feature % a_sheet * columns - len(webps))
            row = all_pages.row_of_images(shop.book, chapter, feature)
            webps += [None if image is None else shop.small[image] for image in row]
        if any(webps):
            name = links.thumbnail_sheet(sheet)
            written |= shop.sheets.write(name, webps, columns, shop.sheets.thumbnail_sides)
    return written


@dataclass
class Sheets:
    """Sheets as they are written; one is encoded anew only if a picture in it changed."""

    out: Output
    before: Mapping[str, str]
    """Address -> key, of the published site."""
    icon_sides: tuple[int, ...]
    """Side of an icon in its sheet, and in the second one if there is one."""
    thumbnail_sides: tuple[int, ...]
    now: dict[str, str] = field(default_factory=dict)

    def write(
        self, name: str, webps: Sequence[bytes | None], columns: int, sides: Sequence[int]
    ) -> dict[str, str]:
        """Write one sheet, and the second one beside it if there is a second side.

        Returns:
            Address -> key of each.
        """
        quality, written = self.out.job.settings.sheet_quality, {}
        for address, px in zip((name, links.twice(name)), sides, strict=False):
            key = written[address] = sheet_key(webps, columns, px, quality)
            old = self.out.before(address)
            same = self.before.get(address) == key and old.exists()
            self.out.put(
                address, old.read_bytes() if same else join_pictures(webps, columns, px, quality)
            )
        self.now |= written
        return written

    def close(self) -> None:
        """Keep the keys for the next build."""
        if self.now:
            self.out.put(SHEET_KEYS, json.dumps(self.now, indent=0, sort_keys=True) + "\n")


def open_sheets(out: Output, db: DuckDBPyConnection, book: Book) -> Sheets:
    """Return the sheets of a site, with the keys of the published ones; say which have no second one."""
    job, path = out.job, out.before(SHEET_KEYS)
    thumbnail_px = picture_side(thumbnail_parts(job))
    icon_px = icon_source_px(job, db, book, thumbnail_px)
    icon_sides = job.settings.icon_sides(icon_px)
    thumbnail_sides = job.settings.thumbnail_sides(thumbnail_px)
    if in_sheets(job):
        for line in job.settings.why_once(icon_px, thumbnail_px):
            job.progress.say(f"  {line}")
    before = read_json(path) if path.exists() else {}
    return Sheets(out, before, icon_sides, thumbnail_sides)


def icon_source_px(job: Job, db: DuckDBPyConnection, book: Book, thumbnail_px: int) -> int:
    """Return the side of the smallest pictures that stand for features: drawn ones, or thumbnails."""
    stand_ins = read_stand_ins(db)
    sides = {thumbnail_px for feature in book.icons if feature in stand_ins}
    if any(feature not in stand_ins for feature in book.icons):
        sides.add(picture_side([job.inputs["icons"] / "icons.parquet"]))
    return min(sides, default=0)


def read_stand_ins(db: DuckDBPyConnection) -> dict[int, int]:
    """Return the image that stands for each feature whose icon was not rendered."""
    query = "SELECT feature, image FROM icons WHERE image IS NOT NULL ORDER BY feature"
    return dict(db.execute(query).fetchall())


def icons_style(book: Book) -> str:
    """Return the style sheet that gives each cell the sheet of icons that it is part of."""
    sheets = [links.icon_sheet(n) for n in range(-(-len(book.order) // links.ICON_COLUMNS**2))]

    def rules(addresses: Sequence[str]) -> str:
        ways = [links.relative(links.ICONS_STYLE, address, book.media) for address in addresses]
        return "".join(
            f'.s{n}::before{{background-image:url("{way}")}}\n' for n, way in enumerate(ways)
        )

    if not book.icons_2x:
        return rules(sheets)
    dense = rules([links.twice(sheet) for sheet in sheets])
    return f"{rules(sheets)}@media (min-resolution:{DENSE}dppx){{\n{dense}}}\n"


def write_icon_sheets(db: DuckDBPyConnection, book: Book, sheets: Sheets) -> dict[str, str]:
    """Write the sheets of icons in the order of the map, an image where nothing was rendered.

    Returns:
        Address -> key of each.
    """
    job = sheets.out.job
    written: dict[str, str] = {}
    stand_ins = read_stand_ins(db)
    drawn = [job.inputs["icons"] / "icons.parquet"] if "icons" in job.inputs else []
    rendered = {feature for feature in book.icons if feature not in stand_ins}
    a_sheet = links.ICON_COLUMNS**2
    with (
        open_pictures(drawn, "feature", rendered) as icons,
        thumbnails(job, {stand_ins[f] for f in book.icons if f in stand_ins}) as small,
    ):
        for first in range(0, len(book.order), a_sheet):
            webps = [
                None
                if feature not in book.icons
                else small[stand_ins[feature]]
                if feature in stand_ins
                else icons[feature]
                for feature in book.order[first : first + a_sheet]
            ]
            name = links.icon_sheet(first // a_sheet)
            written |= sheets.write(name, webps, links.ICON_COLUMNS, sheets.icon_sides)
    return written


def write_rest(
    out: Output,
    env: Templates,
    db: DuckDBPyConnection,
    book: Book,
    own: Mapping[str, str] | None,
) -> None:
    """Write all pages but those of features, and what the scripts search.

    Args:
        out: Where to.
        env: The templates.
        db: The catalog.
        book: What every page may need.
        own: From write_hashes.
    """
    write_pictures(out, env, db, book)
    write_concepts(out, env, db, book)
    write_front(out, env, db, book, own)
    write_comparison(out, env, book)
    write_indexes(out, db, book)


def write_pictures(out: Output, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the page of every opened image, and the lists of them."""
    captions: dict[int, str] = {}
    examples = set(book.examples)
    for start in range(0, len(book.opened), IMAGES_AT_ONCE):
        opened = all_pages.read_opened(db, book.opened[start : start + IMAGES_AT_ONCE])
        for image in opened.values():
            captions[image.image] = image.caption
            example = (
                all_pages.read_example(db, book, image.image) if image.image in examples else None
            )
            write_page(out, env, "image", all_pages.image_view(book, image, example))
            out.job.progress.advance()
    for view in all_pages.pictures_views(book, captions):
        write_page(out, env, "pictures", view)


def write_concepts(out: Output, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the list and the page of every recurring concept."""
    write_page(out, env, "concepts", all_pages.concepts_view(db, book))
    for view in all_pages.concept_views(db, book):
        write_page(out, env, "concept", view)


def write_front(
    out: Output,
    env: Templates,
    db: DuckDBPyConnection,
    book: Book,
    own: Mapping[str, str] | None,
) -> None:
    """Write every page that there is one of, and the walls and word lists."""
    words = all_pages.words_views(book)
    letters = words[0]["letters"] if words else []
    chosen = rooms.find_rooms(db, book)
    if chosen["game"]:
        rounds = [a_round._asdict() for a_round in chosen["game"]["rounds"]]
        out.put(links.ROUNDS_SCRIPT, script("atlasRounds", rounds))
    front = [
        ("home", all_pages.home_view(book, chosen)),
        ("search", {**all_pages.search_view(book, letters), "own": own}),
        ("map", all_pages.map_view(book)),
        ("dead", all_pages.dead_view(book)),
        (
            "report",
            all_pages.report_view(book, all_pages.charts(db), all_pages.read_reliability(db)),
        ),
        ("data", all_pages.data_view(book)),
        ("about", all_pages.common(book, links.ABOUT, "About", "about")),
        ("404", all_pages.missing_view(book, out.job.settings.base_url)),
        *(("browse", view) for view in all_pages.browse_views(book)),
        *(("words", view) for view in words),
        *families.views(book, db),
    ]
    for template, view in front:
        write_page(out, env, template, view)


def write_hints(out: Output, book: Book) -> None:
    """Write what robots and hosts ask for: which pages there are, and where short links lead."""
    synthetic = book.facts["synthetic"] == "true"
    base = out.job.settings.base_url
    robots = f"User-agent: *\nDisallow:{' /' if synthetic else ''}\n"
    if base and not synthetic:
        robots += f"Sitemap: {base}/sitemap.xml\n"
        names = sorted(name for name, _ in list_sizes(out.job.out_dir) if name.endswith(".html"))
        addresses = [f"{base}/{name}" for name in names if name != links.NOT_FOUND]
        for name, text in sitemaps(base, addresses).items():
            out.put(name, text)
    out.put("robots.txt", robots)
    if out.job.settings.host.startswith("cloudflare"):
        out.put("_redirects", f"/f/* /{links.NOT_FOUND}?f=:splat 302\n")


def sitemaps(base: str, addresses: Sequence[str]) -> dict[str, str]:
    """Return the files that list addresses, by name: one, or an index of as many as are needed."""
    parts = [
        addresses[start : start + URLS_A_SITEMAP]
        for start in range(0, len(addresses), URLS_A_SITEMAP)
    ]
    lists = [sitemap_text("urlset", "url", part) for part in parts]
    if len(lists) == 1:
        return {"sitemap.xml": lists[0]}
    named = {links.sitemap(number): text for number, text in enumerate(lists, start=1)}
    index = sitemap_text("sitemapindex", "sitemap", [f"{base}/{name}" for name in named])
    return {**named, "sitemap.xml": index}


def sitemap_text(kind: str, item: str, addresses: Sequence[str]) -> str:
    """Return one file of the sitemap protocol."""
    held = "".join(f"<{item}><loc>{escape(address)}</loc></{item}>\n" for address in addresses)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{held}</{kind}>\n'
    )


def write_comparison(out: Output, env: Templates, book: Book) -> None:
    """Write the page beside another atlas, where the build has one."""
    if "compare" not in out.job.inputs:
        return
    compared = compare.read_compared(out.job.inputs["compare"])
    write_page(out, env, "compare", compare.compare_view(book, compared))
    for name, webp in compare.pictures(compared).items():
        out.put(name, webp)
    record = compare.pairs_record(book, compared)
    out.put(links.pairs_json(), json.dumps(record, separators=(",", ":")) + "\n")


def write_hashes(out: Output, db: DuckDBPyConnection) -> dict[str, str] | None:
    """Write the hashes of the pictures that the site shows; say how well one is found by them.

    Returns:
        What the search page says of it; None where the atlas has no thumbnails.
    """
    shown = dict(
        db.execute(
            f"""SELECT image, list(feature ORDER BY rank, feature)
                FROM {all_pages.distinct_tops("true")} JOIN features USING (feature)
                JOIN images USING (image)
                WHERE NOT features.sensitive AND NOT images.sensitive
                GROUP BY image ORDER BY image"""
        ).fetchall()
    )
    with thumbnails(out.job, set(shown)) as small:
        images = [image for image in shown if image in small]
        hashes = np.array([lookalikes.hash_webp(small[image]) for image in images], np.uint64)
        drawn = rooms.in_order(range(len(images)), "tried")[: lookalikes.MOST_JUDGED]
        judged = lookalikes.judge([small[images[i]] for i in drawn], hashes, drawn)
    table = lookalikes.picture_table(images, hashes, [shown[image] for image in images])
    out.put(links.PICTURES_SCRIPT, script("atlasPictures", table))
    if not images:
        return None
    return {
        "shown": f"{len(images):,}",
        "found": all_pages.percent(judged.found),
        "mistaken": all_pages.percent(judged.mistaken),
        "n": f"{judged.n:,}",
    }


def write_indexes(out: Output, db: DuckDBPyConnection, book: Book) -> None:
    """Write what the scripts search, and the JSON index."""
    labels = db.execute(
        f"""SELECT feature, label, {SURE} FROM labels JOIN features USING (feature)
           WHERE NOT sensitive ORDER BY feature, rank"""
    ).fetchall()
    texts = db.execute(
        f"""SELECT t.feature, concat_ws(' ', i.caption, array_to_string(i.tags, ' ')), t.activation
            FROM top_images t JOIN images i USING (image) JOIN features f USING (feature)
            WHERE t.rank < {all_pages.TOP_SHOWN} AND NOT i.sensitive AND NOT f.sensitive
            ORDER BY t.feature, t.rank"""
    ).fetchall()
    trips = dict(
        db.execute(
            "SELECT feature, percentile FROM icons WHERE source = 'rendered' ORDER BY feature"
        ).fetchall()
    )
    rows = [
        {
            "feature": f,
            "name": all_pages.name_of(book, f),
            "icon": icon_number(book, f),
            "density": float(f"{book.live[f].density:.3g}"),
            "max": float(f"{book.live[f].max:.3g}"),
            "selectivity": float(f"{book.live[f].selectivity:.3g}"),
            "trip": round(trips.get(f, -1.0), 3),
            "x": round(book.live[f].map_x, 4),
            "y": round(book.live[f].map_y, 4),
        }
        for f in book.order
    ]
    scripts = index_scripts(
        word_weights(labels, ((feature, all_pages.clean(text), a) for feature, text, a in texts)),
        meanings(out.job.inputs["catalog"] / "search"),
        rows=rows,
    )
    for prefix, text in scripts.items():
        out.put(links.search_script(file_name(prefix)), text)
    prefixes, regions = filter(None, scripts), families.regions(db)
    tables = table_scripts(rows, prefixes, regions, book.layout, icons_2x=book.icons_2x)
    for name, text in tables.items():
        out.put(name, text)
    index = {
        "id": book.facts["id"],
        "title": book.facts["title"],
        "note": book.facts["note"],
        "n_features": book.n_features,
        "n_alive": len(book.live),
        "features": "features/{feature // 64}.json",
        "schema": "schema.json",
        "provenance": dict(sorted(book.facts.items())),
        "metrics": [metric._asdict() for metric in book.metrics],
    }
    out.put(f"{links.API}/index.json", json.dumps(index, indent=1) + "\n")
    out.put(f"{links.API}/schema.json", json.dumps(SCHEMA, indent=1) + "\n")


def meanings(folder: Path) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield each word of the vocabulary, if there is one, with its nearest features and scores."""
    lists = read_lists(folder)
    if lists is None:
        return
    for row, word in enumerate(read_vocabulary(folder / "vocabulary").words):
        yield word, lists.above_end(row)


def icon_number(book: Book, feature: int) -> int:
    """Return what the scripts know of an icon: -3 in its sheet, -2 rendered, -1 none, else the image that stands in."""
    address = book.icons.get(feature, "")
    if not address:
        return -1
    if links.as_cell(address):
        return -3
    return -2 if address == links.icon(feature) else int(Path(address).stem)


def write_icons(out: Output, book: Book) -> None:
    """Copy the rendered icons of all features that may be shown."""
    if "icons" not in out.job.inputs:
        return
    for batch in pq.ParquetFile(out.job.inputs["icons"] / "icons.parquet").iter_batches(
        batch_size=1024, columns=["feature", "webp"]
    ):
        for feature, webp in zip(
            batch["feature"].to_pylist(), batch["webp"].to_pylist(), strict=True
        ):
            if book.icons.get(feature) == links.icon(feature):
                out.put(links.icon(feature), webp)


def write_strips(out: Output, book: Book) -> None:
    """Join the pictures of each strip side by side, so that a page asks for one file."""
    if "icons" not in out.job.inputs:
        return
    table = pq.read_table(out.job.inputs["icons"] / "strips.parquet", columns=["feature", "webp"])
    rows = zip(table["feature"].to_pylist(), table["webp"].to_pylist(), strict=True)
    for feature, held in groupby(rows, key=lambda row: row[0]):
        if feature in book.icons:
            out.put(links.strip(feature), side_by_side([w for _, w in held]))


def write_knobs(out: Output, book: Book) -> None:
    """Write the pictures of every example: its concepts' icons, knobs and what it was given."""
    if not (out.job.inputs["concepts"] / "knobs.parquet").exists():
        return
    examples = set(book.drawn)

    def rows(table: str) -> list[dict[str, Any]]:
        held: list[dict[str, Any]] = pq.read_table(
            out.job.inputs["concepts"] / f"{table}.parquet"
        ).to_pylist()
        return [row for row in held if row["image"] in examples]

    for row in rows("concept_icons"):
        out.put(links.concept_icon(row["image"], row["concept"]), row["webp"])
    for key, held in groupby(rows("knobs"), key=lambda row: (row["image"], row["concept"])):
        out.put(links.knob(*key), side_by_side([row["webp"] for row in held]))
    for row in rows("transfers"):
        if row["source"] in examples:
            out.put(links.transfer(row["image"], row["source"]), row["webp"])


def side_by_side(webps: list[bytes]) -> bytes:
    """Return pictures of one size as one wide WebP."""
    pictures = [Image.open(io.BytesIO(webp), formats=("WEBP",)) for webp in webps]
    width, height = pictures[0].size
    wide = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        wide.paste(picture, (i * width, 0))
    data = io.BytesIO()
    wide.save(data, "WEBP", quality=STRIP_QUALITY, method=4)
    return data.getvalue()


def named_at_home(job: Job) -> set[int]:
    """Return the images that the home page and its scripts show as files of their own."""
    paths = (job.out_dir / name for name in (links.HOME, *HOME_SCRIPTS))
    texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
    return {int(image) for text in texts for image in re.findall(r"thumb/\d+/(\d+)\.webp", text)}


def write_thumbnails(out: Output, db: DuckDBPyConnection, book: Book) -> None:
    """Copy the thumbnails that pages show, and no other; none of a sensitive image."""
    shown = """
        SELECT image FROM decompositions
        UNION SELECT image FROM recurring_images
        UNION SELECT other_image FROM concept_neighbors
        UNION SELECT w.image FROM where_maps w JOIN features USING (feature) WHERE NOT sensitive"""
    if not in_sheets(out.job):
        shown = f"{ON_FEATURES} UNION {shown}"
    rows = db.execute(
        f"SELECT image FROM ({shown}) JOIN images USING (image) WHERE NOT sensitive ORDER BY image"
    ).fetchall()
    stand_ins = {icon_number(book, feature) for feature in book.icons} - {-1, -2, -3}
    wanted = {row[0] for row in rows} | stand_ins | named_at_home(out.job)
    out.job.progress.start("pictures", total=len(wanted), unit="files")
    for part in thumbnail_parts(out.job):
        for batch in pq.ParquetFile(part).iter_batches(batch_size=4096):
            for image, webp in zip(
                batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True
            ):
                if image in wanted:
                    out.put(links.thumbnail(image), webp)
                    out.job.progress.advance()
    out.job.progress.stop()
