"""A host of pictures over https on this machine, under many names, for tests of what fetches them."""

from __future__ import annotations

import io
import shutil
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from atlas.fetching.request import Access

DOMAIN = "pictures.test"
CLOSED = f"closed.{DOMAIN}"
"""Its robots.txt forbids all."""
PARTLY = f"partly.{DOMAIN}"
"""Its robots.txt forbids /private."""
BUSY = f"busy.{DOMAIN}"
"""Answers 429 to all but robots.txt."""
PRIVATE = f"private.{DOMAIN}"
"""Resolves to a private address."""
NOWHERE = f"nowhere.{DOMAIN}"
"""Resolves to a port that nothing listens on."""
ROBOTS = {
    "closed": "Disallow: /",
    "partly": "Disallow: /private",
    "patient": "Crawl-delay: 0.4",
    "sleepy": "Crawl-delay: 31",
    "broken": "status 500",
    "locked": "status 403",
    "moved": "/missing",
    "lost": "/loop",
    "stern": "status 429",
}
"""Name -> what its robots.txt says, or answers, or where it redirects to."""
SLOW_S = 0.05
"""How long each answer takes, so that two at once would be seen."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate for all names below DOMAIN, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = f"subjectAltName=DNS:*.{DOMAIN}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "30",
               "-subj", f"/CN={DOMAIN}", "-addext", names]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def png(number: int) -> bytes:
    """Return a small picture of one color."""
    data = io.BytesIO()
    Image.new("RGB", (40, 30), (number * 37 % 256, 90, 200)).save(data, "PNG")
    return data.getvalue()


def bomb() -> bytes:
    """Return a PNG of a hundred bytes that claims 900 million pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    size = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class PictureHost(ThreadingHTTPServer):
    """Answers by path, and notes who asked for what."""

    daemon_threads = True

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.asked: list[tuple[str, str]] = []
        """(host, path) of each request."""
        self.agents: set[str] = set()
        self.busy_now: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        """Host -> most requests at the same time."""
        self.all_at_once = 0
        """Most hosts that were being asked at the same time."""
        self.gaps: dict[str, list[float]] = {}
        """Host -> seconds from the end of each request to the start of the next."""
        self.ended: dict[str, float] = {}
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave early, as they should."""

    def url(self, host: str, path: str) -> str:
        """Return the url of a path at one of the names."""
        name = host if "." in host else f"{host}.{DOMAIN}"
        return f"https://{name}:{self.server_port}{path}"

    def paths(self, host: str) -> list[str]:
        """Return the paths that a host was asked for, robots.txt left out."""
        name = host if "." in host else f"{host}.{DOMAIN}"
        return [path for asked, path in self.asked if asked == name and path != "/robots.txt"]

    def note(self, host: str, path: str) -> None:
        """Note that a request begins."""
        with self.lock:
            self.asked.append((host, path))
            self.busy_now[host] += 1
            self.most_at_once[host] = max(self.most_at_once[host], self.busy_now[host])
            self.all_at_once = max(self.all_at_once, sum(n > 0 for n in self.busy_now.values()))
            if host in self.ended:
                self.gaps.setdefault(host, []).append(time.monotonic() - self.ended[host])

    def note_end(self, host: str) -> None:
        """Note that a request has ended."""
        with self.lock:
            self.busy_now[host] -= 1
            self.ended[host] = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PictureHost

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        host = self.headers["Host"].split(":")[0]
        self.server.note(host, self.path)
        self.server.agents.add(self.headers["User-Agent"])
        try:
            self.answer(host)
        except OSError:
            pass
        finally:
            self.close_connection = True
            self.server.note_end(host)

    def answer(self, host: str) -> None:
        if self.path == "/robots.txt":
            self.robots(host)
        elif host == BUSY:
            self.send(b"", status=429, **{"Retry-After": "1"})
        else:
            name = self.path.split("?")[0].strip("/").split(".")[0].rstrip("0123456789")
            getattr(self, f"give_{name}")()

    def robots(self, host: str) -> None:
        text = ROBOTS.get(host.removesuffix(f".{DOMAIN}"), "")
        if text.startswith("status "):
            self.send(b"", status=int(text.removeprefix("status ")))
        elif text.startswith("/"):
            self.send(b"", status=302, Location=text)
        elif text:
            self.send(f"User-agent: *\n{text}\n".encode())
        else:
            self.send(b"", status=404)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def give_good(self) -> None:
        time.sleep(SLOW_S)
        number = int("".join(c for c in self.path if c.isdigit()) or 0)
        self.send(png(number), Content_Type="image/png")

    give_private = give_good

    def give_missing(self) -> None:
        self.send(b"", status=404)

    def give_forbidden(self) -> None:
        self.send(b"", status=403)

    def give_broken(self) -> None:
        self.send(b"", status=500)

    def give_html(self) -> None:
        self.send(b"<p>No such picture", Content_Type="text/html; charset=utf-8")

    def give_text(self) -> None:
        self.send(b"not a picture at all", Content_Type="image/png")

    def give_noai(self) -> None:
        self.send(png(1), X_Robots_Tag="nofollow, NoAI")

    def give_packed(self) -> None:
        self.send(zlib.compress(bytes(1_000_000)), Content_Encoding="deflate")

    def give_bomb(self) -> None:
        self.send(bomb(), Content_Type="image/png")

    def give_loop(self) -> None:
        self.send(b"", status=302, Location="/loop")

    def give_to(self) -> None:
        """Redirect to what follows the question mark."""
        self.send(b"", status=301, Location=unquote(self.path.split("?", 1)[1]))

    def give_large(self) -> None:
        """Claim more than is allowed, and send little."""
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.wfile.write(b"x")

    def give_endless(self) -> None:
        """Send without end, and without a word of how much."""
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 14))

    def give_short(self) -> None:
        """Break off."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x")

    def give_silent(self) -> None:
        time.sleep(5)

    def give_trickle(self) -> None:
        """Send a header, a byte at a time, each in time."""
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)


def quick_access(context: ssl.SSLContext, **changes: Any) -> Access:
    """Return how tests ask: this machine's own address is allowed, and limits are short."""

    def resolve(host: str, _port: int) -> list[str]:
        known = {PRIVATE: ["10.0.0.1"], NOWHERE: ["127.0.0.9"]}
        return known.get(host, ["127.0.0.1"] if host.endswith(DOMAIN) else [host])

    given: dict[str, Any] = {
        "context": context,
        "allowed": lambda address: address.startswith("127."),
        "resolve": resolve,
        "connect_s": 2.0,
        "read_s": 0.4,
        "total_s": 1.0,
        "most_bytes": 100_000,
        "delay_s": 0.02,
    }
    return Access(**{**given, **changes})


@contextmanager
def serving(certificate: Path, key: Path) -> Any:
    """Yield a running host and a context that trusts it."""
    host = PictureHost(certificate, key)
    thread = threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield host, ssl.create_default_context(cafile=str(certificate))
    finally:
        host.shutdown()
        host.server_close()
        thread.join()
