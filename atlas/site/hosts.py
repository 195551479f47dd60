"""What free and other hosts of static sites allow, and whether a site keeps within it."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from atlas.base.errors import ConfigError

MIB = 1 << 20
URLS_A_SITEMAP = 50_000
"""Addresses that one sitemap may list; its index may name as many sitemaps."""


@dataclass(frozen=True, slots=True)
class Host:
    """The limits of one kind of host; None where it states none."""

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
"""As their documentation had it in November 2026: GitHub Pages, Cloudflare Pages, Spaces of Hugging Face."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a site takes, in a host's terms."""

    total_bytes: int
    files: int
    folder_entries: int
    """Of the fullest folder."""
    file_bytes: int
    """Of the largest file."""
    fullest: str = ""
    largest: str = ""


def tally(sizes: Mapping[str, int]) -> Tally:
    """Count a site's files.

    Args:
        sizes: Path below the site's folder, with slashes -> bytes.
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
    """Return in what a site exceeds its host's limits and what to change, empty if in nothing.

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
    if limits.file_bytes is not None and found.file_bytes > limits.file_bytes:
        over.append(
            f"{found.file_bytes / MIB:,.1f} MiB in {found.largest or 'the largest file'}, and {host} takes "
            f"{limits.file_bytes / MIB:,.0f} in one file: set another site.host"
        )
    return over
