"""The site stage: the catalog as static pages, which work with and without scripts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from atlas.base.files import digest_file, digest_json
from atlas.run.stage import Job
from atlas.settings.paths import DATABASE
from atlas.site import links
from atlas.site.assets import write_assets
from atlas.site.book import read_book
from atlas.site.check import check_host, check_site
from atlas.site.feature_pages import write_features
from atlas.site.host_files import write_host_files
from atlas.site.indexes import write_hashes
from atlas.site.map_sheets import write_map_sheets
from atlas.site.other_pages import write_other_pages
from atlas.site.output import Output
from atlas.site.pages.home import home_wall
from atlas.site.picture_files import write_icons, write_knobs, write_strips, write_thumbnails
from atlas.site.picture_sheets import (
    icons_style,
    in_sheets,
    open_sheets,
    thumbnail_parts,
    write_card,
    write_icon_sheets,
)
from atlas.site.render import open_templates
from atlas.site.tables import write_tables
from atlas.site.withheld import (
    check_catalog,
    check_withheld,
    read_withheld,
    refuse_look_alikes,
    words_of,
    write_takedown,
)

HASH_TABLES = ("top_images", "features", "images")
"""Tables that decide which pictures are hashed."""
ICON_TABLES = ("icons", "features", "images")
"""Tables that decide what the sheets of icons show."""


def run(job: Job) -> None:
    """Write the site and check it.

    Raises:
        SiteError: The finished site does not pass its check, or exceeds its host's limits.
    """
    import duckdb

    out, catalog = Output(job), job.inputs["catalog"]
    with duckdb.connect(str(catalog / DATABASE), read_only=True) as db:
        if "takedown" in job.inputs:
            parts = [path for path in thumbnail_parts(job) if path in job.files.get("fetched", ())]
            refuse_look_alikes(db, parts, job.inputs["takedown"])
        book = read_book(db, job.settings, thumbnail_parts(job))
        sheets = open_sheets(out, db, book)
        book = replace(
            book,
            icons_2x=len(sheets.icon_sides) > 1,
            thumbnails_2x=len(sheets.thumbnail_sides) > 1,
            icon_px=sheets.icon_px,
            thumbnail_px=sheets.thumbnail_px,
        )
        env = open_templates(icons_2x=book.icons_2x)
        write_assets(out)
        job.progress.start("site", total=len(book.live) + len(book.decomposed), unit="pages")
        write_features(out, db, book, sheets)
        lookup = out.make("hashes", _digest(job, *HASH_TABLES), partial(write_hashes, out, db))
        inputs = digest_json([job.settings.model_dump(mode="json"), dict(job.digests)])
        out.make("front", inputs, partial(write_other_pages, out, env, db, book, lookup))
        write_host_files(out, book)
        job.progress.stop()
        write_thumbnails(out, db, book)
        if in_sheets(job):
            icons = partial(write_icon_sheets, db, book, sheets)
            sheets.now |= out.make("icons", _digest(job, *ICON_TABLES), icons)
        else:
            write_icons(out, book)
        tiles = partial(write_map_sheets, db, book, sheets)
        sheets.now |= out.make("map", _digest(job, *ICON_TABLES), tiles)
        out.put(links.ICONS_STYLE, icons_style(book))
        if book.base_url:
            write_card(db, book, sheets, home_wall(book))
        sheets.close()
        write_strips(out, book)
        write_knobs(out, book)
        write_tables(out, db)
        write_takedown(out)
        withheld = read_withheld(
            db, job.inputs["embed"], job.inputs.get("takedown"), words_of(catalog)
        )
        check_catalog(catalog, db, withheld)
    checked = check_site(job.out_dir, job.published_dir if out.same_program else None)
    check_withheld(job.out_dir, withheld, thumbnail_parts(job))
    check_host(checked.tally, job.settings.host)
    out.close()
    job.progress.say(f"  {checked.summary()}")


def _digest(job: Job, *tables: str) -> str:
    """Return a digest of what pictures are made from, and of the tables that choose them."""
    paths = [job.inputs["catalog"] / "parquet" / f"{name}.parquet" for name in tables]
    inputs = [job.digests.get(name) for name in ("embed", "icons", "fetched")]
    settings = job.settings.model_dump(mode="json")
    return digest_json([settings, inputs, [digest_file(path) for path in paths]])
