"""A local web server for a finished site: nothing but its files, and only for this machine."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from functools import partial
from html import unescape
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from atlas.base.errors import InputError, MissingError
from atlas.run.receipt import RECEIPT
from atlas.site import links
from atlas.site.check import media_of

NAMING_PICTURES = (".html", ".json", ".css")
"""Suffixes of the files that contain addresses of pictures."""
OWN_NAMES = ("127.0.0.1", "localhost", "::1")
"""What this server may be called: a page of the web that has its own name point here is refused."""
SITE_ROOT = re.compile(r'id="missing" data-root="(/[^"]+)"')
"""In 404.html: the path of the site on its host."""
SPAN = re.compile(r"bytes=(\d*)-(\d*)")


class SiteHandler(SimpleHTTPRequestHandler):
    """Serves a site's files and logs nothing."""

    timeout = 60
    """Seconds that a connection may stay silent."""

    def send_head(self) -> BinaryIO | io.BytesIO | None:
        """Send the headers, and return the body: a file of the site, or the part of it that is asked for."""
        if not self._is_for_us():
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers to localhost alone")
            return None
        root = Path(self.directory)
        path = self._file(root, self.path) or self._below(root)
        try:
            source = _open(root, path or root / links.NOT_FOUND)
        except OSError:  # a build is putting another site in its place
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        size = source.seek(0, io.SEEK_END)
        first, end = (self._span(size) if path else None) or (0, size)
        whole = path is None or "Range" not in self.headers or (first, end) == (0, size)
        if whole:
            self.send_response(HTTPStatus.OK if path else HTTPStatus.NOT_FOUND)
        elif first < end:
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        else:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
        self.send_header("Content-Type", self.guess_type(path or links.NOT_FOUND))
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        source.seek(first)
        if whole:
            return source
        with source:
            return io.BytesIO(source.read(end - first))

    def end_headers(self) -> None:
        """Add the headers of every answer: a rebuilt site is seen at once, and no type is guessed."""
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def _is_for_us(self) -> bool:
        """Return whether the request names this server, and comes from a page of it if from any."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        return _name(f"//{host}") in OWN_NAMES and (origin is None or _name(origin) in OWN_NAMES)

    def _below(self, root: Path) -> Path | None:
        """Return the file that is asked for below the path of site.base_url, where 404.html looks for everything."""
        try:
            found = SITE_ROOT.search((root / links.NOT_FOUND).read_text(encoding="utf-8"))
        except OSError:
            return None
        if not found or not self.path.startswith(f"{unescape(found[1])}/"):
            return None
        return self._file(root, self.path.removeprefix(unescape(found[1])))

    def _file(self, root: Path, address: str) -> Path | None:
        """Return the file that is asked for; None if it is none of the site's."""
        try:
            path = Path(self.translate_path(address))
            path = path / links.HOME if address.partition("?")[0].endswith("/") else path
            inside = path.resolve().relative_to(root.resolve())
            there = path.is_file()
        except (ValueError, OSError):  # no path that the system could have
            return None
        hidden = any(part.startswith(".") for part in inside.parts)
        return path if there and not hidden and inside.as_posix() != RECEIPT else None

    def _span(self, size: int) -> tuple[int, int] | None:
        """Return the bytes that are asked for, the end excluded; None for all, none in common if there are no such."""
        found = SPAN.fullmatch(self.headers.get("Range", "").strip())
        if found is None or found[0] == "bytes=-":
            return None
        if not found[1]:
            return max(0, size - int(found[2])), size
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        return (first, last + 1) if first <= last else (size, size)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _open(root: Path, path: Path) -> BinaryIO | io.BytesIO:
    """Open a file; addresses of pictures published elsewhere are replaced by local ones."""
    media = media_of(root) if path.suffix in NAMING_PICTURES else ""
    if not media:
        return path.open("rb")
    return io.BytesIO(with_local_pictures(path.read_text(encoding="utf-8"), media).encode())


class _Server(ThreadingHTTPServer):
    """Answers in threads, and lets readers go away in the middle of an answer."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader that has left."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def with_local_pictures(text: str, media: str) -> str:
    """Return a file's text with the addresses of pictures replaced by those of this server."""
    text = text.replace(f'data-media="{media}"', f'data-media="/{links.MEDIA}"')
    return text.replace(f'"{media}/', f'"/{links.MEDIA}/')


def serve_folder(folder: Path, port: int, *, announce: Callable[[str], object]) -> None:
    """Serve a site on 127.0.0.1 until interrupted, pictures to be published elsewhere included.

    Raises:
        MissingError: There is no site in the folder.
        InputError: The port is not available.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    handler = partial(SiteHandler, directory=str(folder))
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(
            f"port {port} is not available ({error.strerror}); name another: atlas serve --port 0"
        ) from error
    with server:
        announce(f"{folder} on http://127.0.0.1:{server.server_address[1]} (Ctrl-C stops)")
        server.serve_forever()
