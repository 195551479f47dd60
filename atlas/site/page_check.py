"""What one page or style sheet of a finished site holds, and what is wrong with it by itself.

Pages are read with regular expressions, not with an HTML parser: there may be ten thousands of
them. That is safe because the check also refuses what the expressions would misread: a stray "<",
attributes that are not quoted, a name given twice.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from atlas.site import links

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src {}; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'"
)
"""The content security policy of every page, first in its head; {} is where pictures come from.

The page for frames fetches a JSON file, and auditing tools fetch robots.txt from within any: so connect-src."""
LINKING = {"a": "href", "link": "href", "img": "src", "script": "src", "form": "action"}
SHARED_RELS = ("canonical", "alternate")
"""Links of a head that say the full address of a page of this site."""
SAFE_RELS = {"noopener", "noreferrer", "nofollow"}
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
TAG = re.compile(r'<(?:!--.*?-->|(/?[a-zA-Z!][^\s/>]*)((?:[^">]|"[^"]*")*)>)|(<)', re.DOTALL)
"""A comment, a tag with its attributes, or a "<" that starts neither."""
ATTRIBUTE = re.compile(r'\s+([^\s"=]+)(?:="([^"]*)")?')
CELL = re.compile(r"cell s(\d+)")
"""Class of a cell; the style sheet has the address of its sheet of icons."""
ADDRESS = re.compile(r"""url\(\s*["']?([^"')]*)["']?\s*\)""")
"""An address that a style sheet loads."""
MISSING = re.compile(r'id="missing" data-root="([^"]*)"')
REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")


@dataclass(slots=True)
class CheckedPage:
    """What one page holds, and its problems."""

    problems: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    links: int = 0
    root: str | None = None
    """Path of the site on its host, if the page may be served at any address (404.html)."""
    anchored: list[tuple[str, str, str]] = field(default_factory=list)
    """(address, page, anchor) of each link to an anchor; the anchors are checked once all pages are read."""


class _Tag(NamedTuple):
    """A tag and what is wrong with it by itself."""

    name: str
    found: dict[str, str]
    problems: tuple[str, ...]
    targets: tuple[str, ...]
    """Addresses within the site that it links to."""
    pictures: tuple[tuple[str, str], ...]
    """(address, path below the site's folder) of pictures published elsewhere or named by a style sheet."""


REMOTE = {"class": "remote", "loading": "lazy", "referrerpolicy": "no-referrer"}
"""Attributes of every picture that a page loads from where it was found."""


def policy_of(media: str, *, remote: bool = False) -> str:
    """Return the policy of a site.

    Args:
        media: Where pictures are published; empty if beside the pages.
        remote: Whether pages load pictures from where they were found.
    """
    sources = ["'self'", *([links.origin(media)] if media else []), *(["https:"] if remote else [])]
    return POLICY.format(" ".join(sources))


@lru_cache(maxsize=1 << 14)
def _read_tag(name: str, attributes: str, media: str) -> _Tag:
    """Read a tag; cached, as most tags of a site are the same on every page."""
    pairs = ATTRIBUTE.findall(attributes)
    found = {key.lower(): unescape(value) for key, value in pairs}
    problems = [f"<{name}> gives an attribute twice"] if len(found) != len(pairs) else []
    rest = ATTRIBUTE.sub("", attributes).strip()
    if rest not in ("", "/"):
        problems.append(f"<{name}> has attributes that are not quoted: {rest}")
    problems += [f"<{name}> has {key}" for key in found if key.startswith("on") or key == "style"]
    if name == "script" and "src" not in found:
        problems.append("an inline script")
    elif name == "style":
        problems.append("an inline style sheet")
    elif name == "img" and not _sized(found):
        problems.append(f"a picture without alt, width or height: {found.get('src')}")
    targets: list[str] = []
    pictures: list[tuple[str, str]] = []
    for address in _addresses(name, found):
        parts = _split(address)
        if place := _elsewhere(address, media) if name == "img" else "":
            pictures.append((address, place))
        elif parts.scheme or parts.netloc:
            if not _may_lead_out(name, parts.scheme, found):
                problems.append(f"<{name}> leads out to {address}")
        else:
            targets.append(address)
    if name == "i" and (cell := CELL.match(found.get("class", ""))):
        sheet = links.icon_sheet(int(cell[1]))
        pictures.append((f"class s{cell[1]}", links.stored(sheet, media)))
    return _Tag(name, found, tuple(problems), tuple(targets), tuple(pictures))


def _may_lead_out(name: str, scheme: str, found: Mapping[str, str]) -> bool:
    """Return whether a tag may have an address outside the site: a safe link, a remote picture."""
    if name == "link":
        return scheme in ("http", "https") and found.get("rel") in SHARED_RELS
    if name == "img":
        return scheme == "https" and REMOTE.items() <= found.items()
    return (
        name == "a"
        and scheme in ("http", "https")
        and set(found.get("rel", "").split()) >= SAFE_RELS
    )


def _addresses(name: str, found: Mapping[str, str]) -> list[str]:
    """Return every address in a tag, those of srcset included."""
    addresses = [found[LINKING[name]]] if found.get(LINKING.get(name, "")) else []
    for candidate in found.get("srcset", "").split(",") if name == "img" else ():
        addresses += candidate.split()[:1]
    return addresses


def _elsewhere(address: str, media: str) -> str:
    """Return the path below the site's folder of a picture published elsewhere; else an empty string."""
    if not media or not address.startswith(f"{media}/"):
        return ""
    return links.stored(address.partition("#")[0].removeprefix(f"{media}/"), media)


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # for instance a bracket that encloses no IPv6 address
        return SplitResult("broken", address, "", "", "")


def read_page(name: str, text: str, files: Container[str], media: str) -> CheckedPage:
    """Read a page and check it by itself.

    Args:
        name: Its address.
        text: Its markup.
        files: Paths of all files below the site's folder.
        media: Where pictures are published; empty if beside the pages.
    """
    missing = MISSING.search(text) if name == "404.html" else None
    page = CheckedPage(root=missing[1] if missing and missing[1] != "." else None)
    counts: Counter[str] = Counter()
    language = ""
    told: list[Mapping[str, str]] = []
    for tag_name, attributes, stray in TAG.findall(text):
        if stray:
            page.problems.append("a < that begins no tag")
        if not tag_name or tag_name[0] in "/!":
            continue
        counts[tag_name] += 1
        if not attributes and tag_name not in ("script", "style", "img"):
            continue
        tag = _read_tag(tag_name, attributes, media)
        page.problems += tag.problems
        if "id" in tag.found:
            if tag.found["id"] in page.anchors:
                page.problems.append(f"id {tag.found['id']} is there twice")
            page.anchors.add(tag.found["id"])
        if tag_name in ("link", "meta"):
            told.append(tag.found)
        elif tag_name == "html":
            language = tag.found.get("lang", "")
        if tag.targets or tag.pictures:
            page.links += len(tag.targets) + len(tag.pictures)
            _add_links(page, name, tag, files)
    page.problems += _shared_problems(name, told, files, media)
    remote = f'class="{REMOTE["class"]}"' in text
    metas = (found for found in told if "rel" not in found and "charset" not in found)
    policy = next(metas, {}).get("content", "")
    own = policy in {policy_of(media, remote=True), policy_of(media, remote=remote)}
    page.problems += _page_problems(text, own, language, counts)
    return page


def _shared_problems(
    name: str, told: Sequence[Mapping[str, str]], files: Container[str], media: str
) -> list[str]:
    """Return what is wrong with the full addresses that a page's head says of itself.

    Args:
        name: The page's address.
        told: The attributes of its links and metas.
        files: Paths of all files below the site's folder.
        media: Where pictures are published; empty if beside the pages.
    """
    own = [found["href"] for found in told if found.get("rel") == "canonical"]
    base = own[0].removesuffix(name) if own else ""
    problems = [f"{address} is not the page's own" for address in own if address != base + name]
    others = [found["href"] for found in told if found.get("rel") == "alternate"]
    others += [found["content"] for found in told if found.get("property") == "og:image"]
    for address in others:
        place = _elsewhere(address, media) or address.removeprefix(base)
        if not base or place not in files:
            problems.append(f"{address} leads nowhere")
    return problems


def _page_problems(
    text: str, own_policy: bool, language: str, counts: Mapping[str, int]
) -> list[str]:
    """Return the problems of a page as a whole."""
    problems = []
    codes = (int(h, 16) if h else int(d) for h, d in REFERENCE.findall(text))
    referred = "".join(chr(code) for code in codes if code < 0x110000)
    if CONTROL.search(text) or CONTROL.search(referred):
        problems.append("a control character")
    if not own_policy:
        problems.append("the content security policy is not first, or not ours")
    if not language:
        problems.append("no language")
    if not counts["title"]:
        problems.append("no title")
    if counts["h1"] != 1:
        problems.append(f"{counts['h1']} headings of the first rank")
    return problems


def _add_links(page: CheckedPage, name: str, tag: _Tag, files: Container[str]) -> None:
    """Add the links of a tag, and their problems, to its page."""
    for address, place in tag.pictures:
        if place not in files:
            page.problems.append(f"{address} leads nowhere: no {place}")
    for address in tag.targets:
        path, _, anchor = address.partition("#")
        if page.root is not None and path.startswith(f"{page.root}/"):
            path = path[len(page.root) + 1 :]
        target = _resolve(name, path.partition("?")[0])
        if path.startswith("/"):
            page.problems.append(f"{address} is not relative")
        elif target not in files:
            page.problems.append(f"{address} leads nowhere")
        # The map has no anchors: its script reads map.html#f12.
        elif tag.name == "a" and anchor and target.endswith(".html") and target != "map.html":
            page.anchored.append((address, target, anchor))


def read_style(name: str, text: str, files: Container[str], media: str) -> CheckedPage:
    """Read a style sheet and check its addresses; arguments as in read_page."""
    page = CheckedPage()
    for address in ADDRESS.findall(text):
        page.links += 1
        parts, place = _split(address), _elsewhere(address, media)
        if not place and (parts.scheme or parts.netloc or address.startswith("/")):
            page.problems.append(f"leads out to {address}")
        elif place and place not in files:
            page.problems.append(f"{address} leads nowhere: no {place}")
        elif not place and _resolve(name, address) not in files:
            page.problems.append(f"{address} leads nowhere")
    return page


def _resolve(name: str, path: str) -> str:
    """Return the address that a relative path on a page leads to."""
    if not path:
        return name
    if "%" in path:
        path = unquote(path)
    folder = name.rpartition("/")[0]
    while path.startswith("../") and folder:
        path, folder = path[3:], folder.rpartition("/")[0]
    path = f"{folder}/{path}" if folder else path
    return posixpath.normpath(path) if "./" in path or "//" in path else path


def _sized(found: Mapping[str, str]) -> bool:
    """Return whether a picture has alt, width and height; pictures of a sheet are sized by CSS."""
    if "/sheet/" in f"/{found.get('src')}":
        return "alt" in found
    return {"alt", "width", "height"} <= found.keys()
