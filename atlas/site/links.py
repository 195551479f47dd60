"""Every address of the site: where a page lies, and how one page links to another.

Addresses are permanent. All links are relative, so that the site works in any folder, on any
host and from disk. Unless a function says otherwise, an address is relative to the site's root.
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
TAKEDOWN = "takedown.txt"
SHORT = "go.html"
"""Leads from go.html?f=12345 to the feature, whatever the layout."""
STYLE = "assets/site.css"
ICONS_STYLE = "assets/icons.css"
"""Natural sizes of pictures, and the addresses of the sheets of icons, once: a page would repeat them
some thirty times."""
FEATURES_SCRIPT = "assets/features.js"
"""Which files of rows and words there are, and the regions of the map."""
SPOTS_SCRIPT = "assets/spots.js"
"""Positions of the features on the map, and which are strongest."""
MEASURES_SCRIPT = "assets/measures.js"
"""Columns that browsing sorts and filters by and does not show."""
ROUNDS_SCRIPT = "assets/rounds.js"
PICTURES_SCRIPT = "assets/pictures.js"
"""Hashes of the pictures shown, to find a reader's own picture."""
API = "api/v1"
INDEX = f"{API}/index.json"
"""What the JSON files hold, and how the site is laid out."""
FEATURES_A_GROUP = 16
FEATURES_A_SHEET = 4
PICTURE_FOLDERS = frozenset(
    ("concept", "icon", "knob", "map", "other", "sheet", "strip", "thumb", "transfer")
)
"""Folders at the site's root that hold pictures and nothing that a page links to."""
MEDIA = "media"
"""Folder of all pictures if they are published at another address."""
ICON_COLUMNS = 8
"""Columns and rows of a sheet of icons; the style sheet and the scripts repeat it."""
LONGEST_URL = 2000
CARD = "assets/card.webp"
"""The picture of a shared page that has none of its own."""
EMBED = "embed/feature.html"
"""One page for all features, by the number behind #: for frames in other people's pages."""
OTHER = "0-9"
"""The page of the words that do not begin with a Latin letter."""


def feature_page(feature: int, layout: str = "pages") -> str:
    """Return the page of a live feature, or its anchor on the page of its group."""
    if layout == "groups":
        return f"{group_page(feature // FEATURES_A_GROUP)}#f{feature}"
    return f"feature/{feature // 1000}/{feature}.html"


def features_a_sheet(layout: str = "pages") -> int:
    """Return how many consecutive feature numbers, live or not, share a sheet of thumbnails."""
    return FEATURES_A_GROUP if layout == "groups" else FEATURES_A_SHEET


def any_feature_page(layout: str = "pages") -> str:
    """Return a stand-in for the address of a feature's page: links from it are right on all of them."""
    return "feature/-.html" if layout == "groups" else "feature/-/-.html"


def group_page(group: int) -> str:
    """Return the page that shows up to sixteen features of consecutive numbers."""
    return f"feature/{group:04d}.html"


def icon_sheet(sheet: int) -> str:
    """Return a sheet of icons, in the order of the map."""
    return f"sheet/icon/{sheet}.webp"


def map_tile(level: int, tile: int) -> str:
    """Return a tile of the map's icons; tiles of a level are numbered row by row."""
    return f"map/{level}-{tile}.webp"


def thumbnail_sheet(sheet: int) -> str:
    """Return a sheet of the thumbnails on some features' pages."""
    return f"sheet/{sheet // 1000}/{sheet}.webp"


def twice(sheet: str) -> str:
    """Return the second sheet, of the same pictures at twice the resolution."""
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
    """Return where an icon lies in its sheet; None for a picture that is a file of its own."""
    sheet, mark, area = address.partition("#xywh=")
    if not mark:
        return None
    left, top, px, _ = (int(number) for number in area.split(","))
    return Cell(int(posixpath.basename(sheet).partition(".")[0]), left // px, top // px)


def image_page(image: int) -> str:
    """Return the page of a decomposed image."""
    return f"image/{image // 1000}/{image}.html"


def thumbnail(image: int) -> str:
    """Return the thumbnail of an image."""
    return f"thumb/{image // 1000}/{image}.webp"


def icon(feature: int) -> str:
    """Return the rendered icon of a feature."""
    return f"icon/{feature // 1000}/{feature}.webp"


def other_icon(feature: int) -> str:
    """Return the icon of a feature of the atlas that this one is compared with."""
    return f"other/{feature}.webp"


def concept_icon(image: int, concept: int) -> str:
    """Return the icon of a coarse concept of an example image."""
    return f"concept/{image // 1000}/{image}-{concept}.webp"


def concept_page(recurring: int) -> str:
    """Return the page of a recurring concept."""
    return f"concepts/{recurring}.html"


def knob(image: int, concept: int) -> str:
    """Return the strip of an image rendered with a concept at every gain."""
    return f"knob/{image // 1000}/{image}-{concept}.webp"


def transfer(image: int, source: int) -> str:
    """Return the picture of an image rendered with a concept of another image."""
    return f"transfer/{image // 1000}/{image}-{source}.webp"


def strip(feature: int) -> str:
    """Return the strip of a feature's icon at several strengths."""
    return f"strip/{feature // 1000}/{feature}.webp"


def browse_page(number: int) -> str:
    """Return a page of the wall of all features; the first is number 1."""
    return BROWSE if number == 1 else f"browse/{number}.html"


def pictures_page(number: int) -> str:
    """Return a page of the list of decomposed images; the first is number 1."""
    return PICTURES if number == 1 else f"pictures/{number}.html"


def words_page(letter: str) -> str:
    """Return the page of the labels that begin with a letter, or of the rest (OTHER)."""
    return f"words/{letter}.html"


def family_page(cluster: int) -> str:
    """Return the page of a cluster of the middle level."""
    return f"family/{cluster}.html"


def oembed_json(feature: int) -> str:
    """Return what other sites are told that want to show a feature (oembed.com)."""
    return f"oembed/{feature // 1000}/{feature}.json"


def feature_json(feature: int) -> str:
    """Return the JSON file that holds a live feature, with 63 others."""
    return f"{API}/features/{feature // 64}.json"


def pairs_json() -> str:
    """Return the JSON file of all pairs of a comparison."""
    return f"{API}/compare.json"


def search_script(name: str) -> str:
    """Return the script with the words of a prefix, by its search_index.file_name.

    The w keeps names from Windows, which has no con.js, and from Jekyll, which drops _.js.
    """
    return f"assets/search/w{name}.js"


def rows_script(number: int) -> str:
    """Return a script with the rows of features of consecutive numbers."""
    return f"assets/features/{number}.js"


def sitemap(number: int) -> str:
    """Return a list of the site's pages; the first is number 1."""
    return f"sitemap-{number}.xml"


def parquet_file(table: str) -> str:
    """Return a table's Parquet copy."""
    return f"parquet/{table}.parquet"


def is_picture(address: str) -> bool:
    """Return whether an address is that of a picture."""
    return address.partition("/")[0] in PICTURE_FOLDERS


def stored(address: str, media: str) -> str:
    """Return the path of a file below the site's folder.

    Args:
        address: As pages have it.
        media: Where pictures are published; empty if beside the pages.
    """
    return f"{MEDIA}/{address}" if media and is_picture(address) else address


def published(address: str, media: str) -> str:
    """Return the full URL of a picture published elsewhere; any other address unchanged.

    Args:
        address: Relative to the site's root.
        media: As in stored.
    """
    return f"{media}/{address}" if media and is_picture(address) else address


def absolute(base: str, address: str, media: str = "") -> str:
    """Return the full URL of a page or file.

    Args:
        base: Where the site is published, without a slash at the end.
        address: Relative to the site's root.
        media: Where pictures are published; empty if beside the pages.
    """
    return published(address, media) if media and is_picture(address) else f"{base}/{address}"


def origin(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def relative(page: str, target: str, media: str = "") -> str:
    """Return the link from one page to a target, both relative to the site's root.

    Args:
        page: The page with the link.
        target: Where it leads.
        media: Where pictures are published; empty if beside the pages.
    """
    if media and is_picture(target):
        return published(target, media)
    path, mark, anchor = target.partition("#")
    return f"{_relative(page.rpartition('/')[0], path)}{mark}{anchor}"


def rooted(root: str, target: str) -> str:
    """Return the link to a target from a page that may be served at any address (404.html).

    Args:
        root: Path of the site on its host, without a slash at the end.
        target: Relative to the site's root.
    """
    return target if target.startswith("#") else f"{root}/{target}"


@lru_cache(maxsize=1 << 16)
def _relative(folder: str, path: str) -> str:
    return posixpath.relpath(path, folder or ".") if path else ""


def outward(url: str | None) -> str:
    """Return a URL that is safe to link to, or an empty string.

    Only http and https, with a host, without a user name or control characters, and not too long.
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
    """Return where to give feedback, or an empty string; the form of a new issue gets the title."""
    address = outward(url)
    if not urlsplit(address).path.endswith("/issues/new"):
        return address
    return f"{address}{'&' if urlsplit(address).query else '?'}title={quote(subject, safe='')}"
