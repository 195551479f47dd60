"""The limits of hosts of static sites, and whether a site keeps within them."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from atlas.base.errors import ConfigError

MIB = 1 << 20
URLS_A_SITEMAP = 50_000
"""Addresses that one sitemap may list, and sitemaps that an index may (sitemaps.org)."""


@dataclass(frozen=True, slots=True)
class Host:
    """The limits of a host; None where it states none."""

    total_bytes: int | None = None
    files: int | None = None
    folder_entries: int | None = None
    """Files and folders directly in one folder."""
    file_bytes: int | None = None


HOSTS = {
    "github": Host(total_bytes=1_000_000_000),
    "cloudflare-free": Host(files=20_000, file_bytes=25 * MIB),
    "huggingface": Host(
        total_bytes=200_000_000_000, files=100_000, folder_entries=10_000, file_bytes=20_000_000_000
    ),
    "s3": Host(),
    "local": Host(),
}
"""From the documentation of GitHub Pages, Cloudflare Pages and Hugging Face Spaces, November 2026."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The size of a site, in the terms of a host's limits."""

    total_bytes: int
    files: int
    folder_entries: int
    """Of the fullest folder."""
    file_bytes: int
    """Of the largest file."""
    fullest: str = ""
    largest: str = ""


def tally(sizes: Mapping[str, int]) -> Tally:
    """Count the files of a site.

    Args:
        sizes: Path below the site's folder, with forward slashes -> bytes.
    """
    entries: Counter[str] = Counter()
    seen: set[str] = set()
    for name in sizes:
        while name and name not in seen:
            seen.add(name)
            folder = posixpath.dirname(name)
            entries[folder] += 1
            name = folder
    fullest = max(entries, key=lambda folder: (entries[folder], folder), default="")
    largest = max(sizes, key=lambda name: (sizes[name], name), default="")
    return Tally(
        sum(sizes.values()),
        len(sizes),
        entries[fullest],
        sizes.get(largest, 0),
        fullest or "the site's own folder",
        largest,
    )


def why_over(found: Tally, host: str) -> list[str]:
    """Return which limits of its host a site exceeds and what to change; empty if none.

    Raises:
        ConfigError: There is no such host.
    """
    if host not in HOSTS:
        raise ConfigError(f"no host {host!r}; the hosts are {', '.join(HOSTS)}")
    limits = HOSTS[host]
    over = []
    if limits.total_bytes is not None and found.total_bytes > limits.total_bytes:
        over.append(
            f"{found.total_bytes / 1e6:,.0f} MB, and {host} takes {limits.total_bytes / 1e6:,.0f}: "
            "set site.pictures=sheets, site.sheets_2x=none, a smaller site.thumbnail_px, "
            "site.media_base_url to keep pictures elsewhere, or another site.host"
        )
    if limits.files is not None and found.files > limits.files:
        over.append(
            f"{found.files:,} files, and {host} takes {limits.files:,}: "
            "set site.layout=groups and site.pictures=sheets, or another site.host"
        )
    if limits.folder_entries is not None and found.folder_entries > limits.folder_entries:
        over.append(
            f"{found.folder_entries:,} entries in {found.fullest or 'the fullest folder'}, and {host} takes "
            f"{limits.folder_entries:,}: set site.pictures=sheets, or another site.host"
        )
    table = "site.tables=none, or " if found.largest.endswith(".parquet") else ""
    if limits.file_bytes is not None and found.file_bytes > limits.file_bytes:
        over.append(
            f"{found.file_bytes / MIB:,.1f} MiB in {found.largest or 'the largest file'}, and {host} takes "
            f"{limits.file_bytes / MIB:,.0f} in one file: set {table}another site.host"
        )
    return over
