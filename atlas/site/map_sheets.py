"""The icons of the map: at each zoom level one for each cell of a grid, joined in tiles.

A tile shows its cells where they lie, so that the second level's tile is also the picture that a
reader without scripts sees. The paper around an icon is transparent: the map has its own.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from atlas.base.files import digest_json
from atlas.base.sheets import sheet_key
from atlas.site import links
from atlas.site.book import Book
from atlas.site.picture_sheets import Sheets, open_icons
from atlas.study.representatives import representatives

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEVELS = ((12, 8), (24, 16), (48, 32), (96, 64))
"""Columns and rows of the grid at each level."""
TILE_COLUMNS, TILE_ROWS = 24, 16
"""Cells of a tile; map.js repeats it."""
MAP_ICON_PX = 64
QUALITY = 80
NEARLY_WHITE = 32
"""How far from white, of 255, what is taken for an icon's paper may be."""
GAP = 0.04
"""Half the width of a gap through which paper is not followed, of an icon's side."""
FAINT, FULL_COVER = 12, 80
"""How far from white the edge of a drawing begins, and how much further it has all of its color."""
ROUNDED = 0.18
"""Radius of a picture's corners, of its side."""
MADE_AS = 2
"""Goes up when the same icons are made into another tile."""


class Level(NamedTuple):
    """Who stands for each cell of one level."""

    columns: int
    rows: int
    cells: list[int]
    """Those that hold a feature with an icon, ascending: row * columns + column."""
    places: list[int]
    """Of each the feature's place in the order of the map."""


def read_levels(book: Book) -> list[Level]:
    """Return the levels: icons that the model recognizes come before others, then central ones.

    A level follows only where the one before left some feature without a cell of its own.
    """
    if not book.icons:
        return []
    x = np.array([book.live[f].map_x for f in book.order], np.float32)
    y = np.array([book.live[f].map_y for f in book.order], np.float32)
    rank = np.array([_rank(book, f) for f in book.order], np.int64)
    levels: list[Level] = []
    for columns, rows in LEVELS:
        if levels and len(levels[-1].cells) == int((rank >= 0).sum()):
            break
        cells, places = representatives(x, y, rank, columns, rows)
        levels.append(Level(columns, rows, cells.tolist(), places.tolist()))
    return levels


def _rank(book: Book, feature: int) -> int:
    if feature not in book.icons:
        return -1
    return int(bool(book.recognized) and feature not in book.recognized)


def as_data(levels: Sequence[Level]) -> list[dict[str, Any]]:
    """Return levels as scripts read them."""
    return [level._asdict() for level in levels]


def write_map_sheets(db: DuckDBPyConnection, book: Book, sheets: Sheets) -> dict[str, str]:
    """Write the tiles of each level.

    Returns:
        Address -> key of each.
    """
    written: dict[str, str] = {}
    levels = read_levels(book)
    if not levels:
        return written
    px = tile_px(book)
    with open_icons(sheets.out.job, db, book) as webp_of:
        for number, level in enumerate(levels):
            for tile, held in sorted(_tiles(level).items()):
                webps = {at: webp_of(book.order[place]) for at, place in held.items()}
                cells = [webps.get(at) for at in range(TILE_COLUMNS * TILE_ROWS)]
                key = digest_json([MADE_AS, sheet_key(cells, TILE_COLUMNS, px, QUALITY)])
                width = min(level.columns, TILE_COLUMNS)
                address = links.map_tile(number, tile)
                written |= sheets.put(
                    address, key, partial(join_on_paper, cells, width, level.rows, px)
                )
    return written


def tile_px(book: Book) -> int:
    """Return the side of an icon in a tile, in pixels."""
    return min(MAP_ICON_PX, book.icon_px or MAP_ICON_PX)


def _tiles(level: Level) -> Mapping[int, dict[int, int]]:
    """Return for each tile, numbered row by row, the place of the feature of each of its cells."""
    tiles: dict[int, dict[int, int]] = {}
    across = -(-level.columns // TILE_COLUMNS)
    for cell, place in zip(level.cells, level.places, strict=True):
        row, column = divmod(cell, level.columns)
        tile = row // TILE_ROWS * across + column // TILE_COLUMNS
        at = row % TILE_ROWS * TILE_COLUMNS + column % TILE_COLUMNS
        tiles.setdefault(tile, {})[at] = place
    return tiles


def join_on_paper(webps: Sequence[bytes | None], columns: int, rows: int, px: int) -> bytes:
    """Return icons as one WebP, each in its cell, without the white around them.

    Args:
        webps: Of TILE_COLUMNS cells a row; None leaves a cell empty.
        columns: How many of these are used.
        rows: The same of TILE_ROWS.
        px: Side of a cell.
    """
    sheet = Image.new("RGBA", (columns * px, min(rows, TILE_ROWS) * px), (255, 255, 255, 0))
    for number, webp in enumerate(webps):
        if webp is None:
            continue
        with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
            small = picture.convert("RGB").resize((px, px), Image.Resampling.LANCZOS)
        row, column = divmod(number, TILE_COLUMNS)
        sheet.paste(without_paper(small), (column * px, row * px))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=QUALITY, alpha_quality=80, method=4)
    return data.getvalue()


def without_paper(icon: Image.Image) -> Image.Image:
    """Return an icon with the paper that lies around its drawing made transparent.

    Paper is what is nearly white and reaches the edge other than through a narrow gap: the white
    stripes of a flag stay, as does all white within a drawing. The drawing's own edge goes over into
    transparency as it did into white. A picture that fills its square has rounded corners.
    """
    side, gap = icon.width, max(3, 2 * round(GAP * icon.width) + 1)
    colors = np.asarray(icon, np.float32)
    far = 255 - colors.min(2)
    # The frame is paper, so that all paper at the edge hangs together.
    white = np.pad(far <= NEARLY_WHITE, gap, constant_values=True)
    closed = Image.fromarray(np.where(white, 0, 255).astype(np.uint8)).filter(
        ImageFilter.MaxFilter(gap)
    )
    ImageDraw.floodfill(closed, (0, 0), 128)
    paper = np.asarray(closed) == 128
    for _ in range(gap):  # back to the drawing, from which closing its gaps kept away
        paper = _grown(paper) & white
    edge = _grown(_grown(paper))[gap : gap + side, gap : gap + side]
    cover = np.where(edge, np.clip((far - FAINT) / FULL_COVER, 0, 1), 1)[..., None]
    drawn = ((colors - 255 * (1 - cover)) / np.maximum(cover, 1e-3)).clip(0, 255)
    corners = Image.new("L", icon.size, 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, side - 1, side - 1), ROUNDED * side, 255)
    alpha = np.minimum(255 * cover[..., 0], np.asarray(corners, np.float32))
    return Image.fromarray(np.dstack([drawn, alpha]).round().astype(np.uint8))


def _grown(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return an area with every pixel beside it, corners included."""
    wide = area.copy()
    wide[1:] |= area[:-1]
    wide[:-1] |= area[1:]
    out = wide.copy()
    out[:, 1:] |= wide[:, :-1]
    out[:, :-1] |= wide[:, 1:]
    return out
