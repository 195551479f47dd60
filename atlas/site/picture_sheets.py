"""Pictures joined in sheets, for hosts that limit the number of files.

Sheets of icons follow the order of the map; sheets of thumbnails hold one feature a row. A sheet is
encoded again only if a picture in it changed: the published site has a digest of each sheet's inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.base.files import read_json
from atlas.base.picture_store import PictureStore, open_pictures, picture_side
from atlas.base.sheets import join_pictures, sheet_key
from atlas.run.stage import Job
from atlas.settings.paths import FETCHED_THUMBNAILS
from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import NEAR_SHOWN, distinct_tops
from atlas.site.output import Output
from atlas.site.queries import read_column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DENSE = 1.5
"""Device pixels per CSS pixel from which second sheets are shown; scripts repeat it."""
SHEET_KEYS = "sheet/keys.json"
"""Digest of the inputs of each sheet, for the next build."""
ON_FEATURES = f"""
    SELECT image FROM {distinct_tops("true")} JOIN features USING (feature)
    WHERE NOT sensitive
    UNION SELECT image FROM quantile_images JOIN features USING (feature)
    WHERE rank = 0 AND NOT sensitive
    UNION SELECT image FROM near_misses JOIN features USING (feature)
    WHERE rank < {NEAR_SHOWN} AND NOT sensitive"""
"""Query of the images that feature pages show as thumbnails; some may be sensitive."""


def in_sheets(job: Job) -> bool:
    """Return whether pictures are joined in sheets."""
    joined: bool = job.settings.pictures == "sheets"
    return joined


def sheet_of(book: Book, feature: int) -> str:
    """Return the address of the sheet of a feature's thumbnails; empty if each is a file."""
    if not book.joined or not book.shown.thumbnails.any():
        return ""
    return links.thumbnail_sheet(feature // links.features_a_sheet(book.layout))


def images_on_features(db: DuckDBPyConnection) -> set[int]:
    """Return every image that a feature page shows as a thumbnail."""
    return set(read_column(db, f"SELECT image FROM ({ON_FEATURES}) ORDER BY image"))


def thumbnails(job: Job, wanted: set[int]) -> AbstractContextManager[PictureStore]:
    """Open the thumbnails of some images."""
    return open_pictures(thumbnail_parts(job) if wanted else [], "image", wanted)


def thumbnail_parts(job: Job) -> list[Path]:
    """Return the Parquet files of thumbnails: made by the build, and fetched for these very images."""
    fetched = f"{FETCHED_THUMBNAILS}{job.digests['embed'][:12]}-"
    return [
        *sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet")),
        *(path for path in job.files.get("fetched", ()) if path.name.startswith(fetched)),
    ]


@dataclass
class Sheets:
    """The sheets being written, with the keys of the published ones."""

    out: Output
    before: Mapping[str, str]
    """Address -> key of each sheet of the published site."""
    icon_sides: tuple[int, ...]
    """Pixels of an icon's side in its sheet, and in the second sheet if there is one."""
    thumbnail_sides: tuple[int, ...]
    icon_px: int
    """Side at which an icon is not enlarged; 0 if there is none."""
    thumbnail_px: int
    now: dict[str, str] = field(default_factory=dict)

    def write(
        self, name: str, webps: Sequence[bytes | None], columns: int, sides: Sequence[int]
    ) -> dict[str, str]:
        """Write a sheet, and the second one beside it if there is a second side.

        Returns:
            Address -> key of each.
        """
        quality = self.out.job.settings.sheet_quality
        written: dict[str, str] = {}
        for address, px in zip((name, links.twice(name)), sides, strict=False):
            key = sheet_key(webps, columns, px, quality)
            written |= self.put(address, key, partial(join_pictures, webps, columns, px, quality))
        return written

    def put(self, address: str, key: str, join: Callable[[], bytes]) -> dict[str, str]:
        """Write a sheet, as it was published where its inputs are the same.

        Args:
            address: Where it lies.
            key: Digest of everything that decides its bytes.
            join: Makes it.

        Returns:
            Its address -> its key.
        """
        old = self.out.published_path(address)
        same = self.before.get(address) == key and old.exists()
        self.out.put(address, old.read_bytes() if same else join())
        self.now[address] = key
        return {address: key}

    def close(self) -> None:
        """Write the keys for the next build."""
        if self.now:
            self.out.put(SHEET_KEYS, json.dumps(self.now, indent=0, sort_keys=True) + "\n")


def open_sheets(out: Output, db: DuckDBPyConnection, book: Book) -> Sheets:
    """Return the sheets to be written; report which kinds have no second sheet, and why."""
    job, path = out.job, out.published_path(SHEET_KEYS)
    thumbnail_px = picture_side(thumbnail_parts(job))
    icon_px = icon_source_px(job, db, book, thumbnail_px)
    icon_sides = job.settings.icon_sides(icon_px)
    thumbnail_sides = job.settings.thumbnail_sides(thumbnail_px)
    if in_sheets(job):
        for line in job.settings.why_once(icon_px, thumbnail_px):
            job.progress.say(f"  {line}")
    before = read_json(path) if path.exists() else {}
    natural = (icon_sides[0], thumbnail_sides[0]) if in_sheets(job) else (icon_px, thumbnail_px)
    return Sheets(out, before, icon_sides, thumbnail_sides, *natural)


def icon_source_px(job: Job, db: DuckDBPyConnection, book: Book, thumbnail_px: int) -> int:
    """Return the smallest side, in pixels, of the icons' sources: rendered icons and thumbnails."""
    stand_ins = read_stand_ins(db)
    sides = {thumbnail_px for feature in book.icons if feature in stand_ins}
    if any(feature not in stand_ins for feature in book.icons):
        sides.add(picture_side([job.inputs["icons"] / "icons.parquet"]))
    return min(sides, default=0)


def read_stand_ins(db: DuckDBPyConnection) -> dict[int, int]:
    """Return for each feature without a rendered icon the image that stands in."""
    query = "SELECT feature, image FROM icons WHERE image IS NOT NULL ORDER BY feature"
    return dict(db.execute(query).fetchall())


def icons_style(book: Book) -> str:
    """Return the style sheet with the natural sizes of pictures, and the address of each sheet of icons."""
    sizes = {"icon": book.icon_px, "thumb": book.thumbnail_px}
    told = "".join(f"--{name}:{px}px;" for name, px in sizes.items() if px)
    return f":root{{{told}}}\n{_sheets_style(book) if book.joined and book.icons else ''}"


def _sheets_style(book: Book) -> str:
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


CARD_COLUMNS, CARD_ROWS, CARD_PX = 14, 7, 86
"""Of the picture of a shared page: 1,204 by 602 pixels where the icons are large enough."""


def write_card(db: DuckDBPyConnection, book: Book, sheets: Sheets, features: Sequence[int]) -> None:
    """Write the picture that is shown where a page without one of its own is shared: a wall of icons.

    Args:
        db: The catalog.
        book: The atlas.
        sheets: The sheets of the site.
        features: Those of the wall.
    """
    job, shown = sheets.out.job, features[: CARD_COLUMNS * CARD_ROWS]
    if not book.icons:
        return
    with open_icons(job, db, book) as webp_of:
        webps = [webp_of(feature) for feature in shown]
    px, quality = min(CARD_PX, book.icon_px), job.settings.sheet_quality
    sheets.out.put(links.CARD, join_pictures(webps, CARD_COLUMNS, px, quality))


@contextmanager
def open_icons(
    job: Job, db: DuckDBPyConnection, book: Book
) -> Iterator[Callable[[int], bytes | None]]:
    """Open the icons: a feature's icon or stand-in, None where it has neither."""
    stand_ins = read_stand_ins(db)
    drawn = [job.inputs["icons"] / "icons.parquet"] if "icons" in job.inputs else []
    rendered = {feature for feature in book.icons if feature not in stand_ins}
    with (
        open_pictures(drawn, "feature", rendered) as icons,
        thumbnails(job, {stand_ins[f] for f in book.icons if f in stand_ins}) as small,
    ):

        def webp_of(feature: int) -> bytes | None:
            if feature not in book.icons:
                return None
            return small[stand_ins[feature]] if feature in stand_ins else icons[feature]

        yield webp_of


def write_icon_sheets(db: DuckDBPyConnection, book: Book, sheets: Sheets) -> dict[str, str]:
    """Write the sheets of icons in the order of the map; an image stands in for an icon not rendered.

    Returns:
        Address -> key of each.
    """
    written: dict[str, str] = {}
    if not book.icons:
        return written
    a_sheet = links.ICON_COLUMNS**2
    with open_icons(sheets.out.job, db, book) as webp_of:
        for first in range(0, len(book.order), a_sheet):
            webps = [webp_of(feature) for feature in book.order[first : first + a_sheet]]
            name = links.icon_sheet(first // a_sheet)
            written |= sheets.write(name, webps, links.ICON_COLUMNS, sheets.icon_sides)
    return written
