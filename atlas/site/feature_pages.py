"""Feature pages, with their JSON records and sheets of thumbnails, written a block at a time."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from atlas.base.files import digest_json
from atlas.base.picture_store import PictureStore
from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import Chapter, read_chapter
from atlas.site.output import Output
from atlas.site.pages.feature import (
    PICTURES_A_ROW,
    feature_view,
    frame_view,
    group_view,
    row_of_images,
)
from atlas.site.pages.record import feature_record
from atlas.site.picture_sheets import Sheets, images_on_features, in_sheets, sheet_of, thumbnails
from atlas.site.press import Press, Templates, render_group
from atlas.site.rebuild import FEATURES_A_BLOCK, Adjacent, digest_blocks

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BLOCKS_A_CHAPTER = 16
"""Blocks whose rows are read together."""


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
class Tools:
    """What all feature pages are written with."""

    out: Output
    env: Templates
    press: Press
    book: Book
    adjacent: Adjacent
    sheets: Sheets
    small: PictureStore
    """The thumbnails that go into sheets, by image."""


def write_features(
    out: Output, env: Templates, db: DuckDBPyConnection, book: Book, sheets: Sheets
) -> None:
    """Write the page of each live feature or group, JSON records and sheets of thumbnails.

    A block of features whose inputs are unchanged is linked from the published site.
    """
    job = out.job
    adjacent = adjacent_in(list(book.live))
    sides = [sheets.icon_sides, sheets.thumbnail_sides]
    others = digest_json([job.settings.model_dump(mode="json"), job.digests.get("embed"), sides])
    keys = {}
    for block, key in digest_blocks(db, book, adjacent, others):
        part = out.reuse(_block_name(block), key)
        if part is None:
            keys[block] = key
        else:
            sheets.now |= part.result
            job.progress.advance(len(live_in(book, block)))
    wanted = images_on_features(db) if keys and in_sheets(job) else set()
    with thumbnails(job, wanted) as small:
        twice = len(sheets.thumbnail_sides) > 1
        press = Press(env, frame_view(book), thumbnails_2x=twice)
        tools = Tools(out, env, press, book, adjacent, sheets, small)
        for blocks in consecutive(sorted(keys)):
            chapter = read_chapter(
                db, blocks[0] * FEATURES_A_BLOCK, (blocks[-1] + 1) * FEATURES_A_BLOCK
            )
            for block in blocks:
                live = live_in(book, block)
                out.make(
                    _block_name(block), keys[block], partial(write_block, tools, chapter, live)
                )
                job.progress.advance(len(live))


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


def write_block(tools: Tools, chapter: Chapter, live: Sequence[int]) -> dict[str, str]:
    """Write the files of one block.

    Returns:
        Key of each sheet that was written.
    """
    out, book = tools.out, tools.book
    written = write_thumbnail_sheets(tools, chapter, live)
    write_feature_pages(
        tools,
        [feature_view(book, chapter, f, tools.adjacent[f], sheet_of(out.job, f)) for f in live],
    )
    records = {str(f): feature_record(book, chapter, f) for f in live}
    out.put(links.feature_json(live[0]), json.dumps(records, separators=(",", ":")) + "\n")
    return written


def adjacent_in(features: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
    """Return for each feature the one before and the one after it; None at the ends."""
    around = [None, *features, None]
    return {
        feature: (before, after)
        for feature, before, after in zip(features, around, around[2:], strict=False)
    }


def write_feature_pages(tools: Tools, views: Sequence[dict[str, Any]]) -> None:
    """Write the pages of features; with layout groups, these are all features of their groups."""
    if tools.book.layout == "pages":
        for view in views:
            tools.out.put(view["page"], tools.press.page(view))
        return
    for _, held in groupby(views, key=lambda view: view["feature"] // links.FEATURES_A_GROUP):
        group = list(held)
        frame = group_view(tools.book, [view["feature"] for view in group])
        tools.out.put(frame["page"], render_group(tools.env, tools.press, frame, group))


def write_thumbnail_sheets(tools: Tools, chapter: Chapter, live: Sequence[int]) -> dict[str, str]:
    """Write the sheets of thumbnails of some features, one row per feature number.

    Returns:
        Address -> key of each sheet; empty where pictures are separate files.
    """
    job = tools.out.job
    written: dict[str, str] = {}
    if not in_sheets(job):
        return written
    a_sheet, columns = links.features_a_sheet(job.settings.layout), PICTURES_A_ROW
    for sheet, held in groupby(live, key=lambda feature: feature // a_sheet):
        webps: list[bytes | None] = []
        for feature in held:
            webps += [None] * (feature % a_sheet * columns - len(webps))
            row = row_of_images(tools.book, chapter, feature)
            webps += [None if image is None else tools.small[image] for image in row]
        if any(webps):
            name = links.thumbnail_sheet(sheet)
            written |= tools.sheets.write(name, webps, columns, tools.sheets.thumbnail_sides)
    return written
