"""The site stage: the catalog as pages that anyone can read, with and without scripts."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from atlas import compare_page, family_pages, links, lookalikes, pages, rooms
from atlas.check import check_host, check_site, list_sizes
from atlas.files import read_json, write_or_link
from atlas.hosts import URLS_A_SITEMAP
from atlas.meanings import read_lists
from atlas.pages import Book, Chapter
from atlas.paths import DATABASE, template_root
from atlas.records import SURE, TABLES
from atlas.render import Press, Templates, open_templates, render, render_group
from atlas.search_index import features_script, index_scripts, script, word_weights
from atlas.sheets import Shelf, join, sheet_key, shelf
from atlas.stage import Job
from atlas.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEATURES_A_CHAPTER = 64 * 16
"""A multiple of 64, so that no JSON file is cut in two."""
IMAGES_AT_ONCE = 1000
STRIP_QUALITY = 85
ASSETS = (
    *("site.css", "mark.svg", "site.js", "search.js", "picture.js", "browse.js", "map.js"),
    "game.js",
    "go.js",
)
FONTS = ("inter.woff2", "newsreader.woff2", "inter-OFL.txt", "newsreader-OFL.txt")
SHEET_KEYS = "sheet/keys.json"
"""Digest of what each sheet was made of, for the next build."""
HOME_SCRIPTS = ("assets/rounds.js",)
ON_FEATURES = f"""
    SELECT image FROM {pages.distinct_tops("true")} JOIN features USING (feature)
    WHERE NOT sensitive
    UNION SELECT image FROM quantile_images JOIN features USING (feature)
    WHERE rank = 0 AND NOT sensitive
    UNION SELECT image FROM near_misses JOIN features USING (feature)
    WHERE rank < {pages.NEAR_SHOWN} AND NOT sensitive"""
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

    env = open_templates()
    catalog = job.inputs["catalog"]
    with duckdb.connect(str(catalog / DATABASE), read_only=True) as db:
        book = pages.read_book(db, job.settings)
        write_assets(job)
        job.progress.start("site", total=len(book.live) + len(book.opened), unit="pages")
        sheets = open_sheets(job)
        write_features(env, db, book, sheets)
        write_pictures(job, env, db, book)
        write_concepts(job, env, db, book)
        write_front(job, env, db, book)
        write_comparison(job, env, book)
        write_hints(job, book)
        write_indexes(job, db, book)
        job.progress.stop()
        write_thumbnails(job, db, book)
        if in_sheets(job):
            write_icon_sheets(job, db, book, sheets)
        else:
            write_icons(job, book)
        sheets.close()
        write_strips(job, book)
        write_knobs(job, book)
    for table in TABLES:
        put(
            job,
            links.parquet_file(table.name),
            (catalog / "parquet" / f"{table.name}.parquet").read_bytes(),
        )
    checked = check_site(job.out_dir)
    check_host(checked.tally, job.settings.host)
    job.progress.say(f"  {checked.summary()}")


def put(job: Job, name: str, data: str | bytes) -> None:
    """Write one file of the site; what the published one holds already keeps its time."""
    raw = data.encode("utf-8") if isinstance(data, str) else data
    write_or_link(job.out_dir / name, job.published_dir / name, raw)


def write_page(job: Job, env: Templates, template: str, view: dict[str, Any]) -> None:
    """Write one page to its address."""
    put(job, view["page"], render(env, template, view))


def write_assets(job: Job) -> None:
    """Copy style, scripts and fonts."""
    root = template_root()
    for name in ASSETS:
        put(job, f"assets/{name}", (root / name).read_bytes())
    for name in FONTS:
        put(job, f"assets/fonts/{name}", (root / "fonts" / name).read_bytes())


def chapters(db: DuckDBPyConnection, book: Book) -> Iterator[tuple[list[int], Chapter]]:
    """Yield the live features, some at a time, with the rows of their pages."""
    for first in range(0, book.n_features, FEATURES_A_CHAPTER):
        last = first + FEATURES_A_CHAPTER
        live = [f for f in range(first, min(last, book.n_features)) if f in book.live]
        if live:
            yield live, pages.read_chapter(db, first, last)


def write_features(env: Templates, db: DuckDBPyConnection, book: Book, sheets: Sheets) -> None:
    """Write every live feature's page, or its group's, its JSON record and its small pictures."""
    job = sheets.job
    press = Press(env, pages.frame_view(book))
    turns = neighbors_in(list(book.live))
    with thumbnails(job, images_on_features(db) if in_sheets(job) else set()) as small:
        for live, chapter in chapters(db, book):
            write_thumbnail_sheets(sheets, book, chapter, live, small)
            views = [pages.feature_view(book, chapter, f, turns[f], sheet_of(job, f)) for f in live]
            write_feature_pages(job, env, press, book, views)
            records: dict[str, dict[str, Any]] = {}
            for feature in live:
                file = records.setdefault(links.feature_json(feature), {})
                file[str(feature)] = pages.feature_record(book, chapter, feature)
                job.progress.advance()
            for path, held in records.items():
                put(job, path, json.dumps(held, separators=(",", ":")) + "\n")


def neighbors_in(ring: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
    """Return of each number the one before and the one after it; None at the ends."""
    around = [None, *ring, None]
    return {
        number: (before, after)
        for number, before, after in zip(ring, around, around[2:], strict=False)
    }


def write_feature_pages(
    job: Job, env: Templates, press: Press, book: Book, views: Sequence[dict[str, Any]]
) -> None:
    """Write the pages of some features, all of every group that they are in."""
    if book.layout == "pages":
        for view in views:
            put(job, view["page"], press.page(view))
        return
    for _, held in groupby(views, key=lambda view: view["feature"] // links.FEATURES_A_GROUP):
        group = list(held)
        frame = pages.group_view(book, [view["feature"] for view in group])
        put(job, frame["page"], render_group(env, press, frame, group))


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


def thumbnails(job: Job, wanted: set[int]) -> AbstractContextManager[Shelf]:
    """Return the thumbnails of some images, by number."""
    parts = sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))
    return shelf(parts if wanted else [], "image", wanted)


def write_thumbnail_sheets(
    sheets: Sheets, book: Book, chapter: Chapter, live: Sequence[int], small: Shelf
) -> None:
    """Write the sheets of some features, a row for each number, where pictures are joined."""
    job = sheets.job
    if not in_sheets(job):
        return
    a_sheet, columns = links.features_a_sheet(job.settings.layout), pages.PICTURES_A_ROW
    for sheet, held in groupby(live, key=lambda feature: feature // a_sheet):
        webps: list[bytes | None] = []
        for feature in held:
            webps += [None] * (feature % a_sheet * columns - len(webps))
            row = pages.row_of_images(book, chapter, feature)
            webps += [None if image is None else small[image] for image in row]
        if any(webps):
            px = job.settings.thumbnail_px
            sheets.write(links.thumbnail_sheet(sheet), webps, columns, px)


@dataclass
class Sheets:
    """Sheets as they are written; one is encoded anew only if a picture in it changed."""

    job: Job
    before: Mapping[str, str]
    """Address -> key, of the published site."""
    now: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, webps: Sequence[bytes | None], columns: int, px: int) -> None:
        """Write one sheet."""
        quality = self.job.settings.sheet_quality
        self.now[name] = sheet_key(webps, columns, px, quality)
        old = self.job.published_dir / name
        if self.before.get(name) == self.now[name] and old.exists():
            put(self.job, name, old.read_bytes())
        else:
            put(self.job, name, join(webps, columns, px, quality))

    def close(self) -> None:
        """Keep the keys for the next build."""
        if self.now:
            put(self.job, SHEET_KEYS, json.dumps(self.now, indent=0, sort_keys=True) + "\n")


def open_sheets(job: Job) -> Sheets:
    """Return the sheets of a site, with the keys of the published ones."""
    path = job.published_dir / SHEET_KEYS
    return Sheets(job, read_json(path) if path.exists() else {})


def write_icon_sheets(job: Job, db: DuckDBPyConnection, book: Book, sheets: Sheets) -> None:
    """Write the sheets of icons in the order of the map, an image where nothing was rendered."""
    stand_ins = dict(
        db.execute(
            "SELECT feature, image FROM icons WHERE image IS NOT NULL ORDER BY feature"
        ).fetchall()
    )
    drawn = [job.inputs["icons"] / "icons.parquet"] if "icons" in job.inputs else []
    rendered = {feature for feature in book.icons if feature not in stand_ins}
    a_sheet = links.ICON_COLUMNS**2
    with (
        shelf(drawn, "feature", rendered) as icons,
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
            sheets.write(name, webps, links.ICON_COLUMNS, job.settings.icon_px)


def write_pictures(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the page of every opened image, and the lists of them."""
    captions: dict[int, str] = {}
    examples = set(book.examples)
    for start in range(0, len(book.opened), IMAGES_AT_ONCE):
        opened = pages.read_opened(db, book.opened[start : start + IMAGES_AT_ONCE])
        for image in opened.values():
            captions[image.image] = image.caption
            example = pages.read_example(db, book, image.image) if image.image in examples else None
            write_page(job, env, "image", pages.image_view(book, image, example))
            job.progress.advance()
    for view in pages.pictures_views(book, captions):
        write_page(job, env, "pictures", view)


def write_concepts(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the list and the page of every recurring concept."""
    write_page(job, env, "concepts", pages.concepts_view(db, book))
    for view in pages.concept_views(db, book):
        write_page(job, env, "concept", view)


def write_front(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write every page that there is one of, and the walls and word lists."""
    words = pages.words_views(book)
    letters = words[0]["letters"] if words else []
    chosen = rooms.find_rooms(db, book)
    if chosen["game"]:
        rounds = [a_round._asdict() for a_round in chosen["game"]["rounds"]]
        put(job, links.ROUNDS_SCRIPT, script("atlasRounds", rounds))
    front = [
        ("home", pages.home_view(book, chosen)),
        ("search", {**pages.search_view(book, letters), "own": write_hashes(job, db)}),
        ("map", pages.map_view(book)),
        ("dead", pages.dead_view(book)),
        ("report", pages.report_view(book, pages.charts(db), pages.read_reliability(db))),
        ("data", pages.data_view(book)),
        ("about", pages.common(book, links.ABOUT, "About", "about")),
        ("404", pages.missing_view(book, job.settings.base_url)),
        *(("browse", view) for view in pages.browse_views(book)),
        *(("words", view) for view in words),
        *family_pages.views(book, db),
    ]
    for template, view in front:
        write_page(job, env, template, view)


def write_hints(job: Job, book: Book) -> None:
    """Write what robots and hosts ask for: which pages there are, and where short links lead."""
    synthetic = book.facts["synthetic"] == "true"
    base = job.settings.base_url
    robots = f"User-agent: *\nDisallow:{' /' if synthetic else ''}\n"
    if base and not synthetic:
        robots += f"Sitemap: {base}/sitemap.xml\n"
        names = sorted(name for name, _ in list_sizes(job.out_dir) if name.endswith(".html"))
        addresses = [f"{base}/{name}" for name in names if name != links.NOT_FOUND]
        for name, text in sitemaps(base, addresses).items():
            put(job, name, text)
    put(job, "robots.txt", robots)
    if job.settings.host.startswith("cloudflare"):
        put(job, "_redirects", f"/f/* /{links.NOT_FOUND}?f=:splat 302\n")


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


def write_comparison(job: Job, env: Templates, book: Book) -> None:
    """Write the page beside another atlas, where the build has one."""
    if "compare" not in job.inputs:
        return
    compared = compare_page.read_compared(job.inputs["compare"])
    write_page(job, env, "compare", compare_page.compare_view(book, compared))
    for name, webp in compare_page.pictures(compared).items():
        put(job, name, webp)
    record = compare_page.pairs_record(book, compared)
    put(job, links.pairs_json(), json.dumps(record, separators=(",", ":")) + "\n")


def write_hashes(job: Job, db: DuckDBPyConnection) -> dict[str, str] | None:
    """Write the hashes of the pictures that the site shows; say how well one is found by them.

    Returns:
        What the search page says of it; None where the atlas has no thumbnails.
    """
    shown = dict(
        db.execute(
            f"""SELECT image, list(feature ORDER BY rank, feature)
                FROM {pages.distinct_tops("true")} JOIN features USING (feature)
                JOIN images USING (image)
                WHERE NOT features.sensitive AND NOT images.sensitive
                GROUP BY image ORDER BY image"""
        ).fetchall()
    )
    with thumbnails(job, set(shown)) as small:
        images = [image for image in shown if image in small]
        hashes = np.array([lookalikes.hash_webp(small[image]) for image in images], np.uint64)
        drawn = rooms.in_order(range(len(images)), "tried")[: lookalikes.MOST_JUDGED]
        judged = lookalikes.judge([small[images[i]] for i in drawn], hashes, drawn)
    table = lookalikes.picture_table(images, hashes, [shown[image] for image in images])
    put(job, links.PICTURES_SCRIPT, script("atlasPictures", table))
    if not images:
        return None
    return {
        "shown": f"{len(images):,}",
        "found": pages.percent(judged.found),
        "mistaken": pages.percent(judged.mistaken),
        "n": f"{judged.n:,}",
    }


def write_indexes(job: Job, db: DuckDBPyConnection, book: Book) -> None:
    """Write what the scripts search, and the JSON index."""
    labels = db.execute(
        f"""SELECT feature, label, {SURE} FROM labels JOIN features USING (feature)
           WHERE NOT sensitive ORDER BY feature, rank"""
    ).fetchall()
    texts = db.execute(
        f"""SELECT t.feature, concat_ws(' ', i.caption, array_to_string(i.tags, ' ')), t.activation
            FROM top_images t JOIN images i USING (image) JOIN features f USING (feature)
            WHERE t.rank < {pages.TOP_SHOWN} AND NOT i.sensitive AND NOT f.sensitive
            ORDER BY t.feature, t.rank"""
    ).fetchall()
    scripts = index_scripts(
        word_weights(labels, ((feature, pages.clean(text), a) for feature, text, a in texts)),
        meanings(job.inputs["catalog"] / "search"),
    )
    for prefix, text in scripts.items():
        put(job, links.search_script(prefix), text)
    trips = dict(
        db.execute(
            "SELECT feature, percentile FROM icons WHERE source = 'rendered' ORDER BY feature"
        ).fetchall()
    )
    rows = [
        {
            "feature": f,
            "name": pages.name_of(book, f),
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
    put(
        job,
        links.FEATURES_SCRIPT,
        features_script(rows, scripts, family_pages.regions(db), book.layout),
    )
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
    put(job, f"{links.API}/index.json", json.dumps(index, indent=1) + "\n")
    put(job, f"{links.API}/schema.json", json.dumps(SCHEMA, indent=1) + "\n")


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


def write_icons(job: Job, book: Book) -> None:
    """Copy the rendered icons of all features that may be shown."""
    if "icons" not in job.inputs:
        return
    for batch in pq.ParquetFile(job.inputs["icons"] / "icons.parquet").iter_batches(
        batch_size=1024, columns=["feature", "webp"]
    ):
        for feature, webp in zip(
            batch["feature"].to_pylist(), batch["webp"].to_pylist(), strict=True
        ):
            if book.icons.get(feature) == links.icon(feature):
                put(job, links.icon(feature), webp)


def write_strips(job: Job, book: Book) -> None:
    """Join the pictures of each strip side by side, so that a page asks for one file."""
    if "icons" not in job.inputs:
        return
    table = pq.read_table(job.inputs["icons"] / "strips.parquet", columns=["feature", "webp"])
    rows = zip(table["feature"].to_pylist(), table["webp"].to_pylist(), strict=True)
    for feature, held in groupby(rows, key=lambda row: row[0]):
        if feature in book.icons:
            put(job, links.strip(feature), side_by_side([w for _, w in held]))


def write_knobs(job: Job, book: Book) -> None:
    """Write the pictures of every example: its concepts' icons, knobs and what it was given."""
    if not (job.inputs["concepts"] / "knobs.parquet").exists():
        return
    examples = set(book.drawn)

    def rows(table: str) -> list[dict[str, Any]]:
        held: list[dict[str, Any]] = pq.read_table(
            job.inputs["concepts"] / f"{table}.parquet"
        ).to_pylist()
        return [row for row in held if row["image"] in examples]

    for row in rows("concept_icons"):
        put(job, links.concept_icon(row["image"], row["concept"]), row["webp"])
    for key, held in groupby(rows("knobs"), key=lambda row: (row["image"], row["concept"])):
        put(job, links.knob(*key), side_by_side([row["webp"] for row in held]))
    for row in rows("transfers"):
        if row["source"] in examples:
            put(job, links.transfer(row["image"], row["source"]), row["webp"])


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


def write_thumbnails(job: Job, db: DuckDBPyConnection, book: Book) -> None:
    """Copy the thumbnails that pages show, and no other; none of a sensitive image."""
    shown = """
        SELECT image FROM decompositions
        UNION SELECT image FROM recurring_images
        UNION SELECT other_image FROM concept_neighbors
        UNION SELECT w.image FROM where_maps w JOIN features USING (feature) WHERE NOT sensitive"""
    if not in_sheets(job):
        shown = f"{ON_FEATURES} UNION {shown}"
    rows = db.execute(
        f"SELECT image FROM ({shown}) JOIN images USING (image) WHERE NOT sensitive ORDER BY image"
    ).fetchall()
    stand_ins = {icon_number(book, feature) for feature in book.icons} - {-1, -2, -3}
    wanted = {row[0] for row in rows} | stand_ins | named_at_home(job)
    parts = sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))
    job.progress.start("pictures", total=len(wanted), unit="files")
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(batch_size=4096):
            for image, webp in zip(
                batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True
            ):
                if image in wanted:
                    put(job, links.thumbnail(image), webp)
                    job.progress.advance()
    job.progress.stop()
