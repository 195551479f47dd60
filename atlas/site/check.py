"""Checks of a finished site: the promises that a reader, a browser and a host rely on."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from atlas.base.errors import MissingError, SiteError
from atlas.run.receipt import RECEIPT
from atlas.run.workers import devices_of, in_workers
from atlas.settings.runtime import Runtime
from atlas.site import links
from atlas.site.hosts import Tally, tally, why_over

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src {}; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'"
)
"""The content security policy of every page, first in its head, but for where pictures come from.

No page asks for a file by itself; auditors do within it, for robots.txt: so connect-src."""
LINKING = {"a": "href", "link": "href", "img": "src", "script": "src", "form": "action"}
SAFE_RELS = {"noopener", "noreferrer", "nofollow"}
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
PROBLEMS_SHOWN = 3
PAGES_AT_ONCE = 100
WORTH_WORKERS = 8
"""Tasks from which on the start of worker processes is worth its moment."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found in a site that keeps its promises."""

    pages: int
    read: int
    """Pages that were read; the others are those of an earlier site."""
    files: int
    links: int
    size_bytes: int
    largest_page: str
    largest_page_bytes: int
    tally: Tally
    """Of what its host gets."""
    pictures: int = 0
    """Of those files: the ones to be published elsewhere."""
    picture_bytes: int = 0
    media: str = ""
    """Where those are to be published."""

    def summary(self) -> str:
        """Return one line for people."""
        kept = f" ({self.pages - self.read:,} as they were)" if self.read < self.pages else ""
        apart = (
            f"; of these {self.pictures:,} files, {self.picture_bytes / 1e6:,.1f} MB, "
            f"in {links.MEDIA}/ for {self.media}"
        )
        return (
            f"site: {self.pages:,} pages{kept}, {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB, "
            f"{self.links:,} links, all good; largest page {self.largest_page} "
            f"({self.largest_page_bytes / 1e3:,.0f} kB){apart if self.media else ''}"
        )


TAG = re.compile(r'<(?:!--.*?-->|(/?[a-zA-Z!][^\s/>]*)((?:[^">]|"[^"]*")*)>)|(<)', re.DOTALL)
"""A comment, a tag with its attributes, or a "<" that begins neither."""
ATTRIBUTE = re.compile(r'\s+([^\s"=]+)(?:="([^"]*)")?')
CELL = re.compile(r"cell s(\d+)")
"""Class of a cell whose sheet of icons the style sheet names."""
ADDRESS = re.compile(r"""url\(\s*["']?([^"')]*)["']?\s*\)""")
"""What a style sheet fetches."""
MEDIA = re.compile(r'<html [^>]*data-media="([^"]*)"')
MISSING = re.compile(r'id="missing" data-root="([^"]*)"')
REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")


@dataclass(slots=True)
class _Page:
    """What one page holds."""

    problems: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    links: int = 0
    root: str | None = None
    """Path of the site on its host, where the page may be answered at any address."""
    anchored: list[tuple[str, str, str]] = field(default_factory=list)
    """(address, the page that it leads to, the anchor there) of the links whose anchor is to be found."""


class _Tag(NamedTuple):
    """A tag by itself."""

    name: str
    found: dict[str, str]
    problems: tuple[str, ...]
    targets: tuple[str, ...]
    """Where it links to within the site."""
    pictures: tuple[tuple[str, str], ...]
    """(address, place below the site's folder) of pictures found by the site's root, or published elsewhere."""


def policy_of(media: str) -> str:
    """Return the policy of a site whose pictures are published at an address, empty where with its pages."""
    return POLICY.format(f"'self' {links.origin(media)}" if media else "'self'")


@lru_cache(maxsize=1 << 14)
def _read_tag(name: str, attributes: str, media: str) -> _Tag:
    """Return a tag; on ten thousands of pages most are the same."""
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
            rels = set(found.get("rel", "").split())
            if name != "a" or parts.scheme not in ("http", "https") or not rels >= SAFE_RELS:
                problems.append(f"<{name}> leads out to {address}")
        else:
            targets.append(address)
    if name == "i" and (cell := CELL.match(found.get("class", ""))):
        sheet = links.icon_sheet(int(cell[1]))
        pictures.append((f"class s{cell[1]}", links.stored(sheet, media)))
    return _Tag(name, found, tuple(problems), tuple(targets), tuple(pictures))


def _addresses(name: str, found: Mapping[str, str]) -> list[str]:
    """Return every address that a tag names, those of a picture for other screens with the rest."""
    addresses = [found[LINKING[name]]] if found.get(LINKING.get(name, "")) else []
    for candidate in found.get("srcset", "").split(",") if name == "img" else ():
        addresses += candidate.split()[:1]
    return addresses


def _elsewhere(address: str, media: str) -> str:
    """Return the place below the site's folder of a picture that is published elsewhere, or nothing."""
    if not media or not address.startswith(f"{media}/"):
        return ""
    return links.stored(address.partition("#")[0].removeprefix(f"{media}/"), media)


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # for instance a bracket that is no address of a machine
        return SplitResult("broken", address, "", "", "")


def _read_page(name: str, text: str, files: Container[str], media: str) -> _Page:
    """Return what a page holds and what is wrong with it by itself.

    Args:
        name: Its address.
        text: Its markup.
        files: Places of all files below the site's folder.
        media: Where pictures are published; empty where with the pages.
    """
    missing = MISSING.search(text) if name == "404.html" else None
    page = _Page(root=missing[1] if missing and missing[1] != "." else None)
    counts: Counter[str] = Counter()
    policy = language = ""
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
        if tag_name == "meta" and not policy and "charset" not in tag.found:
            policy = tag.found.get("content", "")
        elif tag_name == "html":
            language = tag.found.get("lang", "")
        if tag.targets or tag.pictures:
            page.links += len(tag.targets) + len(tag.pictures)
            _follow(page, name, tag, files)
    page.problems += _of_whole(text, policy == policy_of(media), language, counts)
    return page


def _of_whole(text: str, ours: bool, language: str, counts: Mapping[str, int]) -> list[str]:
    """Return what is wrong with a page as a whole."""
    problems = []
    codes = (int(h, 16) if h else int(d) for h, d in REFERENCE.findall(text))
    referred = "".join(chr(code) for code in codes if code < 0x110000)
    if CONTROL.search(text) or CONTROL.search(referred):
        problems.append("a control character")
    if not ours:
        problems.append("the content security policy is not first, or not ours")
    if not language:
        problems.append("no language")
    if not counts["title"]:
        problems.append("no title")
    if counts["h1"] != 1:
        problems.append(f"{counts['h1']} headings of the first rank")
    return problems


def _follow(page: _Page, name: str, tag: _Tag, files: Container[str]) -> None:
    """Note where the links of a tag lead, and what is wrong with them."""
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
        # map.html#f12 is read by the map's script.
        elif tag.name == "a" and anchor and target.endswith(".html") and target != "map.html":
            page.anchored.append((address, target, anchor))


def _read_style(name: str, text: str, files: Container[str], media: str) -> _Page:
    """Return what a style sheet leads to and what is wrong with that; arguments as in _read_page."""
    page = _Page()
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
    """Return the address that a relative path means on a page."""
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
    """Return whether a picture has what it needs; the style sheet sizes those of a sheet."""
    if "/sheet/" in f"/{found.get('src')}":
        return "alt" in found
    return {"alt", "width", "height"} <= found.keys()


def check_site(folder: Path, before: Path | None = None) -> Checked:
    """Check the pages of a finished site: links and their anchors, policy, pictures, escapes.

    Args:
        folder: The site.
        before: An earlier site that passed this check; may be missing. Pages that are the very
            files of it (hard links) are not read again unless a file or an anchor is gone.

    Raises:
        MissingError: There is no site.
        SiteError: A promise is broken; the first few problems are named.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    sizes = dict(list_sizes(folder))
    names = sorted(name for name in sizes if name.endswith(".html"))
    changed = _changed(folder, before, names) if before is not None else names
    found = _read_pages(folder, changed)
    if before is not None and len(changed) < len(names):
        if _lost(before, sizes, found):
            changed, found = names, _read_pages(folder, names)
        else:
            aims = {target for page in found.values() for _, target, _ in page.anchored}
            found |= _read_pages(folder, sorted(aims - found.keys()))
    styles = _read_styles(folder, sizes)
    problems = _problems_of(found | styles)
    if problems:
        more = (
            f" and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        )
        raise SiteError(
            f"{folder} breaks its promises: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}"
        )
    n_links = sum(found[name].links for name in changed)
    n_links += sum(style.links for style in styles.values())
    largest = max(names, key=lambda name: (sizes[name], name))
    media = media_of(folder)
    apart = {n: size for n, size in sizes.items() if media and n.startswith(f"{links.MEDIA}/")}
    return Checked(
        len(names),
        len(changed),
        len(sizes),
        n_links,
        sum(sizes.values()),
        largest,
        sizes[largest],
        tally({name: size for name, size in sizes.items() if name not in apart}),
        len(apart),
        sum(apart.values()),
        media,
    )


def media_of(folder: Path) -> str:
    """Return where the pictures of a finished site are to be published; empty where with its pages."""
    found = MEDIA.search((folder / links.HOME).read_text(encoding="utf-8"))
    return unescape(found[1]) if found else ""


def _changed(folder: Path, before: Path, names: Sequence[str]) -> list[str]:
    """Return the pages that are not the very files of an earlier site."""
    return [name for name in names if _file(folder / name) != _file(before / name)]


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _lost(before: Path, files: Container[str], found: Mapping[str, _Page]) -> bool:
    """Return whether a file or an anchor is gone that pages of an earlier site may lead to."""
    old = [name for name, _ in list_sizes(before)]
    if any(name not in files for name in old if name != RECEIPT):
        return True
    pages = _read_pages(before, sorted(found.keys() & set(old)))
    return any(page.anchors - found[name].anchors for name, page in pages.items())


def _read_pages(folder: Path, names: Sequence[str]) -> dict[str, _Page]:
    """Return what each of some pages holds."""
    tasks = [names[start : start + PAGES_AT_ONCE] for start in range(0, len(names), PAGES_AT_ONCE)]
    cores = devices_of(Runtime()) if len(tasks) >= WORTH_WORKERS else ["cpu"]
    pages = in_workers(cores, partial(_take, folder), _parse, tasks)
    return {
        name: page
        for some, held in zip(tasks, pages, strict=True)
        for name, page in zip(some, held, strict=True)
    }


def _read_styles(folder: Path, files: Mapping[str, int]) -> dict[str, _Page]:
    """Return what each style sheet leads to."""
    media = media_of(folder)
    return {
        name: _read_style(name, (folder / name).read_text(encoding="utf-8"), files, media)
        for name in files
        if name.endswith(".css")
    }


def _problems_of(found: Mapping[str, _Page]) -> list[str]:
    """Return what is wrong with pages, by their names; all that they lead to has been read."""
    problems = [(name, problem) for name, page in found.items() for problem in page.problems]
    problems += [
        (name, f"{address}: no such anchor")
        for name, page in found.items()
        for address, target, anchor in page.anchored
        if target in found and anchor not in found[target].anchors
    ]
    return [f"{name}: {problem}" for name, problem in sorted(problems)]


def check_host(found: Tally, host: str) -> None:
    """Hold a site against its host's limits.

    Args:
        found: What the site takes.
        host: A name of atlas.hosts.HOSTS.

    Raises:
        SiteError: It takes more; the message says what to change.
    """
    over = why_over(found, host)
    if over:
        raise SiteError(f"the site has {'; it has '.join(over)}")


def list_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the address and the size of every file."""
    waiting = [("", str(folder))]
    while waiting:
        way, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append((f"{way}{entry.name}/", entry.path))
                else:
                    yield f"{way}{entry.name}", entry.stat().st_size


def _take(folder: Path, _device: str) -> tuple[Path, frozenset[str], str]:
    return folder, frozenset(name for name, _ in list_sizes(folder)), media_of(folder)


def _parse(site: tuple[Path, frozenset[str], str], names: Sequence[str]) -> list[_Page]:
    folder, files, media = site
    return [_read_page(n, (folder / n).read_text(encoding="utf-8"), files, media) for n in names]
