"""Every page except those of features, written through the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.base.picture_store import picture_side
from atlas.site import links
from atlas.site.book import Book
from atlas.site.indexes import write_indexes
from atlas.site.output import Output
from atlas.site.pages import compare, families
from atlas.site.pages.about import about_view
from atlas.site.pages.browse import browse_views
from atlas.site.pages.concepts import concept_views, concepts_view
from atlas.site.pages.data import data_view
from atlas.site.pages.example import read_example
from atlas.site.pages.home import home_view
from atlas.site.pages.home_sections import choose_sections
from atlas.site.pages.map import map_view
from atlas.site.pages.missing import missing_view, short_view
from atlas.site.pages.parts import common
from atlas.site.pages.pictures import image_view, pictures_views, read_decomposed
from atlas.site.pages.report import charts, dead_view, read_reliability, report_view
from atlas.site.pages.search import search_view, words_views
from atlas.site.picture_sheets import thumbnail_parts
from atlas.site.render import Templates, render
from atlas.site.search_index import script
from atlas.site.withheld import n_taken_down

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

IMAGES_AT_ONCE = 1000


def write_page(out: Output, env: Templates, template: str, view: dict[str, Any]) -> None:
    """Write one page to the address in its view."""
    out.put(view["page"], render(env, template, view))


def write_other_pages(
    out: Output,
    env: Templates,
    db: DuckDBPyConnection,
    book: Book,
    lookup: Mapping[str, str] | None,
) -> None:
    """Write all pages except those of features, and the indexes.

    Args:
        out: The site.
        env: The templates.
        db: The catalog.
        book: What every page may need.
        lookup: What write_hashes returns.
    """
    write_pictures(out, env, db, book)
    write_concepts(out, env, db, book)
    write_front(out, env, db, book, lookup)
    write_comparison(out, env, book)
    write_indexes(out, db, book)


def write_pictures(out: Output, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the page of every decomposed image, and the lists of them."""
    captions: dict[int, str] = {}
    examples = set(book.examples)
    for start in range(0, len(book.decomposed), IMAGES_AT_ONCE):
        images = read_decomposed(db, book.decomposed[start : start + IMAGES_AT_ONCE])
        for image in images.values():
            captions[image.image] = image.caption
            example = read_example(db, book, image.image) if image.image in examples else None
            write_page(out, env, "image", image_view(book, image, example))
            out.job.progress.advance()
    for view in pictures_views(book, captions):
        write_page(out, env, "pictures", view)


def write_concepts(out: Output, env: Templates, db: DuckDBPyConnection, book: Book) -> None:
    """Write the list and the page of every recurring concept."""
    write_page(out, env, "concepts", concepts_view(db, book))
    for view in concept_views(db, book):
        write_page(out, env, "concept", view)


def write_front(
    out: Output,
    env: Templates,
    db: DuckDBPyConnection,
    book: Book,
    lookup: Mapping[str, str] | None,
) -> None:
    """Write the single pages, the pages of families, and the lists of features and words."""
    words = words_views(book)
    letters = words[0]["letters"] if words else []
    sections = choose_sections(db, book)
    if book.base_url:
        write_page(out, env, "embed", common(book, links.EMBED, "Feature"))
    if sections["game"]:
        rounds = [a_round._asdict() for a_round in sections["game"]["rounds"]]
        out.put(links.ROUNDS_SCRIPT, script("atlasRounds", rounds))
    front = [
        ("home", home_view(book, sections)),
        ("search", {**search_view(book, letters), "own": lookup}),
        ("map", map_view(book)),
        ("dead", dead_view(book)),
        (
            "report",
            report_view(book, charts(db), read_reliability(db)),
        ),
        ("data", data_view(book, out.job.settings.tables)),
        (
            "about",
            about_view(db, book, picture_side(thumbnail_parts(out.job)), n_taken_down(out.job)),
        ),
        missing_view(book, out.job.settings.base_url),
        ("404", short_view(book)),
        *(("browse", view) for view in browse_views(book)),
        *(("words", view) for view in words),
        *families.views(book, db),
    ]
    for template, view in front:
        write_page(out, env, template, view)


def write_comparison(out: Output, env: Templates, book: Book) -> None:
    """Write the comparison with another atlas, if the build has one."""
    if "compare" not in out.job.inputs:
        return
    compared = compare.read_comparison(out.job.inputs["compare"])
    write_page(out, env, "compare", compare.compare_view(book, compared))
    for name, webp in compare.pictures(compared).items():
        out.put(name, webp)
    record = compare.pairs_record(book, compared)
    out.put(links.pairs_json(), json.dumps(record, separators=(",", ":")) + "\n")
