"""The check of a finished site: links, anchors, policy, pictures, and its host's limits."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import unescape
from pathlib import Path

from atlas.base.errors import MissingError, SiteError
from atlas.run.receipt import RECEIPT
from atlas.run.workers import devices_of, in_workers
from atlas.settings.runtime import Runtime
from atlas.site import links
from atlas.site.hosts import Tally, tally, why_over
from atlas.site.names import name_problems
from atlas.site.page_check import CheckedPage, read_page, read_style

PROBLEMS_SHOWN = 3
PAGES_AT_ONCE = 100
"""Pages of one task for a worker."""
WORTH_WORKERS = 8
"""Tasks from which on starting worker processes saves time."""


@dataclass(frozen=True, slots=True)
class CheckedSite:
    """What a check found in a site that passed."""

    pages: int
    read: int
    """Pages that were read; the others are hard links to pages checked before."""
    files: int
    links: int
    size_bytes: int
    largest_page: str
    largest_page_bytes: int
    tally: Tally
    """Of the files that its host gets."""
    pictures: int = 0
    """Files to be published elsewhere."""
    picture_bytes: int = 0
    media: str = ""
    """The address where they are to be published."""

    def summary(self) -> str:
        """Return one line to print."""
        kept = f" ({self.pages - self.read:,} unchanged)" if self.read < self.pages else ""
        apart = (
            f"; of these {self.pictures:,} files, {self.picture_bytes / 1e6:,.1f} MB, "
            f"in {links.MEDIA}/ for {self.media}"
        )
        return (
            f"site: {self.pages:,} pages{kept}, {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB, "
            f"{self.links:,} links, all good; largest page {self.largest_page} "
            f"({self.largest_page_bytes / 1e3:,.0f} kB){apart if self.media else ''}"
        )


MEDIA = re.compile(r'<html [^>]*data-media="([^"]*)"')


def check_site(folder: Path, before: Path | None = None) -> CheckedSite:
    """Check the pages of a finished site: links and their anchors, policy, pictures, escapes.

    Args:
        folder: The site.
        before: An earlier site that passed this check; may be missing. Pages that are hard links
            to its files are not read again unless a file or an anchor is gone.

    Raises:
        MissingError: There is no site.
        SiteError: The site has problems; the message names the first few.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    sizes = dict(list_sizes(folder))
    names = sorted(name for name in sizes if name.endswith(".html"))
    changed = _not_linked(folder, before, names) if before is not None else names
    found = _read_pages(folder, changed)
    if before is not None and len(changed) < len(names):
        if _links_broken(before, sizes, found):
            changed, found = names, _read_pages(folder, names)
        else:
            aims = {target for page in found.values() for _, target, _ in page.anchored}
            found |= _read_pages(folder, sorted(aims - found.keys()))
    styles = _read_styles(folder, sizes)
    problems = [*_problems_of(found | styles), *name_problems(sizes)]
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
    return CheckedSite(
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
    """Return where the pictures of a finished site are published; empty if beside the pages."""
    found = MEDIA.search((folder / links.HOME).read_text(encoding="utf-8"))
    return unescape(found[1]) if found else ""


def _not_linked(folder: Path, before: Path, names: Sequence[str]) -> list[str]:
    """Return the pages that are not hard links to those of an earlier site."""
    return [name for name in names if _inode(folder / name) != _inode(before / name)]


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _links_broken(before: Path, files: Container[str], found: Mapping[str, CheckedPage]) -> bool:
    """Return whether a file or an anchor is gone that unchanged pages may link to."""
    old = [name for name, _ in list_sizes(before)]
    if any(name not in files for name in old if name != RECEIPT):
        return True
    pages = _read_pages(before, sorted(found.keys() & set(old)))
    return any(page.anchors - found[name].anchors for name, page in pages.items())


def _read_pages(folder: Path, names: Sequence[str]) -> dict[str, CheckedPage]:
    """Read pages, in worker processes if there are many."""
    tasks = [names[start : start + PAGES_AT_ONCE] for start in range(0, len(names), PAGES_AT_ONCE)]
    cores = devices_of(Runtime()) if len(tasks) >= WORTH_WORKERS else ["cpu"]
    pages = in_workers(cores, partial(_open_site, folder), _read_task, tasks)
    return {
        name: page
        for some, held in zip(tasks, pages, strict=True)
        for name, page in zip(some, held, strict=True)
    }


def _read_styles(folder: Path, files: Mapping[str, int]) -> dict[str, CheckedPage]:
    """Read all style sheets."""
    media = media_of(folder)
    return {
        name: read_style(name, (folder / name).read_text(encoding="utf-8"), files, media)
        for name in files
        if name.endswith(".css")
    }


def _problems_of(found: Mapping[str, CheckedPage]) -> list[str]:
    """Return all problems, missing anchors included, each with its page; sorted."""
    problems = [(name, problem) for name, page in found.items() for problem in page.problems]
    problems += [
        (name, f"{address}: no such anchor")
        for name, page in found.items()
        for address, target, anchor in page.anchored
        if target in found and anchor not in found[target].anchors
    ]
    return [f"{name}: {problem}" for name, problem in sorted(problems)]


def check_host(found: Tally, host: str) -> None:
    """Compare a site with its host's limits.

    Args:
        found: The site's files and bytes.
        host: A key of hosts.HOSTS.

    Raises:
        SiteError: The site exceeds one; the message says what to change.
    """
    over = why_over(found, host)
    if over:
        raise SiteError(f"the site has {'; it has '.join(over)}")


def list_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the address and the size in bytes of every file."""
    waiting = [("", str(folder))]
    while waiting:
        way, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append((f"{way}{entry.name}/", entry.path))
                else:
                    yield f"{way}{entry.name}", entry.stat().st_size


def _open_site(folder: Path, _device: str) -> tuple[Path, frozenset[str], str]:
    return folder, frozenset(name for name, _ in list_sizes(folder)), media_of(folder)


def _read_task(site: tuple[Path, frozenset[str], str], names: Sequence[str]) -> list[CheckedPage]:
    folder, files, media = site
    return [read_page(n, (folder / n).read_text(encoding="utf-8"), files, media) for n in names]
