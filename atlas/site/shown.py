"""How a site shows images: by thumbnail, by a link to where each was found, or by caption alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.settings.site import SiteSettings
from atlas.site import links

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Shown:
    """How images are shown."""

    mode: str
    """thumbnails, links or none."""
    thumbnails: NDArray[np.bool_]
    """(image,) whether it has a thumbnail that is shown."""
    remote: bool
    """Whether pages load pictures from their urls."""

    @property
    def linked(self) -> bool:
        """Whether images without a thumbnail are shown with a link to where they were found."""
        return self.mode == "links" or (self.mode == "thumbnails" and not self.thumbnails.all())

    def __contains__(self, image: int) -> bool:
        """Return whether an image's thumbnail is shown."""
        return bool(self.thumbnails[image])


def how_shown(db: DuckDBPyConnection, settings: SiteSettings, parts: Iterable[Path]) -> Shown:
    """Return how the site shows images.

    Args:
        db: The catalog.
        settings: site.images and site.load_images.
        parts: Parquet files of thumbnails.

    Raises:
        ConfigError: Thumbnails or links are asked for, and there are none.
    """
    ((n, urls),) = db.execute(
        "SELECT count(*), count(*) FILTER (url LIKE 'http%') FROM images"
    ).fetchall()
    there = np.zeros(n, bool)
    for path in parts:
        there[pq.read_table(path, columns=["image"])["image"].to_numpy()] = True
    mode: str = settings.images
    if mode == "auto":
        mode = "thumbnails" if there.any() else "links" if urls else "none"
    if mode == "thumbnails" and not there.any():
        raise ConfigError(
            "site.images is thumbnails and there are none; name pictures in embed.pictures, "
            "or set site.images to links or none"
        )
    if mode == "links" and not urls:
        raise ConfigError(
            "site.images is links and no image has a url; set site.images to none, "
            "or name a table with urls in embed.images"
        )
    if mode != "thumbnails":
        there = np.zeros(n, bool)
    return Shown(mode, there, mode == "links" and settings.load_images)


LISTED = """
    SELECT image FROM decompositions
    UNION SELECT image FROM recurring_images
    UNION SELECT other_image FROM concept_neighbors"""
"""Query of the images that pages other than features' show; some may be sensitive."""


def read_urls(db: DuckDBPyConnection, query: str) -> Mapping[int, str]:
    """Return the safe url of each image that a query names, of those that may be shown."""
    rows = db.execute(
        f"""SELECT image, url FROM ({query}) JOIN images USING (image)
            WHERE NOT sensitive AND url IS NOT NULL ORDER BY image"""
    ).fetchall()
    return safe_urls(rows)


def safe_urls(rows: Iterable[tuple[int, str | None]]) -> Mapping[int, str]:
    """Return image -> url of those whose url is safe to link to."""
    found = {image: links.outward(url) for image, url in rows}
    return {image: url for image, url in found.items() if url}
