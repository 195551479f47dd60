"""Feature pages, with their JSON records and sheets of thumbnails, written a block at a time.

Worker processes read the rows of some blocks and render them; this process writes the files.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.files import digest_json
from atlas.base.picture_store import PictureStore
from atlas.run.engines import cores
from atlas.run.stage import Job
from atlas.run.workers import in_workers
from atlas.settings.paths import DATABASE
from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import Chapter, read_chapter
from atlas.site.output import Output
from atlas.site.pages.feature import (
    PICTURES_A_ROW,
    feature_view,
    frame_view,
    group_view,
    oembed_record,
    row_of_images,
)
from atlas.site.pages.record import feature_record
from atlas.site.picture_sheets import Sheets, images_on_features, in_sheets, sheet_of, thumbnails
from atlas.site.rebuild import FEATURES_A_BLOCK, Adjacent, digest_blocks
from atlas.site.render import Templates, open_templates, render_feature, render_group
from atlas.site.shown import safe_urls

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BLOCKS_A_CHAPTER = 16
"""Blocks whose rows are read together."""
WORTH_WORKERS = 2
"""Chapters from which on worker processes are worth their start-up time, about two seconds."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector.

    Rows and pages of features form no reference cycles, and the collector would traverse them
    again and again, which takes a quarter of the time that the pages take.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Renderer:
    """What a process renders feature pages with."""

    db: DuckDBPyConnection
    env: Templates
    book: Book
    adjacent: Adjacent


@dataclass(frozen=True, slots=True)
class RenderedBlock:
    """The pages and records of one block, not yet written."""

    files: dict[str, str]
    """Address -> text."""
    rows: dict[int, list[int | None]]
    """Live feature -> the images of its row in a sheet; empty where pictures are separate files."""


def write_features(out: Output, db: DuckDBPyConnection, book: Book, sheets: Sheets) -> None:
    """Write the page of each live feature or group, JSON records and sheets of thumbnails.

    A block of features whose inputs are unchanged is linked from the published site.
    """
    job = out.job
    keys = {}
    for block, key in _digests(job, db, book, sheets):
        part = out.reuse(_block_name(block), key)
        if part is None:
            keys[block] = key
        else:
            sheets.now |= part.result
            job.progress.advance(len(live_in(book, block)))
    wanted = images_on_features(db) if keys and in_sheets(job) else set()
    chapters = list(consecutive(sorted(keys)))
    with thumbnails(job, wanted) as small:
        rendered = render_chapters(job, book, sheets, chapters)
        for blocks, chapter in zip(chapters, rendered, strict=True):
            for block, one in zip(blocks, chapter, strict=True):
                write = partial(write_block, out, sheets, small, one)
                out.make(_block_name(block), keys[block], write)
                job.progress.advance(len(live_in(book, block)))


def _digests(
    job: Job, db: DuckDBPyConnection, book: Book, sheets: Sheets
) -> Iterator[tuple[int, str]]:
    """Yield each block with live features, and a digest of all that decides its files."""
    sides = [sheets.icon_sides, sheets.thumbnail_sides]
    pictures = [job.digests.get("embed"), job.digests.get("fetched")]
    others = digest_json([job.settings.model_dump(mode="json"), *pictures, sides])
    yield from digest_blocks(db, book, adjacent_in(list(book.live)), others)


def render_chapters(
    job: Job, book: Book, sheets: Sheets, chapters: Sequence[list[int]]
) -> Iterator[list[RenderedBlock]]:
    """Yield the blocks of each chapter, rendered; in worker processes where there are many."""
    # DuckDB lets any number of processes read a database, as long as none writes to it.
    workers = job.runtime.workers or cores()
    several = len(chapters) >= WORTH_WORKERS and workers > 1
    twice = len(sheets.thumbnail_sides) > 1
    opened = partial(open_renderer, book, job.inputs["catalog"], twice)
    return in_workers(["cpu"] * (workers if several else 1), opened, render_blocks, chapters)


def open_renderer(book: Book, catalog: Path, thumbnails_2x: bool, _device: str) -> Renderer:
    """Open catalog and templates in a process that renders pages."""
    import duckdb

    return Renderer(
        duckdb.connect(str(catalog / DATABASE), read_only=True),
        open_templates(icons_2x=book.icons_2x, thumbnails_2x=thumbnails_2x),
        book,
        adjacent_in(list(book.live)),
    )


def _block_name(block: int) -> str:
    return f"features/{block}"


def live_in(book: Book, block: int) -> list[int]:
    """Return the live features of a block, ascending."""
    first = block * FEATURES_A_BLOCK
    return [feature for feature in range(first, first + FEATURES_A_BLOCK) if feature in book.live]


def consecutive(blocks: Sequence[int]) -> Iterator[list[int]]:
    """Yield runs of consecutive blocks, at most BLOCKS_A_CHAPTER at a time."""
    held: list[int] = []
    for block in blocks:
        if held and (block != held[-1] + 1 or len(held) == BLOCKS_A_CHAPTER):
            yield held
            held = []
        held.append(block)
    if held:
        yield held


def adjacent_in(features: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
    """Return for each feature the one before and the one after it; None at the ends."""
    around = [None, *features, None]
    return {
        feature: (before, after)
        for feature, before, after in zip(features, around, around[2:], strict=False)
    }


def render_blocks(renderer: Renderer, blocks: list[int]) -> list[RenderedBlock]:
    """Render consecutive blocks, whose rows are read together."""
    with gc_paused():
        first, last = blocks[0] * FEATURES_A_BLOCK, (blocks[-1] + 1) * FEATURES_A_BLOCK
        chapter = read_chapter(renderer.db, first, last, with_urls=renderer.book.shown.linked)
        return [render_block(renderer, chapter, live_in(renderer.book, block)) for block in blocks]


def render_block(renderer: Renderer, chapter: Chapter, live: Sequence[int]) -> RenderedBlock:
    """Render the pages and records of one block's live features."""
    urls = safe_urls(row[1:] for feature in live for row in chapter.urls.get(feature, []))
    book = replace(renderer.book, urls=urls)
    views = [feature_view(book, chapter, f, renderer.adjacent[f], sheet_of(book, f)) for f in live]
    records = {str(f): feature_record(book, chapter, f) for f in live}
    files = render_pages(renderer, views)
    files[links.feature_json(live[0])] = json.dumps(records, separators=(",", ":")) + "\n"
    if book.base_url and book.layout == "pages":
        for f in live:
            files[links.oembed_json(f)] = json.dumps(oembed_record(book, f)) + "\n"
    rows = {f: row_of_images(book, chapter, f) for f in live} if book.joined else {}
    return RenderedBlock(files, rows)


def render_pages(renderer: Renderer, views: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return pages by address; with layout groups, the views are all features of their groups."""
    book, env = renderer.book, renderer.env
    if book.layout == "pages":
        frame = frame_view(book)
        return {view["page"]: render_feature(env, frame, view) for view in views}
    files = {}
    for _, held in groupby(views, key=lambda view: view["feature"] // links.FEATURES_A_GROUP):
        group = list(held)
        frame = group_view(book, [view["feature"] for view in group])
        files[frame["page"]] = render_group(env, frame, group)
    return files


def write_block(
    out: Output, sheets: Sheets, small: PictureStore, rendered: RenderedBlock
) -> dict[str, str]:
    """Write the files of one block.

    Args:
        out: Where to.
        sheets: The sheets of the site.
        small: The thumbnails that go into sheets, by image.
        rendered: The block.

    Returns:
        Key of each sheet that was written.
    """
    written = write_thumbnail_sheets(out.job, sheets, small, rendered.rows)
    for address, text in rendered.files.items():
        out.put(address, text)
    return written


def write_thumbnail_sheets(
    job: Job, sheets: Sheets, small: PictureStore, rows: Mapping[int, Sequence[int | None]]
) -> dict[str, str]:
    """Write the sheets of thumbnails of some features, one row per feature number.

    Returns:
        Address -> key of each sheet; empty where pictures are separate files.
    """
    written: dict[str, str] = {}
    a_sheet = links.features_a_sheet(job.settings.layout)
    for sheet, held in groupby(rows, key=lambda feature: feature // a_sheet):
        webps: list[bytes | None] = []
        for feature in held:
            webps += [None] * (feature % a_sheet * PICTURES_A_ROW - len(webps))
            webps += [None if image is None else small[image] for image in rows[feature]]
        if any(webps):
            name = links.thumbnail_sheet(sheet)
            written |= sheets.write(name, webps, PICTURES_A_ROW, sheets.thumbnail_sides)
    return written
