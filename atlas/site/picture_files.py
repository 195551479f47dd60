"""Pictures that are files of their own: icons, strips, knobs, thumbnails."""

from __future__ import annotations

import io
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from PIL import Image

from atlas.run.stage import Job
from atlas.site import links
from atlas.site.book import Book
from atlas.site.output import Output
from atlas.site.picture_sheets import ON_FEATURES, in_sheets, thumbnail_parts
from atlas.site.queries import read_column
from atlas.site.shown import LISTED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STRIP_QUALITY = 85
HOME_SCRIPTS = ("assets/rounds.js",)


def icon_number(book: Book, feature: int) -> int:
    """Return how scripts find an icon.

    Returns:
        -3: in the sheet of its place; -2: a rendered file; -1: none; else the image that stands in.
    """
    address = book.icons.get(feature, "")
    if not address:
        return -1
    if links.as_cell(address):
        return -3
    return -2 if address == links.icon(feature) else int(Path(address).stem)


def write_icons(out: Output, book: Book) -> None:
    """Write the rendered icons of all features that may be shown."""
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
    """Write each strip as one picture, so that a page requests one file."""
    if "icons" not in out.job.inputs:
        return
    table = pq.read_table(out.job.inputs["icons"] / "strips.parquet", columns=["feature", "webp"])
    rows = zip(table["feature"].to_pylist(), table["webp"].to_pylist(), strict=True)
    for feature, held in groupby(rows, key=lambda row: row[0]):
        if feature in book.icons:
            out.put(links.strip(feature), side_by_side([w for _, w in held]))


def write_knobs(out: Output, book: Book) -> None:
    """Write the pictures of every example image: its concepts' icons, knobs and transfers."""
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
    """Return pictures of equal size as one wide WebP."""
    pictures = [Image.open(io.BytesIO(webp), formats=("WEBP",)) for webp in webps]
    width, height = pictures[0].size
    wide = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        wide.paste(picture, (i * width, 0))
    data = io.BytesIO()
    wide.save(data, "WEBP", quality=STRIP_QUALITY, method=4)
    return data.getvalue()


def named_at_home(job: Job) -> set[int]:
    """Return the images whose thumbnails the home page and its scripts show."""
    paths = (job.out_dir / name for name in (links.HOME, *HOME_SCRIPTS))
    texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
    return {int(image) for text in texts for image in re.findall(r"thumb/\d+/(\d+)\.webp", text)}


def write_thumbnails(out: Output, db: DuckDBPyConnection, book: Book) -> None:
    """Write the thumbnails that pages show; none of a sensitive image."""
    if not book.shown.thumbnails.any():
        return
    shown = f"""{LISTED}
        UNION SELECT w.image FROM where_maps w JOIN features USING (feature) WHERE NOT sensitive"""
    if not in_sheets(out.job):
        shown = f"{ON_FEATURES} UNION {shown}"
    query = (
        f"SELECT image FROM ({shown}) JOIN images USING (image) WHERE NOT sensitive ORDER BY image"
    )
    stand_ins = {icon_number(book, feature) for feature in book.icons} - {-1, -2, -3}
    wanted = set(read_column(db, query)) | stand_ins | named_at_home(out.job)
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
