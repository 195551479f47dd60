"""What hosts allow, and what is said when a site exceeds it."""

import pytest

from atlas.base.errors import ConfigError, SiteError
from atlas.prepare.site_size import IMAGE_ROW_BYTES, site_tally
from atlas.prepare.sizes import Size
from atlas.settings.site import SiteSettings
from atlas.site.check import check_host
from atlas.site.hosts import HOSTS, Tally, tally, why_over

SETTINGS = SiteSettings(layout="groups", pictures="sheets")
FULL = Size(5_000_000, 1280, 81_920, 200.0, 200.0)


def test_a_site_is_counted_by_bytes_files_and_its_fullest_folder():
    found = tally({"index.html": 5, "a/x.html": 7, "a/b/y.html": 3, "a/b/z.html": 1, "a/q": 7})
    assert found == Tally(23, 5, 3, 7, "a", "a/x.html")
    assert tally({}) == Tally(0, 0, 0, 0, "the site's own folder", "")


def test_what_is_too_much_comes_with_what_to_change():
    with pytest.raises(SiteError) as caught:
        check_host(Tally(2_000_000_000, 70_000, 10, 30 << 20, "a", "b.duckdb"), "cloudflare-free")
    assert str(caught.value) == (
        "the site has 70,000 files, and cloudflare-free takes 20,000: set site.layout=groups and "
        "site.pictures=sheets, or another site.host; it has 30.0 MiB in b.duckdb, and "
        "cloudflare-free takes 25 in one file: set another site.host"
    )
    with pytest.raises(SiteError) as caught:
        check_host(Tally(1_000_000_001, 1, 1, 1), "github")
    assert str(caught.value) == (
        "the site has 1,000 MB, and github takes 1,000: set site.pictures=sheets, site.sheets_2x=none, "
        "a smaller site.thumbnail_px, site.media_base_url to keep pictures elsewhere, or another site.host"
    )
    with pytest.raises(SiteError) as caught:
        check_host(Tally(1, 1, 10_001, 1, "icon"), "huggingface")
    assert str(caught.value) == (
        "the site has 10,001 entries in icon, and huggingface takes 10,000: "
        "set site.pictures=sheets, or another site.host"
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_limit_itself_is_allowed(host):
    limits = HOSTS[host]
    most = Tally(
        limits.total_bytes or 0,
        limits.files or 0,
        limits.folder_entries or 0,
        limits.file_bytes or 0,
    )
    assert why_over(most, host) == []


def test_without_tables_the_full_atlas_fits_a_free_host():
    """81,920 features over five million images."""
    settings = SiteSettings(layout="groups", pictures="sheets", tables="none")
    assert why_over(site_tally(FULL, settings, 2000), "cloudflare-free") == []
    shown = settings.model_copy(update={"tables": "shown"})
    (said,) = why_over(site_tally(FULL, shown, 2000), "cloudflare-free")
    assert "parquet/images.parquet" in said
    assert "site.tables=none" in said


def test_an_unknown_host_is_told_which_there_are():
    with pytest.raises(ConfigError, match="no host 'nowhere'; the hosts are github, cloudflare"):
        check_host(Tally(0, 0, 0, 0), "nowhere")


def test_the_plan_tells_which_hosts_a_full_size_site_fits():
    pages = site_tally(FULL, SiteSettings(pictures="sheets", thumbnail_px=24), 1000)
    groups = site_tally(FULL, SiteSettings(layout="groups", pictures="sheets"), 2000)
    files = site_tally(FULL, SiteSettings(), 2000)
    assert why_over(pages, "huggingface") == []
    assert why_over(pages, "cloudflare-free")
    assert groups.files <= 20_000
    assert 80_000 < pages.files < 100_000
    assert why_over(files, "github")
    assert why_over(files, "huggingface")


@pytest.mark.parametrize(
    ("size", "settings", "opened", "alive_share", "files"),
    [
        (Size(22_000, 512, 1_200, 1.0, 1.0), SiteSettings(), 1_149, 1.0, 20_949),
        (
            Size(120_000, 1280, 81_920, 1.0, 1.0),
            SiteSettings(pictures="sheets", icon_px=24, thumbnail_px=24),
            *(0, 0.74, 83_330),
        ),
    ],
)
def test_the_plan_counts_the_files_of_two_sites_that_were_built(
    size, settings, opened, alive_share, files
):
    """The demo and the synthetic site of tests/benchmarks/results/site_full.md."""
    assert site_tally(size, settings, opened, alive_share).files == pytest.approx(files, rel=0.05)


def test_the_plan_counts_the_rows_of_images():
    whole = SETTINGS.model_copy(update={"tables": "all"})
    few, many = (site_tally(Size(n, 8, 1_000, 1.0, 1.0), whole, 0) for n in (10**5, 10**6))
    assert many.total_bytes - few.total_bytes == 900_000 * IMAGE_ROW_BYTES
    assert many.file_bytes == 10**6 * IMAGE_ROW_BYTES // 2
