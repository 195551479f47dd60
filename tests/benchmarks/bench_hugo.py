"""Pages of features beside Hugo: as many, of the same size, from equivalent templates, in one run.

Both read what the pages show (the atlas from its DuckDB catalog, Hugo from a content file a
page, which is what it takes) and write the same files to a folder. No sheets, no check: pages
alone. On tmpfs, so that the disk is not what is measured; CPU seconds, since cores are shared.

    python -m tests.benchmarks.bench_hugo /dev/shm/DIR --features 27000 --hugo hugo
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from atlas.base.files import write_bytes
from atlas.settings.paths import DATABASE
from atlas.settings.site import SiteSettings
from atlas.site import links
from atlas.site.book import read_book
from atlas.site.chapter import read_chapter
from atlas.site.feature_pages import adjacent_in, gc_paused
from atlas.site.pages.feature import feature_view, frame_view
from atlas.site.pages.parts import Link
from atlas.site.render import open_templates, render_feature
from tests.benchmarks.bench_site import make_catalog

FEATURES_AT_ONCE = 1024
LAYOUTS = Path(__file__).parent / "hugo"
SETTINGS = SiteSettings(pictures="sheets", icon_px=24, thumbnail_px=24)


def views(db: duckdb.DuckDBPyConnection) -> Any:
    """Yield the book, then the views of all live features, some at a time."""
    book = read_book(db, SETTINGS, ())
    yield book
    turns = adjacent_in(list(book.live))
    for first in range(0, book.n_features, FEATURES_AT_ONCE):
        chapter = read_chapter(db, first, first + FEATURES_AT_ONCE)
        yield [
            feature_view(
                book, chapter, f, turns[f], links.thumbnail_sheet(f // links.features_a_sheet())
            )
            for f in range(first, first + FEATURES_AT_ONCE)
            if f in book.live
        ]


def write_pages(database: Path, out_dir: Path) -> None:
    """Write every live feature's page, as the site stage does."""
    with duckdb.connect(str(database), read_only=True) as db, gc_paused():
        some = views(db)
        env, frame = open_templates(), frame_view(next(some))
        for chapter in some:
            for view in chapter:
                write_bytes(out_dir / view["page"], render_feature(env, frame, view).encode())


REPEATS = 3
"""Runs of each in turn, of which the quickest counts: what else the machine does only adds."""


def write_content(database: Path, folder: Path) -> None:
    """Write for Hugo what every page shows, addresses ready."""

    def to(address: str) -> str:
        return links.relative(links.any_feature_page(), address)

    def related(items: Sequence[Link]) -> list[list[Any]]:
        cells = [links.as_cell(item.thumb) or links.Cell(0, 0, 0) for item in items]
        return [
            [to(item.page), cell.x, cell.y, cell.sheet, item.name, item.value]
            for item, cell in zip(items, cells, strict=True)
        ]

    with duckdb.connect(str(database), read_only=True) as db:
        some = views(db)
        book = next(some)
        frame = {"atlas_id": book.facts["id"], "note": book.facts["note"]}
        for chapter in some:
            for view in chapter:
                cell = links.as_cell(view["icon"].thumb) or links.Cell(0, 0, 0)
                keys = ("title", "about", "citation", "row", "feature", "number", "name", "evidence", "figures", "bars", "weakest", "strongest", "details", "bibtex")  # fmt: skip
                front = {
                    **frame,
                    **{key: view[key] for key in keys},
                    **{key: to(view[key]) for key in ("before", "after", "json", "sheet") if view[key]},
                    **{name: [[p.caption, p.value] for p in view[name]] for name in ("top", "film", "near")},
                    **{name: related(view[name]) for name in ("neighbors", "coactive")},
                    "icon": {"sheet": cell.sheet, "x": cell.x, "y": cell.y, "value": view["icon"].value, "caption": view["icon"].caption},
                }  # fmt: skip
                path = folder / Path(view["page"]).with_suffix(".md")
                write_bytes(path, json.dumps(front).encode() + b"\n")


def spent(command: Sequence[str]) -> dict[str, float]:
    """Run a program and return its CPU seconds and its largest memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 2), "mb": round(used.ru_maxrss / 1e3)}


def size_of(folder: Path) -> dict[str, int]:
    """Return how many pages a folder holds, and their mean size."""
    sizes = [path.stat().st_size for path in folder.rglob("*.html")]
    return {"pages": len(sizes), "bytes_a_page": sum(sizes) // len(sizes)}


def main() -> None:
    """Build the pages both ways and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, default=27_000, help="27,000 make 20,000 pages")
    parser.add_argument("--hugo", default="hugo", help="the program; Debian has one")
    parser.add_argument("--only", choices=("pages",), help=argparse.SUPPRESS)
    given = parser.parse_args()
    catalog, ours, theirs = (given.folder / name for name in ("catalog", "ours", "hugo"))
    database = catalog / DATABASE
    if given.only:
        write_pages(database, ours)
        return
    for folder in (ours, theirs):
        shutil.rmtree(folder, ignore_errors=True)
    if not database.exists():
        make_catalog(catalog, given.features)
    shutil.copytree(LAYOUTS, theirs)
    write_content(database, theirs / "content")
    us = [sys.executable, "-m", "tests.benchmarks.bench_hugo", str(given.folder), "--only", "pages"]
    public = theirs / "public"
    spent_by: dict[str, list[dict[str, float]]] = {"atlas": [], "hugo": []}
    for _ in range(REPEATS):
        for who, command, pages_in in (
            ("atlas", us, ours),
            ("hugo", [given.hugo, "--quiet", "--source", str(theirs)], public),
        ):
            shutil.rmtree(pages_in, ignore_errors=True)
            spent_by[who].append(spent(command))
    figures = {
        who: min(each, key=lambda one: one["cpu_s"])
        | size_of(pages_in)
        | {"cpu_s_of_each": [one["cpu_s"] for one in each]}
        for (who, each), pages_in in zip(spent_by.items(), (ours, public), strict=True)
    }
    atlas, hugo = figures["atlas"], figures["hugo"]
    ratios = {key: round(hugo[key] / atlas[key], 2) for key in ("cpu_s", "mb")}
    print(json.dumps({**figures, "hugo_by_atlas": ratios}, indent=1))


if __name__ == "__main__":
    main()
