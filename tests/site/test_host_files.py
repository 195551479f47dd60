"""Sitemaps, robots.txt, redirects and the page of a missing address."""

import re
import shutil

import duckdb
import pytest
from planted import make_job
from pydantic import ValidationError
from site_fixture import inputs_of, names_of

from atlas.base.errors import SiteError
from atlas.settings.site import SiteSettings
from atlas.site import site
from atlas.site.check import check_site
from atlas.site.host_files import UNLISTED, sitemap_text, sitemaps
from atlas.site.hosts import URLS_A_SITEMAP


def rebuild(atlas, published, out_dir, settings):
    job = make_job("site", settings, inputs_of(atlas), out_dir)
    assert not job.published_dir.exists()
    job.published_dir.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(published, job.published_dir)
    (job.published_dir / "receipt.json").unlink()
    site.run(job)
    return job.published_dir


def test_a_site_that_knows_its_address_has_sitemaps_and_a_page_for_any_missing_one(
    planted_atlas, tmp_path
):
    base = "https://example.org/my/atlas"
    settings = SiteSettings(base_url=base, host="cloudflare-free")
    rebuild(open_data(planted_atlas, tmp_path), planted_atlas / "site", tmp_path / "site", settings)
    found = tmp_path / "site"
    listed = re.findall(r"<loc>(.*?)</loc>", (found / "sitemap.xml").read_text())
    pages = sorted(name for name in names_of(found) if name.endswith(".html"))
    assert listed == [f"{base}/{name}" for name in pages if name not in UNLISTED]
    robots = (found / "robots.txt").read_text()
    assert robots == f"User-agent: *\nDisallow:\nSitemap: {base}/sitemap.xml\n"
    assert (found / "_redirects").read_text() == "/f/* /go.html?f=:splat 302\n"
    text = (found / "404.html").read_text()
    assert 'href="/my/atlas/assets/site.css"' in text
    assert 'data-root="/my/atlas" data-layout="pages"' in text
    (found / "404.html").write_text(text.replace("/my/atlas/dead.html", "/my/other/dead.html"))
    with pytest.raises(SiteError, match=r"404.html: /my/other/dead.html is not relative"):
        check_site(found)


def test_a_site_that_does_not_know_its_address_has_a_missing_page_that_loads_nothing(site):
    text = (site / "404.html").read_text()
    assert "<h1>Not here</h1>" in text
    assert not re.search(r"\b(?:src|href)=", text)


def open_data(atlas, folder):
    """Copy what a site is made of, no longer marked as synthetic."""
    copy = folder / "atlas"
    for name in ("embed", "concepts", "catalog"):
        shutil.copytree(atlas / name, copy / name)
    with duckdb.connect(str(copy / "catalog" / "atlas.duckdb")) as db:
        db.execute("UPDATE provenance SET value = 'false' WHERE key = 'synthetic'")
    return copy


def test_more_addresses_than_a_sitemap_holds_come_with_an_index():
    base = "https://example.org"
    files = sitemaps(base, [f"{base}/{number}.html" for number in range(URLS_A_SITEMAP + 1)])
    assert list(files) == ["sitemap-1.xml", "sitemap-2.xml", "sitemap.xml"]
    counts = {name: text.count("<loc>") for name, text in files.items()}
    assert counts == {"sitemap-1.xml": 50_000, "sitemap-2.xml": 1, "sitemap.xml": 2}
    assert f"<sitemap><loc>{base}/sitemap-2.xml</loc></sitemap>" in files["sitemap.xml"]
    assert all(len(text) < 50 << 20 for text in files.values())
    assert sitemap_text("urlset", "url", ["https://x/?a&b"]).count("a&amp;b") == 1


@pytest.mark.parametrize("url", ["example.org", "https://example.org/", "ftp://x", "https://x/?q"])
def test_an_address_to_publish_at_is_plain_and_ends_without_a_slash(url):
    with pytest.raises(ValidationError):
        SiteSettings(base_url=url)
    assert SiteSettings(base_url="https://x.github.io/atlas").base_url
