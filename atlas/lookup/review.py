"""The page on which an owner reviews what an atlas withholds: pictures, why, and a decision on each.

It lies beside the stages and never in the site. What the page saves, `catalog.review` reads.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from atlas.base.errors import MissingError
from atlas.base.files import read_parquet, write_bytes, write_text
from atlas.inputs.review import (
    HEAD,
    UNSURE,
    Decision,
    image_key,
    match_decisions,
    read_decisions,
)
from atlas.inputs.takedown import find_taken_down, read_takedown
from atlas.inputs.unsafe import UNKNOWN
from atlas.lookup.contact_sheets import read_thumbnails
from atlas.settings.load import Config
from atlas.settings.paths import REVIEW, SUSPECTED, template_root
from atlas.site.render import open_templates, render

ROWS_AT_ONCE = 65_536
NEARER = "of ordinary words"
"""Ends the reason of an image that is near to a sensitive phrase."""
ASSETS = ("review.js", "review.css")
ASKED, YOURS, MARKED, TAKEN_DOWN = "asked", "yours", "marked", "taken down"
KINDS = {
    ASKED: (
        "Please look",
        "A column says something of them that is not known, they look like a sensitive phrase, or you were unsure. They are withheld until you decide.",
    ),
    YOURS: (
        "Decided by you",
        "As in the file that catalog.review names. You may change your mind.",
    ),
    MARKED: ("Marked as sensitive", "A column marks them. They are withheld unless you show them."),
    TAKEN_DOWN: (
        "Taken down",
        "Lines of the list that catalog.takedown names. Only the list changes them.",
    ),
}
"""Kind of a row -> heading and what it means, in the order of the page."""


@dataclass(frozen=True, slots=True)
class Row:
    """An image that is withheld, or was decided on."""

    image: int
    key: str
    name: str
    caption: str
    url: str
    kind: str
    why: str
    decision: str
    """Of the owner; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the page holds."""

    path: Path
    counts: dict[str, int]
    """Kind -> images, those that the page leaves out included."""
    n_left_out: int


def write_review(config: Config, most: int) -> Written:
    """Write the page, its pictures and scripts into the folder `review` of an atlas.

    Args:
        config: Of the atlas; its images must have been embedded.
        most: Images on the page; those to be looked at come first.

    Raises:
        MissingError: No image has been embedded.
        ConfigError: The list of what is taken down, or the file of decisions, is malformed.
    """
    embed, folder = config.out_dir / "embed", config.out_dir / REVIEW
    if not (embed / "images.parquet").exists():
        raise MissingError(f"no images in {config.out_dir}; run: atlas build CONFIG embed")
    given = config.catalog.review
    decisions = read_decisions(given) if given is not None and given.exists() else ()
    rows = sorted(
        find_rows(config, decisions), key=lambda row: ([*KINDS].index(row.kind), row.image)
    )
    shown = rows[:most]
    pictures = _thumbnails(config, {row.image for row in shown})
    if folder.exists():
        shutil.rmtree(folder)  # pictures of an earlier page
    for image, webp in pictures.items():
        write_bytes(folder / "pictures" / f"{image}.webp", webp)
    for name in ASSETS:
        write_bytes(folder / name, (template_root() / name).read_bytes())
    path = folder / "index.html"
    write_text(path, _page(config, shown, decisions, pictures.keys()))
    counts = Counter(row.kind for row in rows)
    return Written(path, {kind: counts[kind] for kind in KINDS}, len(rows) - len(shown))


def find_rows(config: Config, decisions: tuple[Decision, ...]) -> Iterator[Row]:
    """Yield every image that is withheld or decided on, with why."""
    embed = config.out_dir / "embed"
    decided = match_decisions(decisions, embed / "images.parquet").images
    takedown = config.catalog.takedown
    near = _near_phrases(config)
    lines = find_taken_down(read_takedown(takedown), embed).lines if takedown is not None else {}
    columns = ["image", "name", "caption", "url", "sensitive", "withheld"]
    with pq.ParquetFile(embed / "images.parquet") as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            for row in batch.to_pylist():
                image, mark = row["image"], row["withheld"] or "sensitive"
                mark = mark if row["sensitive"] else near.get(image, "")
                decision, line = decided.get(image, ""), lines.get(image)
                if not mark and not decision and line is None:
                    continue
                kind, why = _kind(mark, decision, line)
                yield Row(
                    image,
                    image_key(row["name"], row["url"]),
                    row["name"],
                    row["caption"],
                    row["url"] or "",
                    kind,
                    why,
                    decision,
                )


def _kind(mark: str, decision: str, line: int | None) -> tuple[str, str]:
    """Return the kind of a row and why it is withheld; the strictest reason counts."""
    if line is not None:
        return TAKEN_DOWN, f"takedown line {line}" if line else "a copy of what is taken down"
    if decision == UNSURE:
        return ASKED, f"you were unsure{mark and f'; {mark}'}"
    if decision:
        return YOURS, mark or "nothing but your decision"
    return (ASKED if mark.endswith((UNKNOWN, NEARER)) else MARKED), mark


def _near_phrases(config: Config) -> dict[int, str]:
    """Return the images that are near to sensitive phrases, and what that means."""
    path = config.out_dir / "catalog" / SUSPECTED
    rows = read_parquet(path).to_pylist() if path.exists() else []
    return {
        row["image"]: f"near to {row['phrase']!r}, nearer than to {row['share']:.1%} {NEARER}"
        for row in rows
    }


def _thumbnails(config: Config, images: set[int]) -> dict[int, bytes]:
    try:
        return read_thumbnails(config.out_dir / "embed", images)
    except MissingError:  # the page has captions alone
        return {}


def _page(
    config: Config, rows: list[Row], decisions: tuple[Decision, ...], pictured: object
) -> str:
    """Return the page as HTML.

    Args:
        config: Of the atlas.
        rows: What it shows.
        decisions: All of the file; those on images that the page leaves out are saved again as they are.
        pictured: The images with a thumbnail.
    """
    on_page = {row.image for row in rows} | {row.key for row in rows}
    kept = [one for one in decisions if one.image not in on_page and one.key not in on_page]
    groups = [
        (heading, about, kind == TAKEN_DOWN, [row for row in rows if row.kind == kind])
        for kind, (heading, about) in KINDS.items()
    ]
    view = {
        "page": "index.html",
        "title": config.catalog.title,
        "groups": [group for group in groups if group[-1]],
        "n": len(rows),
        "pictured": pictured,
        "head": ",".join(HEAD),
        "kept": "\n".join(f"{one.image},{one.key},{one.what}" for one in kept),
        "out_dir": config.out_dir.name,
    }
    return render(open_templates(), "review", view)
