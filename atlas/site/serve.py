"""A small server for looking at a finished site on one's own machine."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from atlas.base.errors import InputError, MissingError
from atlas.site import links
from atlas.site.check import media_of

NAMING_PICTURES = (".html", ".json", ".css")
"""Endings of the files that say where pictures are."""


class SiteHandler(SimpleHTTPRequestHandler):
    """Serves files and keeps what it served to itself."""

    def __init__(self, *args: Any, media: str, **kwargs: Any) -> None:
        """Take also where the site's pictures are to be published; here they come from the folder."""
        self._media = media
        super().__init__(*args, **kwargs)

    def send_head(self) -> BinaryIO | io.BytesIO | None:
        """Begin an answer; a file that sends for pictures elsewhere sends for the ones here."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() and self.path.endswith("/") else path
        if not self._media or path.suffix not in NAMING_PICTURES or not path.is_file():
            return super().send_head()
        raw = with_local_pictures(path.read_text(encoding="utf-8"), self._media).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        return io.BytesIO(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def with_local_pictures(text: str, media: str) -> str:
    """Return a file's text with the pictures that are published elsewhere taken from this server."""
    text = text.replace(f'data-media="{media}"', f'data-media="/{links.MEDIA}"')
    return text.replace(f'"{media}/', f'"/{links.MEDIA}/')


def serve_folder(folder: Path, port: int, *, announce: Callable[[str], object]) -> None:
    """Serve a folder on 127.0.0.1 until interrupted, with the pictures that are published elsewhere.

    Raises:
        MissingError: There is no site in the folder.
        InputError: The port can't be had.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    handler = partial(SiteHandler, directory=str(folder), media=media_of(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(
            f"port {port} can't be had ({error.strerror}); name another: atlas serve --port 0"
        ) from error
    with server:
        announce(f"{folder} on http://127.0.0.1:{server.server_address[1]} (Ctrl-C stops)")
        server.serve_forever()
