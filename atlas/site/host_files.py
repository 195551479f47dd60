"""Files for hosts and crawlers: sitemaps, robots.txt, redirects."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from atlas.site import links
from atlas.site.book import Book
from atlas.site.check import list_sizes
from atlas.site.hosts import URLS_A_SITEMAP
from atlas.site.names import NO_JEKYLL
from atlas.site.output import Output

UNLISTED = (links.NOT_FOUND, links.SHORT, links.EMBED)
"""Pages that no sitemap names."""


def write_host_files(out: Output, book: Book) -> None:
    """Write robots.txt, the sitemaps of a site that knows its address, and Cloudflare's redirects.

    A synthetic atlas asks not to be indexed.
    """
    synthetic = book.facts["synthetic"] == "true"
    base = out.job.settings.base_url
    robots = f"User-agent: *\nDisallow:{' /' if synthetic else ''}\n"
    if base and not synthetic:
        robots += f"Sitemap: {base}/sitemap.xml\n"
        names = sorted(name for name, _ in list_sizes(out.job.out_dir) if name.endswith(".html"))
        addresses = [f"{base}/{name}" for name in names if name not in UNLISTED]
        for name, text in sitemaps(base, addresses).items():
            out.put(name, text)
    out.put("robots.txt", robots)
    out.put(NO_JEKYLL, "")
    if out.job.settings.host.startswith("cloudflare"):
        out.put("_redirects", f"/f/* /{links.SHORT}?f=:splat 302\n")


def sitemaps(base: str, addresses: Sequence[str]) -> dict[str, str]:
    """Return the sitemap files by name: one, or an index and as many as are needed."""
    parts = [
        addresses[start : start + URLS_A_SITEMAP]
        for start in range(0, len(addresses), URLS_A_SITEMAP)
    ]
    lists = [sitemap_text("urlset", "url", part) for part in parts]
    if len(lists) == 1:
        return {"sitemap.xml": lists[0]}
    named = {links.sitemap(number): text for number, text in enumerate(lists, start=1)}
    index = sitemap_text("sitemapindex", "sitemap", [f"{base}/{name}" for name in named])
    return {**named, "sitemap.xml": index}


def sitemap_text(kind: str, item: str, addresses: Sequence[str]) -> str:
    """Return one file in the format of sitemaps.org.

    Args:
        kind: Root element, urlset or sitemapindex.
        item: Element of an entry, url or sitemap.
        addresses: Absolute URLs.
    """
    held = "".join(f"<{item}><loc>{escape(address)}</loc></{item}>\n" for address in addresses)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{held}</{kind}>\n'
    )
