"""Every address of the site: where a page lies, and how one page points to another.

Addresses are permanent. All links are relative, so that the site works in any folder, on any
host and from a disk.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

HOME = "index.html"
BROWSE = "browse.html"
MAP = "map.html"
PICTURES = "pictures.html"
CONCEPTS = "concepts.html"
SEARCH = "search.html"
FAMILIES = "families.html"
REPORT = "report.html"
COMPARE = "compare.html"
DATA = "data.html"
ABOUT = "about.html"
DEAD = "dead.html"
NOT_FOUND = "404.html"
STYLE = "assets/site.css"
ICONS_STYLE = "assets/icons.css"
"""Where each sheet of icons lies: said once, as pages say it some thirty times."""
FEATURES_SCRIPT = "assets/features.js"
"""What the scripts find: which files of rows and words there are, and the map's regions."""
SPOTS_SCRIPT = "assets/spots.js"
"""Where every feature lies on the map, and which are strongest."""
MEASURES_SCRIPT = "assets/measures.js"
"""What browsing sorts by, beyond what it shows."""
ROUNDS_SCRIPT = "assets/rounds.js"
PICTURES_SCRIPT = "assets/pictures.js"
"""Hashes of the pictures shown, for whoever brings one."""
API = "api/v1"
FEATURES_A_GROUP = 16
FEATURES_A_SHEET = 4
PICTURE_FOLDERS = frozenset(
    ("concept", "icon", "knob", "other", "sheet", "strip", "thumb", "transfer")
)
"""Folders at the site's root that hold pictures and nothing that a page links to."""
MEDIA = "media"
"""Folder of the pictures' folders where pages have the pictures from another address."""
ICON_COLUMNS = 8
"""Of a sheet of icons, and its rows; the style sheet and the scripts know it too."""
LONGEST_URL = 2000
OTHER = "0-9"
"""The page of words that begin with no Latin letter."""


def feature_page(feature: int, layout: str = "pages") -> str:
    """Return the page of a live feature, or its place on the page of its group."""
    if layout == "groups":
        return f"{group_page(feature // FEATURES_A_GROUP)}#f{feature}"
    return f"feature/{feature // 1000}/{feature}.html"


def features_a_sheet(layout: str = "pages") -> int:
    """Return of how many consecutive numbers, live or not, the features' thumbnails share a sheet."""
    return FEATURES_A_GROUP if layout == "groups" else FEATURES_A_SHEET


def any_feature_page(layout: str = "pages") -> str:
    """Return an address in place of every feature's page: links counted from it hold on each of them."""
    return "feature/-.html" if layout == "groups" else "feature/-/-.html"


def group_page(group: int) -> str:
    """Return the page that shows up to sixteen features of consecutive numbers."""
    return f"feature/{group:04d}.html"


def icon_sheet(sheet: int) -> str:
    """Return a sheet of icons, in the order of the map."""
    return f"sheet/icon/{sheet}.webp"


def thumbnail_sheet(sheet: int) -> str:
    """Return a sheet of the thumbnails that the pages of some features show."""
    return f"sheet/{sheet // 1000}/{sheet}.webp"


def twice(sheet: str) -> str:
    """Return the sheet of the same pictures for dense screens, which lies beside."""
    return f"{sheet.removesuffix('.webp')}@2x.webp"


class Cell(NamedTuple):
    """One icon of a sheet."""

    sheet: int
    """Number of the sheet."""
    x: int
    """Columns before it."""
    y: int
    """Rows before it."""


def icon_cell(place: int, px: int) -> str:
    """Return the address of an icon in its sheet, by its place in the order of the map."""
    sheet, number = divmod(place, ICON_COLUMNS**2)
    y, x = divmod(number, ICON_COLUMNS)
    return f"{icon_sheet(sheet)}#xywh={x * px},{y * px},{px},{px}"


@lru_cache(maxsize=1 << 16)
def as_cell(address: str) -> Cell | None:
    """Return where an icon lies in its sheet, or nothing for a picture that is a file of its own."""
    sheet, mark, area = address.partition("#xywh=")
    if not mark:
        return None
    left, top, px, _ = (int(number) for number in area.split(","))
    return Cell(int(posixpath.basename(sheet).partition(".")[0]), left // px, top // px)


def image_page(image: int) -> str:
    """Return the page of an image that has one."""
    return f"image/{image // 1000}/{image}.html"


def thumbnail(image: int) -> str:
    """Return the picture of an image."""
    return f"thumb/{image // 1000}/{image}.webp"


def icon(feature: int) -> str:
    """Return the rendered icon of a feature."""
    return f"icon/{feature // 1000}/{feature}.webp"


def other_icon(feature: int) -> str:
    """Return the picture of a feature of the atlas that this one is compared with."""
    return f"other/{feature}.webp"


def concept_icon(image: int, concept: int) -> str:
    """Return the icon of a coarse concept of an example image."""
    return f"concept/{image // 1000}/{image}-{concept}.webp"


def concept_page(recurring: int) -> str:
    """Return the page of a recurring concept."""
    return f"concepts/{recurring}.html"


def knob(image: int, concept: int) -> str:
    """Return the picture of an image with a concept at every gain, side by side."""
    return f"knob/{image // 1000}/{image}-{concept}.webp"


def transfer(image: int, source: int) -> str:
    """Return the picture of an image with a concept of another one."""
    return f"transfer/{image // 1000}/{image}-{source}.webp"


def strip(feature: int) -> str:
    """Return the picture of a feature's strengths, side by side."""
    return f"strip/{feature // 1000}/{feature}.webp"


def browse_page(number: int) -> str:
    """Return a page of the wall of all features; the first is number 1."""
    return BROWSE if number == 1 else f"browse/{number}.html"


def pictures_page(number: int) -> str:
    """Return a page of the opened pictures; the first is number 1."""
    return PICTURES if number == 1 else f"pictures/{number}.html"


def words_page(letter: str) -> str:
    """Return the page of the labels that begin with a letter, or of the rest (OTHER)."""
    return f"words/{letter}.html"


def family_page(cluster: int) -> str:
    """Return the page of a cluster of the middle level."""
    return f"family/{cluster}.html"


def feature_json(feature: int) -> str:
    """Return the JSON file that holds a live feature, with 63 others."""
    return f"{API}/features/{feature // 64}.json"


def pairs_json() -> str:
    """Return the JSON file of all pairs of a comparison."""
    return f"{API}/compare.json"


def search_script(name: str) -> str:
    """Return the script with the words that begin alike, by search_index.file_name of how they do."""
    return f"assets/search/{name}.js"


def rows_script(number: int) -> str:
    """Return a script with the names and icons of some features of consecutive numbers."""
    return f"assets/features/{number}.js"


def sitemap(number: int) -> str:
    """Return a list of the site's pages; the first is number 1."""
    return f"sitemap-{number}.xml"


def parquet_file(table: str) -> str:
    """Return a table's Parquet copy."""
    return f"parquet/{table}.parquet"


def is_picture(address: str) -> bool:
    """Return whether an address, counted from the site's root, is a picture's."""
    return address.partition("/")[0] in PICTURE_FOLDERS


def stored(address: str, media: str) -> str:
    """Return where a file lies below the site's folder.

    Args:
        address: As pages have it, counted from the site's root.
        media: Where pictures will be published; empty where with the pages.
    """
    return f"{MEDIA}/{address}" if media and is_picture(address) else address


def published(address: str, media: str) -> str:
    """Return the whole address of a picture that is published elsewhere, else the address as it is.

    Args:
        address: Counted from the site's root.
        media: As in stored.
    """
    return f"{media}/{address}" if media and is_picture(address) else address


def origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def relative(page: str, target: str, media: str = "") -> str:
    """Return the link from one page to a target, both counted from the site's root.

    Args:
        page: Where the link stands.
        target: Where it leads.
        media: Where pictures are published; empty where with the pages.
    """
    if media and is_picture(target):
        return published(target, media)
    path, mark, anchor = target.partition("#")
    return f"{_way(page.rpartition('/')[0], path)}{mark}{anchor}"


def rooted(root: str, target: str) -> str:
    """Return the link to a target from a page that may be answered at any address.

    Args:
        root: Path of the site on its host, without a slash at the end.
        target: Counted from the site's root.
    """
    return target if target.startswith("#") else f"{root}/{target}"


@lru_cache(maxsize=1 << 16)
def _way(folder: str, path: str) -> str:
    return posixpath.relpath(path, folder or ".") if path else ""


def outward(url: str | None) -> str:
    """Return an address of the open web that is safe to link to, or nothing.

    Only http and https with a host, no user name, no control characters, and not endless.
    """
    if not url or len(url) > LONGEST_URL or re.search(r"[\x00-\x20\x7f\\]", url):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return ""
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    netloc = parts.netloc if parts.netloc.isascii() else quote(parts.netloc, safe=":[]")
    return urlunsplit((parts.scheme, netloc, path, query, ""))


def feedback(url: str | None, subject: str) -> str:
    """Return where to write about a subject, or nothing; a form for a new issue gets it as title."""
    address = outward(url)
    if not urlsplit(address).path.endswith("/issues/new"):
        return address
    return f"{address}{'&' if urlsplit(address).query else '?'}title={quote(subject, safe='')}"
