"""The local server: the site's files, to this machine, whole or in part, and nothing else."""

from __future__ import annotations

import http.client
import shutil
import socket
import struct
from functools import partial
from threading import Thread

import pytest

from atlas.site.serve import SiteHandler, _Server


@pytest.fixture
def folder(tmp_path):
    site = tmp_path / "build/site"
    (site / "api").mkdir(parents=True)
    (site / "index.html").write_text("<html lang='en'>home</html>")
    (site / "404.html").write_text("<html lang='en'>not here</html>")
    (site / "receipt.json").write_text("{}")
    (site / ".hidden").write_text("hidden")
    (site / "api/receipt.json").write_text("shown")
    (site / "data.parquet").write_bytes(bytes(range(100)))
    (tmp_path / "build/secret.txt").write_text("secret")
    (site / "link.txt").symlink_to(tmp_path / "build/secret.txt")
    (site / "linked").symlink_to(tmp_path / "build")
    return site


@pytest.fixture
def port(folder):
    server = _Server(("127.0.0.1", 0), partial(SiteHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=named)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_pages_are_served_and_what_is_missing_is_the_sites_own_page(port):
    assert ask(port, "/")[:2] == (200, b"<html lang='en'>home</html>")
    assert ask(port, "/?f=1")[0] == 200
    assert ask(port, "/api/receipt.json")[:2] == (200, b"shown")
    assert ask(port, "/nothing")[:2] == (404, b"<html lang='en'>not here</html>")


def test_a_site_of_another_place_is_also_served_at_the_path_it_has_there(port, folder):
    missing = '<div class="page" id="missing" data-root="/of/a&amp;b" data-layout="pages">'
    (folder / "404.html").write_text(missing)
    assert ask(port, "/of/a&b/api/receipt.json")[:2] == (200, b"shown")
    assert ask(port, "/of/a&b/")[:2] == (200, b"<html lang='en'>home</html>")
    assert ask(port, "/of/a&b/f/12")[:2] == (404, missing.encode())
    for path in ("/of/a&b/receipt.json", "/of/a&b/../secret.txt", "/of/a&bapi/receipt.json"):
        assert ask(port, path)[0] == 404, path


@pytest.mark.parametrize(
    "path",
    ["/api/", "/api", "/receipt.json", "/%72eceipt.json", "/api/../receipt.json", "/.hidden",
     "/link.txt", "/linked/secret.txt", "/linked/", "/../secret.txt", "/%2e%2e/secret.txt",
     "/%00", "/index.html%00.txt", "//etc/passwd", "/" + "a" * 5000],
)  # fmt: skip
def test_nothing_but_the_site_is_served(port, path):
    status, body, _ = ask(port, path)
    assert status == 404
    assert b"secret" not in body
    assert b"hidden" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[", ""]
)
def test_another_host_is_refused(port, host):
    assert ask(port, "/", Host=host)[0] == 403


def test_pages_of_another_origin_are_refused_and_own_ones_are_not(port):
    assert ask(port, "/", Origin="https://evil.example")[0] == 403
    assert ask(port, "/", Origin="null")[0] == 403
    assert ask(port, "/", Origin=f"http://localhost:{port}", Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        ("bytes=10-19", 206, 10, 20),
        ("bytes=90-", 206, 90, 100),
        ("bytes=-5", 206, 95, 100),
        ("bytes=90-500", 206, 90, 100),
        ("bytes=-500", 200, 0, 100),
        ("bytes=0-99", 200, 0, 100),
        ("bytes=100-", 416, 0, 0),
        ("bytes=20-10", 416, 0, 0),
        ("bytes=1-2,4-5", 200, 0, 100),
        ("bytes=-", 200, 0, 100),
        ("lines=1-2", 200, 0, 100),
    ],
)
def test_parts_of_a_file_are_served(port, asked, status, first, end):
    found, body, headers = ask(port, "/data.parquet", Range=asked)
    assert (found, body) == (status, bytes(range(first, end)))
    if status == 206:
        assert headers["Content-Range"] == f"bytes {first}-{end - 1}/100"
    if status == 416:
        assert headers["Content-Range"] == "bytes */100"


def test_a_rebuilt_site_is_seen_at_once(port, folder):
    _, _, headers = ask(port, "/")
    assert headers["Cache-Control"] == "no-store"
    other = shutil.copytree(folder, folder.with_name("other"), symlinks=True)
    (other / "index.html").write_text("<html lang='en'>new</html>")
    shutil.rmtree(folder)
    assert ask(port, "/")[0] == 404
    other.rename(folder)
    again = ask(port, "/", If_Modified_Since="Fri, 01 Jan 2100 00:00:00 GMT")
    assert again[:2] == (200, b"<html lang='en'>new</html>")


def test_a_reader_that_leaves_is_no_traceback(port, folder, capfd):
    (folder / "large.bin").write_bytes(bytes(20_000_000))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
            reader.recv(1000)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(("127.0.0.1", port)) as reader:
        reader.sendall(b"\x16\x03\x01 no request\r\n\r\n")
        reader.recv(1000)
    assert ask(port, "/")[0] == 200
    assert "Traceback" not in capfd.readouterr().err
