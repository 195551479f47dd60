"""The site stage: the catalog as pages that anyone can read, with and without scripts."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from PIL import Image

from atlas import family_pages, links, pages, rooms
from atlas.check import check_site
from atlas.files import write_bytes, write_text
from atlas.pages import Book, Chapter
from atlas.paths import DATABASE, template_root
from atlas.records import SURE, TABLES
from atlas.render import Templates, open_templates, render
from atlas.search_index import features_script, index_scripts, script, word_weights
from atlas.stage import Job

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEATURES_A_CHAPTER = 64 * 16
"""A multiple of 64, so that no JSON file is cut in two."""
IMAGES_AT_ONCE = 1000
STRIP_QUALITY = 85
ASSETS = ("site.css", "mark.svg", "site.js", "search.js", "browse.js", "map.js", "game.js")
FONTS = ("inter.woff2", "newsreader.woff2", "inter-OFL.txt", "newsreader-OFL.txt")
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
            "top_images": {"type": "array", "items": {"type": "object"}},
            "quantile_images": {"type": "array", "items": {"type": "object"}},
            "near_misses": {"type": "array", "items": {"type": "object"}},
            "round_trip": {"type": ["object", "null"]},
            "side_effects": {"type": "array", "items": {"type": "object"}},
            "strip": {"type": "array", "items": {"type": "object"}},
            "neighbors": {"type": "array", "items": {"type": "object"}},
            "coactivations": {"type": "array", "items": {"type": "object"}},
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
        book = pages.read_book(db)
        write_assets(job.out_dir)
        job.progress.start("site", total=len(book.live) + len(book.opened), unit="pages")
        write_features(job, env, db, book)
        write_pictures(job, env, db, book)
        write_concepts(job, env, db, book)
        write_front(job, env, db, book)
        write_indexes(job.out_dir, db, book)
        job.progress.stop()
        write_thumbnails(job, db, book)
        write_icons(job, book)
        write_strips(job, book)
        write_knobs(job, book)
    for table in TABLES:
        target = job.out_dir / links.parquet_file(table.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(catalog / "parquet" / f"{table.name}.parquet", target)
    job.progress.say(f"  {check_site(job.out_dir).summary()}")


def write_page(out_dir: Path, env: Templates, template: str, view: dict[str, Any]) -> None:
    """Write one page to its address."""
    write_text(out_dir / view["page"], render(env, template, view))


def write_assets(out_dir: Path) -> None:
    """Copy style, scripts and fonts."""
    root = template_root()
    for name in ASSETS:
        write_bytes(out_dir / "assets" / name, (root / name).read_bytes())
    for name in FONTS:
        write_bytes(out_dir / "assets" / "fonts" / name, (root / "fonts" / name).read_bytes())


def chapters(db: DuckDBPyConnection, book: Book) -> Iterator[tuple[list[int], Chapter]]:
    """Yield the live features, some at a time, with the rows of their pages."""
    for first in range(0, book.n_features, FEATURES_A_CHAPTER):
        last = first + FEATURES_A_CHAPTER
        live = [f for f in range(first, min(last, book.n_features)) if f in book.live]
        if live:
            yield live, pages.read_chapter(db, first, last)


def write_features(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write a page and a JSON record for every live feature."""
    ring = list(book.live)
    for live, chapter in chapters(db, book):
        records: dict[str, dict[str, Any]] = {}
        for feature in live:
            view = pages.feature_view(book, chapter, feature, ring)
            write_page(job.out_dir, env, "feature", view)
            file = records.setdefault(links.feature_json(feature), {})
            file[str(feature)] = pages.feature_record(book, chapter, feature)
            job.progress.advance()
        for path, held in records.items():
            write_text(job.out_dir / path, json.dumps(held, separators=(",", ":")) + "\n")


def write_pictures(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the page of every opened image, and the lists of them."""
    captions: dict[int, str] = {}
    examples = set(book.examples)
    for start in range(0, len(book.opened), IMAGES_AT_ONCE):
        opened = pages.read_opened(db, book.opened[start : start + IMAGES_AT_ONCE])
        for image in opened.values():
            captions[image.image] = image.caption
            example = pages.read_example(db, book, image.image) if image.image in examples else None
            write_page(job.out_dir, env, "image", pages.image_view(book, image, example))
            job.progress.advance()
    for view in pages.pictures_views(book, captions):
        write_page(job.out_dir, env, "pictures", view)


def write_concepts(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the list and the page of every recurring concept."""
    write_page(job.out_dir, env, "concepts", pages.concepts_view(db, book))
    for view in pages.concept_views(db, book):
        write_page(job.out_dir, env, "concept", view)


def write_front(job: Job, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write every page that there is one of, and the walls and word lists."""
    words = pages.words_views(book)
    letters = words[0]["letters"] if words else []
    chosen = rooms.find_rooms(db, book)
    if chosen["game"]:
        rounds = [a_round._asdict() for a_round in chosen["game"]["rounds"]]
        write_text(job.out_dir / links.ROUNDS_SCRIPT, script("atlasRounds", rounds))
    front = [
        ("home", pages.home_view(book, chosen)),
        ("search", pages.search_view(book, letters)),
        ("map", pages.map_view(book)),
        ("dead", pages.dead_view(book)),
        ("report", pages.report_view(book, pages.charts(db), pages.read_reliability(db))),
        ("data", {**pages.common(book, links.DATA, "Data", "data"), "tables": TABLES}),
        ("about", pages.common(book, links.ABOUT, "About", "about")),
        ("404", pages.common(book, links.NOT_FOUND, "Not found")),
        *(("browse", view) for view in pages.browse_views(book)),
        *(("words", view) for view in words),
        *family_pages.views(book, db),
    ]
    for template, view in front:
        write_page(job.out_dir, env, template, view)
    synthetic = book.facts["synthetic"] == "true"
    write_text(job.out_dir / "robots.txt", f"User-agent: *\nDisallow:{' /' if synthetic else ''}\n")


def write_indexes(out_dir: Path, db: DuckDBPyConnection, book: Book) -> None:
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
        word_weights(labels, ((feature, pages.clean(text), a) for feature, text, a in texts))
    )
    for prefix, text in scripts.items():
        write_text(out_dir / links.search_script(prefix), text)
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
    write_text(
        out_dir / links.FEATURES_SCRIPT, features_script(rows, scripts, family_pages.regions(db))
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
    write_text(out_dir / links.API / "index.json", json.dumps(index, indent=1) + "\n")
    write_text(out_dir / links.API / "schema.json", json.dumps(SCHEMA, indent=1) + "\n")


def icon_number(book: Book, feature: int) -> int:
    """Return what the scripts know of an icon: -2 rendered, -1 none, else the image that stands in."""
    address = book.icons.get(feature, "")
    if not address:
        return -1
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
                write_bytes(job.out_dir / links.icon(feature), webp)


def write_strips(job: Job, book: Book) -> None:
    """Join the pictures of each strip side by side, so that a page asks for one file."""
    if "icons" not in job.inputs:
        return
    table = pq.read_table(job.inputs["icons"] / "strips.parquet", columns=["feature", "webp"])
    rows = zip(table["feature"].to_pylist(), table["webp"].to_pylist(), strict=True)
    for feature, held in groupby(rows, key=lambda row: row[0]):
        if book.icons.get(feature) == links.icon(feature):
            write_bytes(job.out_dir / links.strip(feature), side_by_side([w for _, w in held]))


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
        write_bytes(job.out_dir / links.concept_icon(row["image"], row["concept"]), row["webp"])
    for key, held in groupby(rows("knobs"), key=lambda row: (row["image"], row["concept"])):
        write_bytes(job.out_dir / links.knob(*key), side_by_side([row["webp"] for row in held]))
    for row in rows("transfers"):
        if row["source"] in examples:
            write_bytes(job.out_dir / links.transfer(row["image"], row["source"]), row["webp"])


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


def write_thumbnails(job: Job, db: DuckDBPyConnection, book: Book) -> None:
    """Copy the thumbnails that pages show, and no other; none of a sensitive image."""
    shown = f"""
        SELECT image FROM top_images JOIN features USING (feature) WHERE rank < {pages.TOP_SHOWN} AND NOT sensitive
        UNION SELECT image FROM quantile_images JOIN features USING (feature) WHERE rank = 0 AND NOT sensitive
        UNION SELECT image FROM near_misses JOIN features USING (feature) WHERE rank < {pages.NEAR_SHOWN} AND NOT sensitive
        UNION SELECT image FROM decompositions
        UNION SELECT image FROM recurring_images
        UNION SELECT other_image FROM concept_neighbors"""
    rows = db.execute(
        f"SELECT image FROM ({shown}) JOIN images USING (image) WHERE NOT sensitive ORDER BY image"
    ).fetchall()
    stand_ins = {icon_number(book, feature) for feature in book.icons} - {-1, -2}
    wanted = {row[0] for row in rows} | stand_ins
    parts = sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))
    job.progress.start("pictures", total=len(wanted), unit="files")
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(batch_size=4096):
            for image, webp in zip(
                batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True
            ):
                if image in wanted:
                    write_bytes(job.out_dir / links.thumbnail(image), webp)
                    job.progress.advance()
    job.progress.stop()
