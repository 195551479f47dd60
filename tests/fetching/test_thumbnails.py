"""Rows of urls become a site of links, then, where pictures can be fetched, of thumbnails."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import atlas, contents
from picture_host import BUSY, PARTLY, PRIVATE, quick_access, serving
from planted import plant

from atlas.base.errors import MissingError
from atlas.base.progress import Progress
from atlas.fetching.outcomes import Outcome, RefusedError
from atlas.fetching.record import Record
from atlas.fetching.thumbnails import _Run, fetch_thumbnails
from atlas.inputs.picture import decode_picture
from atlas.settings.load import load_config
from atlas.site.check import check_site
from atlas.site.picture_sheets import thumbnail_parts
from atlas.site.pictured import urls_pictured

ROWS = 300
KINDS = 12
GOOD = range(6)
"""Kinds of rows whose picture is there."""
SILENT = Progress(silent=True)


def url_of(host, row):
    kind = row % KINDS
    if kind in GOOD:
        return host.url(f"h{row % 3}", f"/good{row}.png")
    return {
        6: host.url("h1", f"/missing{row}"),
        7: host.url("h2", f"/noai{row}"),
        8: f"http://plain.pictures.test/{row}.jpg",
        9: host.url("h0", f"/bomb{row}"),
        10: host.url(PARTLY, f"/private{row}"),
        11: "",
    }[kind]


def withheld(row):
    return row % 50 == 7


@pytest.fixture(scope="module")
def built(tmp_path_factory, certificate):
    """A host, a context that trusts it, and the configuration of an atlas of links to it."""
    folder = tmp_path_factory.mktemp("fetched")
    plant(folder)
    with serving(*certificate) as (host, trust):
        urls = [url_of(host, row) for row in range(ROWS)]
        urls[13] = urls[1]  # one picture of two images
        table = {
            "URL": urls,
            "TEXT": [f"A thing number {row}" for row in range(ROWS)],
            "punsafe": [1.0 if withheld(row) else 0.0 for row in range(ROWS)],
        }
        pq.write_table(pa.table(table), folder / "laion.parquet")
        toml = folder / "atlas.toml"
        named = 'images = "images.parquet"\npictures = "pictures.parquet"\n'
        toml.write_text(toml.read_text().replace(named, 'images = "laion.parquet"\n'))
        status, _, err = atlas("build", toml)
        assert status == 0, err
        yield host, trust, toml


@pytest.fixture
def copy(built, tmp_path):
    """The host, how to ask it, and a copy of the atlas."""
    host, trust, toml = built
    shutil.copytree(toml.parent / "build", tmp_path / "build", symlinks=True)
    host.asked.clear()
    change = f"out_dir={json.dumps(str(tmp_path / 'build'))}"
    return host, quick_access(trust, delay_s=0.0), load_config(toml, [change]), change


def pictures_asked(host):
    return [path for _, path in host.asked if path != "/robots.txt"]


def pages_of(site):
    return {path.name: path.read_text() for path in (site / "feature").rglob("*.html")}


def test_links_become_thumbnails_where_a_picture_is_kept(copy, built):
    host, access, config, change = copy
    toml = built[2]
    report = fetch_thumbnails(config, access, SILENT)
    pictured = urls_pictured(config.out_dir / "catalog" / "atlas.duckdb")
    assert not any(withheld(row) for row in pictured)
    assert len(pictured) > ROWS / 2
    urls = {url for url in pictured.values() if url}
    assert set(pictures_asked(host)) == {
        re.sub(r"^https://[^/]+", "", url)
        for url in urls
        if url.startswith("https:") and PARTLY not in url
    }

    status, out, _ = atlas("status", toml, "--set", change)
    assert status == 0
    assert [line for line in out if not line.endswith(": current")] == [
        "site: input fetched changed"
    ]
    assert atlas("build", toml, "--set", change)[0] == 0
    site = config.out_dir / "site"
    status, _, err = atlas("check", site)
    assert (status, err) == (0, [])
    texts = "".join(pages_of(site).values())
    kept = {row for row, url in pictured.items() if "/good" in url}
    assert report.n_new == len(kept)
    shown = {int(found) for found in re.findall(r"thumb/\d+/(\d+)\.webp", texts)}
    assert shown <= kept
    assert len(shown) > len(kept) / 2
    linked = set(re.findall(r'class="source" href="([^"]+)"', texts))
    assert linked
    assert not any("/good" in url for url in linked)
    for path in site.glob("thumb/*/*.webp"):
        size = decode_picture(path.read_bytes()).picture.size
        assert size == (config.embed.thumbnail_px, config.embed.thumbnail_px)


def test_outcomes_are_counted_by_url_with_an_example_of_each(copy):
    _, access, config, _ = copy
    report = fetch_thumbnails(config, access, SILENT)
    pictured = urls_pictured(config.out_dir / "catalog" / "atlas.duckdb")
    kinds = {
        "/good": Outcome.KEPT,
        "/missing": Outcome.GONE,
        "/private": Outcome.ROBOTS,
        "/noai": Outcome.NOAI,
        "http:": Outcome.NOT_HTTPS,
        "/bomb": Outcome.NOT_PICTURE,
    }
    expected = Counter(
        outcome
        for url in {url for url in pictured.values() if url}
        for start, outcome in kinds.items()
        if start in url
    )
    assert report.counts == expected
    assert report.n_pictured == len(pictured)
    assert report.n_without_url == sum(not url for url in pictured.values())
    for start, outcome in kinds.items():
        assert start in report.examples[outcome]
    assert [row[0] for row in report.rows()] == [o.value for o in Outcome if o in expected]


def test_a_second_call_asks_only_for_what_is_new_or_failed(copy):
    host, access, config, _ = copy
    first = fetch_thumbnails(config, access, SILENT)
    asked = len(host.asked)
    again = fetch_thumbnails(config, access, SILENT)
    assert len(host.asked) == asked
    assert again == replace(first, n_new=0)
    retried = fetch_thumbnails(config, access, SILENT, retry=True)
    assert retried == again
    assert not any("/good" in path for path in pictures_asked(host)[asked:])
    assert len(host.asked) > asked


def test_what_an_interrupted_call_fetched_is_kept_and_not_asked_again(copy, monkeypatch):
    host, access, config, _ = copy
    take = _Run._take

    def interrupt(run, fetched):
        take(run, fetched)
        if len(run.told) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Run, "_take", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_thumbnails(config, access, SILENT)
    monkeypatch.undo()
    folder = config.out_dir / "fetched"
    assert sum(pq.read_metadata(p).num_rows for p in folder.glob("outcomes-*.parquet")) == 20
    done = {told for p in folder.glob("outcomes-*") for told in pq.read_table(p)["url"].to_pylist()}
    host.asked.clear()
    whole = fetch_thumbnails(config, access, SILENT)
    asked = {host.url(name, path) for name, path in host.asked}
    assert not asked & done
    assert sum(whole.counts.values()) > 100
    assert len(list(folder.glob("outcomes-*.parquet"))) == 2


def test_pictures_written_before_a_kill_are_not_fetched_again(copy):
    host, access, config, _ = copy
    whole = fetch_thumbnails(config, access, SILENT)
    for path in (config.out_dir / "fetched").glob("outcomes-*.parquet"):
        path.unlink()
    host.asked.clear()
    again = fetch_thumbnails(config, access, SILENT)
    assert not any("/good" in path for path in pictures_asked(host))
    assert again == replace(whole, n_new=0)


def test_a_picture_of_two_images_is_fetched_once(copy):
    host, access, config, _ = copy
    pictured = urls_pictured(config.out_dir / "catalog" / "atlas.duckdb")
    assert {1, 13} <= pictured.keys()
    fetch_thumbnails(config, access, SILENT)
    assert host.paths("h1").count("/good1.png") == 1
    (path,) = (config.out_dir / "fetched").glob("thumbnails-*.parquet")
    table = pq.read_table(path)
    assert table.column_names == ["image", "url", "webp"]
    rows = dict(zip(table["image"].to_pylist(), table["webp"].to_pylist(), strict=True))
    assert len(rows) == len(table)
    assert rows[1] == rows[13]


def test_a_host_that_asks_for_a_pause_is_asked_again_by_the_next_call(copy, monkeypatch):
    host, access, config, _ = copy
    pictured = {1: host.url(BUSY, "/good1"), 2: host.url("h2", "/good2")}
    monkeypatch.setattr("atlas.fetching.thumbnails.urls_pictured", lambda _: pictured)
    for call in (1, 2):
        report = fetch_thumbnails(config, access, SILENT)
        assert report.counts == {Outcome.KEPT: 1, Outcome.LATER: 1}
        assert host.paths(BUSY) == ["/good1"] * call


def test_without_a_network_nothing_is_recorded(copy):
    _, access, config, _ = copy

    def offline(name, _port):
        raise RefusedError(Outcome.GONE, "cannot resolve")

    with pytest.raises(MissingError, match="no host of the first 12 urls answers"):
        fetch_thumbnails(config, replace(access, resolve=offline), SILENT)
    assert not (config.out_dir / "fetched").exists()


@pytest.mark.parametrize(
    ("layout", "pictures"),
    [pytest.param("pages", "files", marks=pytest.mark.slow), ("groups", "sheets")],
)
def test_what_comes_later_is_shown_as_if_all_had_come_at_once(
    copy, built, monkeypatch, layout, pictures
):
    _, access, config, change = copy
    changes = [change, f"site.layout={layout}", f"site.pictures={pictures}"]
    given = [f"--set={one}" for one in changes]
    pictured = urls_pictured(config.out_dir / "catalog" / "atlas.duckdb")
    some = {image: url for image, url in pictured.items() if image % 2}
    monkeypatch.setattr("atlas.fetching.thumbnails.urls_pictured", lambda _: some)
    fetch_thumbnails(config, access, SILENT)
    assert atlas("build", built[2], *given)[0] == 0
    monkeypatch.undo()
    fetch_thumbnails(config, access, SILENT)
    status, _, err = atlas("build", built[2], *given)
    assert status == 0, err
    site = config.out_dir / "site"
    check_site(site)
    assert any((site / ("sheet" if pictures == "sheets" else "thumb")).rglob("*.webp"))
    assert 'class="source"' in "".join(pages_of(site).values())
    later = contents(site)
    assert atlas("build", built[2], "site", "--force", *given)[0] == 0
    assert contents(site) == later


def test_thumbnails_of_other_images_are_not_shown(copy):
    _, _, config, _ = copy
    folder = config.out_dir / "fetched"
    Record(folder, "a" * 64).write([], [])
    for digest in ("a" * 64, "b" * 64):
        (folder / f"thumbnails-{digest[:12]}-0000.parquet").touch()

    class Job:
        inputs = {"embed": config.out_dir / "embed"}  # noqa: RUF012
        digests = {"embed": "a" * 64}  # noqa: RUF012
        files = {"fetched": tuple(folder.glob("thumbnails-*"))}  # noqa: RUF012

    assert [path.name for path in thumbnail_parts(Job)] == [f"thumbnails-{'a' * 12}-0000.parquet"]


def test_the_command_prints_counts_and_what_to_do_next(copy, built, monkeypatch):
    _, access, _, change = copy
    monkeypatch.setattr("atlas.fetching.request.Access", lambda contact: access)
    status, out, err = atlas("thumbnails", built[2], "--set", change)
    assert status == 0, err
    assert out[0] == "outcome\turls\tshare\texample"
    assert re.fullmatch(
        r"kept\t\d+\t\d+\.\d%\thttps://h\d\.pictures\.test:\d+/good\d+\.png", out[1]
    )
    assert re.fullmatch(r"\d+ of \d+ images have no url", out[-2])
    assert out[-1].startswith("kept ")
    assert out[-1].endswith(f" new thumbnails; to show them: atlas build {built[2]}")
    assert len(err) == 1
    status, out, _ = atlas("thumbnails", built[2], "--set", change, "--json")
    assert status == 0
    assert json.loads("\n".join(out))["n_new"] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["site.images=links"], "site.images is links, so no page would show what is fetched; set it to auto or thumbnails"),
        (["site.images=none"], "site.images is none, so no page would show what is fetched; set it to auto or thumbnails"),
        (["out_dir=nowhere"], "is not built (embed: never built); run atlas build with this configuration first"),
        (["scan.top_images=7"], "is not built (scan: settings.top_images changed from 64 to 7); run atlas build"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line(copy, built, changes, said):
    host, _, _, change = copy
    given = [f"--set={one}" for one in [change, *changes]]
    status, out, err = atlas("thumbnails", built[2], *given)
    assert (status, out, len(err)) == (1, [], 1)
    assert said in err[0]
    assert not (built[2].parent / "nowhere").exists()
    assert host.asked == []


def test_an_atlas_whose_images_all_have_thumbnails_needs_none(planted_atlas):
    status, _, err = atlas("thumbnails", planted_atlas.parent / "atlas.toml")
    assert (status, err) == (1, ["atlas: every image that the site shows has a thumbnail; there is nothing to fetch"])  # fmt: skip


def test_a_private_address_is_a_counted_outcome(copy, monkeypatch):
    host, access, config, _ = copy
    pictured = {1: host.url(PRIVATE, "/good1"), 2: host.url("h1", f"/to?{host.url(PRIVATE, '/x')}")}
    monkeypatch.setattr("atlas.fetching.thumbnails.urls_pictured", lambda _: pictured)
    assert fetch_thumbnails(config, access, SILENT).counts == {Outcome.PRIVATE: 2}
