"""Bytes and files of a site, predicted before anything is rendered."""

from __future__ import annotations

import math

from atlas.prepare.sizes import Size
from atlas.settings.load import Config
from atlas.settings.site import SiteSettings
from atlas.site.hosts import Tally
from atlas.site.links import FEATURES_A_GROUP, FEATURES_A_SHEET, ICON_COLUMNS
from atlas.site.map_sheets import LEVELS, MAP_ICON_PX, TILE_COLUMNS, TILE_ROWS

THUMBNAIL_BYTES = 3_000
PAGE_BYTES = 11_600
"""A feature's page."""
GROUPED_PAGE_BYTES = 9_500
"""A feature's part of its group's page."""
RECORD_BYTES = 1_200
"""A feature's part of a JSON file."""
PARQUET_BYTES = 1_500
"""Of all tables, a feature."""
IMAGE_ROW_BYTES = 140
"""Of all tables, an image: its row and its groupings."""
LISTED_BYTES = 700
"""A feature's part of walls, word lists, search lists and the hashes of its pictures."""
FRONT_BYTES, FRONT_FILES = 3e6, 700
"""Style, fonts, scripts, charts and lists of the vocabulary; grows little with the features."""
PICTURES_NAMED = 60
"""Addresses of pictures on a feature's page, and in the lists that it is in."""
NEAR_ADDRESS = 6
"""Letters by which a picture's address is shorter where the picture lies with the pages."""
SMALL_PICTURES = 23
"""On a feature's page."""
CELL_BYTES = 0.18
"""A picture in a sheet at quality 60, a pixel."""
MAP_CELL_BYTES = 0.4
"""An icon of the map, without its paper, a pixel."""
MAP_TILES = sum(-(-columns // TILE_COLUMNS) * -(-rows // TILE_ROWS) for columns, rows in LEVELS)
ALIVE_SHARE = 0.75


def site_tally(
    size: Size,
    site: SiteSettings,
    opened: int,
    alive_share: float = ALIVE_SHARE,
    source_px: tuple[int, int] = (0, 0),
    *,
    pictured: bool = True,
) -> Tally:
    """Predict the bytes and files that a site's host gets, before anything is rendered.

    Args:
        size: Of the atlas.
        site: Layout, kind of pictures, and whether those are published elsewhere.
        opened: Images that get a page.
        alive_share: Of the features, 0 to 1.
        source_px: Side of the icons, and of the thumbnails, that sheets are made of.
        pictured: Whether images are shown by thumbnails, not by links or captions.
    """
    live = int(size.features * alive_share)
    grouped = site.layout == "groups"
    pages = -(-size.features // FEATURES_A_GROUP) if grouped else live
    shards = -(-size.features // 64)
    # Features share pictures: the expected number of distinct ones if each chose at random.
    wanted = round(size.images * -math.expm1(-live * SMALL_PICTURES / max(size.images, 1)))
    icons_drawn = live if pictured or source_px[0] else 0
    single = icons_drawn + (wanted if pictured else 0)
    if site.pictures == "sheets":
        single = opened if pictured else 0
    a_sheet = FEATURES_A_GROUP if grouped else FEATURES_A_SHEET
    sheets, cells = 0, 0.0
    if site.pictures == "sheets":
        icons, thumbnails = site.icon_sides(source_px[0]), site.thumbnail_sides(source_px[1])
        icons = icons if icons_drawn else ()
        thumbnails = thumbnails if pictured else ()
        sheets = len(thumbnails) * -(-size.features // a_sheet)
        sheets += len(icons) * -(-live // ICON_COLUMNS**2)
        pixels = sum(px**2 for px in icons) + SMALL_PICTURES * sum(px**2 for px in thumbnails)
        cells = live * CELL_BYTES * pixels
    if icons_drawn:
        sheets += MAP_TILES
        on_map = sum(min(live, columns * rows) for columns, rows in LEVELS)
        cells += on_map * MAP_CELL_BYTES * min(MAP_ICON_PX, source_px[0] or MAP_ICON_PX) ** 2
    page_bytes = GROUPED_PAGE_BYTES if grouped else PAGE_BYTES
    if site.media_base_url:
        single, sheets, cells = 0, 0, 0.0
        page_bytes += PICTURES_NAMED * (len(site.media_base_url) - NEAR_ADDRESS)
    rows = {"all": size.images, "shown": min(wanted + opened, size.images), "none": 0}[site.tables]
    table_bytes = 0 if site.tables == "none" else PARQUET_BYTES
    total = (
        live * (page_bytes + RECORD_BYTES + table_bytes + LISTED_BYTES)
        + rows * IMAGE_ROW_BYTES
        + single * THUMBNAIL_BYTES
        + opened * PAGE_BYTES
        + cells
        + FRONT_BYTES
    )
    files = pages + shards + single + opened + sheets + FRONT_FILES
    fullest = pages if grouped else 1000
    largest = max(live * table_bytes / 3, rows * IMAGE_ROW_BYTES / 2)
    return Tally(int(total), files, fullest, int(largest), largest="parquet/images.parquet")


def whole_site(size: Size, config: Config) -> Tally:
    """Predict what a site takes on the disk, its pictures with it."""
    together = config.site.model_copy(update={"media_base_url": ""})
    return tally_of(size, config, together)


def tally_of(size: Size, config: Config, site: SiteSettings) -> Tally:
    """Predict the bytes and files of the site that a configuration describes."""
    pictured = config.embed.pictures is not None and site.images in ("auto", "thumbnails")
    thumbnails = config.embed.thumbnail_px if pictured else 0
    drawn = config.icons.px if config.icons.decoder else thumbnails
    opened = config.catalog.decomposed_images
    return site_tally(size, site, opened, source_px=(drawn, thumbnails), pictured=pictured)
