"""A local web server for a finished site."""

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
"""Suffixes of the files that contain addresses of pictures."""


class SiteHandler(SimpleHTTPRequestHandler):
    """Serves a site's files and logs nothing."""

    def __init__(self, *args: Any, media: str, **kwargs: Any) -> None:
        """Also take where the pictures are published; here they are served from the folder."""
        self._media = media
        super().__init__(*args, **kwargs)

    def send_head(self) -> BinaryIO | io.BytesIO | None:
        """Send the headers; addresses of pictures published elsewhere are replaced by local ones."""
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
        """Log nothing."""


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
    handler = partial(SiteHandler, directory=str(folder), media=media_of(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(
            f"port {port} is not available ({error.strerror}); name another: atlas serve --port 0"
        ) from error
    with server:
        announce(f"{folder} on http://127.0.0.1:{server.server_address[1]} (Ctrl-C stops)")
        server.serve_forever()
