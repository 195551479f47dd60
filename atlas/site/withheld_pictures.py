"""Proof that no withheld picture is in a finished site: every picture of it is compared by its looks.

Two pictures are one if their colors, averaged over 64 parts, hardly differ: that outlasts being made
smaller and saved again, where a difference hash changes on even grounds. A withheld picture that
looks much like one which may be shown gives nothing away.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import list_files
from atlas.site import links
from atlas.site.map_sheets import LEVELS, TILE_COLUMNS
from atlas.site.pages.feature import PICTURES_A_ROW
from atlas.site.picture_sheets import CARD_COLUMNS

SIDE = 8
"""Columns and rows over which colors are averaged."""
SAME = 5.0
"""Root mean square of the differences of averaged colors, 0 to 255, of one picture saved again."""
FLATTEST = 6.0
"""Standard deviation of averaged colors below which a picture shows nothing."""
PICTURES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Looks:
    """What some pictures look like."""

    images: NDArray[np.int64]
    """(picture,) which images they are of; of cells of a sheet, their places."""
    colors: NDArray[np.float32]
    """(picture, 192) averaged colors, 0 to 255."""

    def like(self, others: Looks, most: float = SAME) -> NDArray[np.intp]:
        """Return the rows of these that look like any of the others."""
        squares = (self.colors**2).sum(axis=1)[:, None] + (others.colors**2).sum(axis=1)
        far = squares - 2 * self.colors @ others.colors.T
        found: NDArray[np.intp] = np.flatnonzero(
            (far <= most**2 * self.colors.shape[1]).any(axis=1)
        )
        return found

    def take(self, rows: NDArray[np.intp]) -> Looks:
        """Return some of them."""
        return Looks(self.images[rows], self.colors[rows])


def look_at(pictures: Iterable[tuple[int, Image.Image]]) -> Looks:
    """Return what numbered pictures look like; those that show nothing are left out."""
    images, colors = [], []
    for number, picture in pictures:
        small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
        if small.std(axis=(0, 1)).max() >= FLATTEST:
            images.append(number)
            colors.append(small.ravel())
    return Looks(np.array(images, np.int64), np.array(colors, np.float32).reshape(-1, 3 * SIDE**2))


def looks_of(parts: Iterable[Path], images: frozenset[int]) -> Looks:
    """Return what the thumbnails of some images look like."""
    held = ((image, webp) for batch in _batches(parts) for image, webp in batch)
    return look_at((image, _open(io.BytesIO(webp))) for image, webp in held if image in images)


def find_withheld_pictures(site: Path, parts: Sequence[Path], hidden: frozenset[int]) -> list[str]:
    """Return what is wrong with a site's pictures, a line each.

    Args:
        site: Its folder.
        parts: Parquet files of all thumbnails.
        hidden: The images that are withheld.
    """
    looks = looks_of(parts, hidden) if hidden else look_at(())
    if not len(looks.images):
        return []
    found: list[tuple[str, int]] = []
    unread: list[str] = []
    for path in list_files(site):
        if path.suffix == ".webp":
            name = path.relative_to(site).as_posix().removeprefix(f"{links.MEDIA}/")
            try:
                like = looks.like(look_at(_cells(path, name)))
            except OSError:
                unread.append(f"{name} can't be read as a picture")
                continue
            found += [(name, row) for row in like.tolist()]
    if not found:
        return unread
    rows = np.unique([row for _, row in found])
    harmless = set(rows[_also_shown(looks.take(rows), parts, hidden)].tolist())
    same = [(name, looks.images[row]) for name, row in found if row not in harmless]
    return [
        *unread,
        *(f"{name} looks like image {image}, which is withheld" for name, image in same),
    ]


def _also_shown(looks: Looks, parts: Sequence[Path], hidden: frozenset[int]) -> NDArray[np.intp]:
    """Return the rows that look like an image which may be shown."""
    found: set[int] = set()
    for batch in _batches(parts):
        shown = ((image, _open(io.BytesIO(webp))) for image, webp in batch if image not in hidden)
        # Twice: a shown picture may lie between, and be a little off where it was saved again.
        found |= set(looks.like(look_at(shown), 2 * SAME).tolist())
    return np.array(sorted(found), np.intp)


def _batches(parts: Iterable[Path]) -> Iterator[Iterator[tuple[int, bytes]]]:
    for path in parts:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(PICTURES_AT_ONCE, columns=["image", "webp"]):
                yield zip(batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True)


def _open(file: IO[bytes] | Path) -> Image.Image:
    with Image.open(file, formats=("WEBP",)) as opened:
        if opened.mode != "RGBA":
            return opened.convert("RGB")
        white = Image.new("RGB", opened.size, "white")  # a tile of the map has no paper of its own
        white.paste(opened, mask=opened.getchannel("A"))
        return white


def _cells(path: Path, name: str) -> Iterator[tuple[int, Image.Image]]:
    """Yield the square pictures that a file joins, by their place."""
    whole = _open(path)
    columns = _columns(name) or max(1, whole.width // whole.height)
    px = whole.width // columns
    for place in range(columns * max(1, whole.height // px)):
        y, x = divmod(place, columns)
        yield place, whole.crop((x * px, y * px, (x + 1) * px, (y + 1) * px))


def _columns(name: str) -> int:
    """Return how many pictures a row of a sheet has; 0 of a file that is none, or one row."""
    if name == links.CARD:
        return CARD_COLUMNS
    if tile := re.fullmatch(r"map/([0-3])-\d+\.webp", name):
        return min(TILE_COLUMNS, LEVELS[int(tile[1])][0])
    if name.startswith("sheet/icon/"):
        return links.ICON_COLUMNS
    return PICTURES_A_ROW if name.startswith("sheet/") else 0
