"""A published site answers the look-ups that the atlas answers, from a folder or an address."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pytest

import atlas
from atlas.base.errors import InputError, MissingError
from atlas.base.tables import TABLES_VERSION, tables_digest
from atlas.command.app import run

DIGESTS = {1: "a5d7cfcbd404", 2: "76839c5d96ec"}
"""Version of the tables -> digest of their columns."""


class InRanges(SimpleHTTPRequestHandler):
    """Sends ranges of files, as a static host does, and notes how many bytes it sent."""

    def __init__(self, *arguments, sent, ranges=True, **named):
        self._sent, self._ranges = sent, ranges
        super().__init__(*arguments, **named)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, asked = path.read_bytes(), self.headers.get("Range", "")
        first, last = 0, len(data)
        if asked and self._ranges:
            start, _, stop = asked.removeprefix("bytes=").partition("-")
            first = int(start) if start else max(0, len(data) - int(stop))
            last = min(len(data), int(stop) + 1) if start else len(data)
        self.send_response(206 if asked and self._ranges else 200)
        self.send_header("Content-Length", str(last - first))
        if asked and self._ranges:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(data)}")
        self.end_headers()
        self._sent.append(last - first)
        self.wfile.write(data[first:last])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Serve a folder on this machine; return its address and the list of how much was sent."""
    servers = []

    def start(folder, ranges=True):
        sent = []
        handler = partial(InRanges, directory=str(folder), sent=sent, ranges=ranges)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", sent

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def asked_of(opened):
    """What look-ups answer that read no image which the site's pages don't show."""
    hits = [(hit.feature, hit.why) for hit in opened.search("7")]
    return (opened.id, opened.feature(4), opened.neighbors(4), opened.report(), hits)


def test_a_published_folder_answers_as_the_atlas_does(planted_atlas, tmp_path):
    site = shutil.copytree(planted_atlas / "site", tmp_path / "site")
    assert asked_of(atlas.open(site)) == asked_of(atlas.open(planted_atlas))


@pytest.mark.parametrize("ranges", [True, False])
def test_an_address_answers_as_the_atlas_does(planted_atlas, serve, ranges):
    address, _ = serve(planted_atlas / "site", ranges)
    assert asked_of(atlas.open(address)) == asked_of(atlas.open(planted_atlas))
    assert atlas.open(f"{address}/index.html").id == atlas.open(planted_atlas).id


def test_only_ranges_of_a_large_table_are_fetched(planted_atlas, tmp_path, serve):
    site = shutil.copytree(planted_atlas / "site", tmp_path / "site")
    path = site / "parquet" / "top_images.parquet"
    duckdb.sql(
        f"""COPY (SELECT (n // 64)::INTEGER AS feature, (n % 64)::INTEGER AS rank, n AS image,
                  random()::FLOAT AS activation FROM range(400000) t(n))
            TO '{path}' (ROW_GROUP_SIZE 20000)"""
    )
    address, sent = serve(site)
    opened = atlas.open(address)
    sent.clear()
    query = "SELECT count(*) FROM top_images WHERE feature = 5 AND activation >= 0"
    assert opened.sql(query)[1] == [(64,)]
    assert 0 < sum(sent) < path.stat().st_size / 4


def test_the_command_line_asks_a_folder_or_an_address(planted_atlas, serve, capsys):
    address, _ = serve(planted_atlas / "site")
    answers = []
    for place in (planted_atlas, planted_atlas / "site", address):
        assert run(["sql", "SELECT count(*) FROM features", "--atlas", str(place)]) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1


@pytest.fixture(scope="module")
def bundle(planted_atlas, tmp_path_factory):
    """The planted atlas's bundle."""
    out = tmp_path_factory.mktemp("bundled") / "bundle"
    assert run(["bundle", "--atlas", str(planted_atlas), "--out", str(out)]) == 0
    return out


def test_a_bundle_answers_as_the_atlas_does_as_a_folder_a_file_or_an_address(
    planted_atlas, bundle, tmp_path, serve
):
    packed = tmp_path / "bundle.zip"
    assert run(["bundle", "--atlas", str(planted_atlas), "--out", str(packed)]) == 0
    asked, (address, _) = asked_of(atlas.open(planted_atlas)), serve(bundle)
    places = (bundle, bundle / "manifest.json", packed, address, f"{address}/manifest.json")
    for place in places:
        opened = atlas.open(place)
        assert asked_of(opened) == asked, place
        with pytest.raises(MissingError, match="is published, without the SAE"):
            opened.decompose("photo.jpg")
        with pytest.raises(InputError, match="disabled by configuration"):
            opened.sql("SELECT * FROM read_text('/etc/hostname')")


def test_what_a_bundle_lays_out_for_look_ups_goes_with_them(bundle):
    opened = atlas.open(bundle)
    folder = opened.path
    assert (folder / "catalog" / "atlas.duckdb").is_symlink()
    opened.close()
    assert not folder.exists()


def test_the_pages_of_a_site_in_groups_are_told_from_its_folder_and_its_address(
    grouped_site, tmp_path, serve
):
    site = shutil.copytree(grouped_site, tmp_path / "site")
    address, _ = serve(site)
    pages = {
        atlas.open(place).feature(4).page for place in (site, address, f"{address}/index.html")
    }
    assert pages == {"feature/0000.html#f4"}


def test_a_query_on_a_published_site_reads_nothing_else(planted_atlas, serve):
    for place in (planted_atlas / "site", serve(planted_atlas / "site")[0]):
        with pytest.raises(InputError, match="disabled by configuration"):
            atlas.open(place).sql("SELECT * FROM read_text('/etc/hostname')")


def test_what_a_site_lacks_is_said_in_a_line(planted_atlas, tmp_path, serve, capsys):
    site = shutil.copytree(planted_atlas / "site", tmp_path / "site")
    with pytest.raises(MissingError, match="is published, without the SAE"):
        atlas.open(site).decompose("photo.jpg")
    with pytest.raises(MissingError, match="is published, without its embeddings"):
        atlas.open(site).images_like(3)
    address, _ = serve(tmp_path)
    with pytest.raises(MissingError, match=r"cannot fetch .*provenance\.parquet"):
        atlas.open(address)
    shutil.rmtree(site / "parquet")
    assert run(["report", "--atlas", str(site)]) == 1
    line = f"atlas: the site at {site} carries no tables (site.tables = none)\n"
    assert capsys.readouterr().err == line


def test_tables_of_an_older_version_are_read_and_what_they_lack_is_null(planted_atlas, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(planted_atlas / "catalog", old / "catalog")
    with duckdb.connect(str(old / "catalog" / "atlas.duckdb")) as db:
        db.execute("UPDATE provenance SET value = 'of old' WHERE key = 'tables'")
        db.execute("DELETE FROM provenance WHERE key = 'tables_version'")
        db.execute("ALTER TABLE features DROP COLUMN mass_share")
        db.execute("DROP TABLE where_maps")
    opened = atlas.open(old)
    assert opened.feature(4).mass_share is None
    assert opened.feature(4).max == atlas.open(planted_atlas).feature(4).max
    assert opened.sql("SELECT count(*) FROM where_maps")[1] == [(0,)]


def test_a_later_version_is_refused_in_a_line(planted_atlas, tmp_path):
    new = tmp_path / "new"
    shutil.copytree(planted_atlas / "catalog", new / "catalog")
    with duckdb.connect(str(new / "catalog" / "atlas.duckdb")) as db:
        db.execute("UPDATE provenance SET value = 'of later' WHERE key = 'tables'")
        db.execute("UPDATE provenance SET value = '999' WHERE key = 'tables_version'")
    with pytest.raises(InputError, match="has tables of version 999"):
        atlas.open(new)


def test_other_columns_have_another_version():
    assert DIGESTS[TABLES_VERSION] == tables_digest(), "raise TABLES_VERSION and add its digest"
