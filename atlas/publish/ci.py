"""What continuous integration runs: restore, build, check, weigh, compare, and say so in a summary."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path

from atlas.base.errors import MissingError, SiteError
from atlas.base.files import link_or_copy, list_files, remove_tree
from atlas.base.progress import Progress
from atlas.base.web import is_address
from atlas.lookup.atlas import Atlas
from atlas.lookup.bundles import HUB
from atlas.lookup.markdown import cell, figures_table
from atlas.pipeline import build_atlas
from atlas.publish.diff import Difference, diff
from atlas.publish.diff_report import markdown, write_page
from atlas.publish.restore import restore
from atlas.run.receipt import RECEIPT
from atlas.settings.load import Config
from atlas.settings.paths import site_dir
from atlas.settings.publish import PublishSettings
from atlas.site.check import CheckedSite, check_host, check_site
from atlas.site.withheld import check_atlas

TEXTS = (".html", ".css", ".js", ".json", ".svg", ".txt", ".xml")
"""Suffixes of the files that servers send compressed; pictures and tables are compressed already."""
FROZEN = ("catalog", "site")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run built and found."""

    built: tuple[str, ...]
    """Stages that ran."""
    checked: CheckedSite
    difference: Difference | None
    """None where nothing was published before."""
    summary: str
    """Markdown."""


def run(
    config: Config,
    base: Path,
    *,
    site: Path | None,
    page: Path | None,
    compressed: bool = False,
    progress: Progress,
) -> Run:
    """Build what is published, and check it.

    Args:
        config: Of the atlas; its section [publish] names the bundle.
        base: Folder from which on that names places.
        site: Where to put the finished site, replaced as a whole; None for nowhere.
        compressed: Put a compressed copy, NAME.gz, beside each text that it makes smaller.
        page: Where to write what changed, as a page; None for nowhere.
        progress: Shows what is going on.

    Raises:
        ConfigError: A stage is stale that only the bundle's makers can build.
        SiteError: The site has problems, or exceeds its host's limits or the budget.
    """
    settings = config.publish
    allowed = None
    if settings.bundle:
        restore(_place(settings.bundle, base), config.out_dir, progress)
        allowed = FROZEN
    outcomes = build_atlas(config, allowed=allowed, progress=progress)
    folder = site_dir(config.out_dir)
    checked = check_site(folder)
    check_host(checked.tally, config.site.host)
    check_atlas(config.out_dir)
    check_budget(checked, settings)
    difference = _difference(config, base)
    if difference is not None and page is not None:
        write_page(difference, page)
    if site is not None:
        _put(folder, site, compressed=compressed)
    built = tuple(one.stage for one in outcomes if one.reasons)
    return Run(built, checked, difference, _summary(config, checked, difference))


def check_budget(checked: CheckedSite, settings: PublishSettings) -> None:
    """Compare a site with the budget of its configuration.

    Raises:
        SiteError: It exceeds it; the message says by how much.
    """
    page_kb, site_mb = checked.largest_page_bytes / 1e3, checked.size_bytes / 1e6
    if settings.page_kb and page_kb > settings.page_kb:
        raise SiteError(
            f"{checked.largest_page} has {page_kb:,.0f} kB of {settings.page_kb:,.0f} "
            "(publish.page_kb); show less on it, or raise the budget"
        )
    if settings.site_mb and site_mb > settings.site_mb:
        raise SiteError(
            f"the site has {site_mb:,.1f} MB of {settings.site_mb:,.1f} (publish.site_mb); set "
            "site.pictures = sheets or site.tables = none, or raise the budget"
        )


def _place(place: str, base: Path) -> str:
    return place if is_address(place) or place.startswith(HUB) else str(base / place)


def _difference(config: Config, base: Path) -> Difference | None:
    last = config.publish.last or config.site.base_url
    if not last:
        return None
    try:
        return diff(_place(last, base), str(config.out_dir))
    except MissingError:  # nothing is published yet, or not where this machine can see it
        return None


def _put(folder: Path, site: Path, *, compressed: bool) -> None:
    """Put a copy of a site somewhere else, without what only a build reads."""
    work = site.with_name(f"{site.name}.new")
    remove_tree(work)
    for path in list_files(folder):
        name = path.relative_to(folder)
        if name.as_posix() != RECEIPT:
            link_or_copy(path, work / name)
            if compressed and path.suffix in TEXTS:
                _compress(path, work / f"{name}.gz")
    if site.exists():
        shutil.rmtree(site)
    work.rename(site)


def _compress(path: Path, target: Path) -> None:
    data = path.read_bytes()
    packed = gzip.compress(data, mtime=0)
    if len(packed) < len(data):
        target.write_bytes(packed)


def _summary(config: Config, checked: CheckedSite, difference: Difference | None) -> str:
    with Atlas(config.out_dir) as opened:
        title, note, figures = (
            opened.provenance["title"],
            opened.provenance["note"],
            opened.report(),
        )
    last = config.publish.last or config.site.base_url
    changed = (
        markdown(difference)
        if difference
        else f"Nothing to compare with at {cell(last or '(nowhere)')}.\n"
    )
    parts = [
        f"## {cell(title)}",
        cell(note),
        f"{cell(checked.summary())} Host: {config.site.host}.",
        changed,
        f"<details><summary>Figures</summary>\n\n{figures_table(figures)}\n\n</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
