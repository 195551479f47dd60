"""Checks of a finished site: the promises that a reader, a browser and a host rely on."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from atlas.config import Runtime
from atlas.errors import MissingError, SiteError
from atlas.hosts import Tally, tally, why_over
from atlas.workers import devices_of, in_workers

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)
"""The content security policy of every page, first in its head."""
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
    files: int
    links: int
    size_bytes: int
    largest_page: str
    largest_page_bytes: int
    tally: Tally

    def summary(self) -> str:
        """Return one line for people."""
        return (
            f"site: {self.pages:,} pages, {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB, "
            f"{self.links:,} links, all good; largest page {self.largest_page} "
            f"({self.largest_page_bytes / 1e3:,.0f} kB)"
        )


@dataclass
class _Page(HTMLParser):
    """What one page holds, gathered while it is parsed."""

    targets: list[tuple[str, str]] = field(default_factory=list)
    """(tag, address)"""
    anchors: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    _first_meta: str = ""
    _lang: bool = False
    _title: bool = False
    _inside: str = ""
    _headings: int = 0

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._inside = tag
        if len(found) != len(attrs):
            self.problems.append(f"<{tag}> gives an attribute twice")
        if "id" in found:
            if found["id"] in self.anchors:
                self.problems.append(f"id {found['id']} is there twice")
            self.anchors.add(found["id"])
        self.problems += [
            f"<{tag}> has {name}" for name in found if name.startswith("on") or name == "style"
        ]
        self._note(tag, found)
        if tag in LINKING and LINKING[tag] in found:
            self._link(tag, found)

    def _note(self, tag: str, found: dict[str, str]) -> None:
        """Check what some tags must have."""
        if tag == "html":
            self._lang = bool(found.get("lang"))
        elif tag == "meta" and not self._first_meta and "charset" not in found:
            self._first_meta = found.get("content", "")
        elif tag == "title":
            self._title = True
        elif tag == "h1":
            self._headings += 1
        elif tag == "script" and "src" not in found:
            self.problems.append("an inline script")
        elif tag == "style":
            self.problems.append("an inline style sheet")
        elif tag == "img" and not {"alt", "width", "height"} <= found.keys():
            self.problems.append(f"a picture without alt, width or height: {found.get('src')}")

    def _link(self, tag: str, found: dict[str, str]) -> None:
        address = found[LINKING[tag]]
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            rels = set(found.get("rel", "").split())
            if tag != "a" or parts.scheme not in ("http", "https") or not rels >= SAFE_RELS:
                self.problems.append(f"<{tag}> leads out to {address}")
        else:
            self.targets.append((tag, address))

    def handle_data(self, data: str) -> None:
        if CONTROL.search(data):
            self.problems.append(f"a control character in <{self._inside}>")

    def finish(self) -> list[str]:
        """Return every problem of the page by itself."""
        if self._first_meta != POLICY:
            self.problems.append("the content security policy is not first, or not ours")
        if not self._lang:
            self.problems.append("no language")
        if not self._title:
            self.problems.append("no title")
        if self._headings != 1:
            self.problems.append(f"{self._headings} headings of the first rank")
        return self.problems


def check_site(folder: Path) -> Checked:
    """Check every page of a finished site: links and their anchors, policy, pictures, escapes.

    Raises:
        MissingError: There is no site.
        SiteError: A promise is broken; the first few problems are named.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    sizes = dict(_files(folder))
    names = sorted(name for name in sizes if name.endswith(".html"))
    tasks = [names[start : start + PAGES_AT_ONCE] for start in range(0, len(names), PAGES_AT_ONCE)]
    cores = devices_of(Runtime()) if len(tasks) >= WORTH_WORKERS else ["cpu"]
    parsed: dict[str, _Page] = {}
    for some, pages in zip(
        tasks, in_workers(cores, partial(_take, folder), _parse, tasks), strict=True
    ):
        parsed |= zip(some, pages, strict=True)
    problems: list[str] = []
    n_links = 0
    for name, page in parsed.items():
        problems += [f"{name}: {problem}" for problem in page.finish()]
        for tag, address in page.targets:
            n_links += 1
            problem = _why_broken(name, tag, address, sizes, parsed)
            if problem:
                problems.append(f"{name}: {problem}")
    if problems:
        more = (
            f" and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        )
        raise SiteError(
            f"{folder} breaks its promises: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}"
        )
    largest = max(parsed, key=lambda name: (sizes[name], name))
    return Checked(
        len(parsed), len(sizes), n_links, sum(sizes.values()), largest, sizes[largest], tally(sizes)
    )


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


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def _take(folder: Path, _device: str) -> Path:
    return folder


def _parse(folder: Path, names: Sequence[str]) -> list[_Page]:
    pages = []
    for name in names:
        page = _Page()
        page.feed((folder / name).read_text(encoding="utf-8"))
        page.close()
        pages.append(page)
    return pages


def _why_broken(
    name: str, tag: str, address: str, sizes: dict[str, int], parsed: dict[str, _Page]
) -> str:
    """Return what is wrong with a link, or nothing."""
    parts = urlsplit(address)
    if parts.path.startswith("/"):
        return f"{address} is not relative"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    if not parts.path:
        target = name
    if target not in sizes:
        return f"{address} leads nowhere"
    if tag == "a" and parts.fragment and target in parsed:
        known = parsed[target].anchors
        # map.html#f12 is read by the map's script.
        if parts.fragment not in known and target != "map.html":
            return f"{address}: no such anchor"
    return ""
