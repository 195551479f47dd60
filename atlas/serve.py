"""A small server for looking at a finished site on one's own machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from atlas.errors import InputError, MissingError


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps what it served to itself."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve_folder(folder: Path, port: int, *, announce: Callable[[str], object]) -> None:
    """Serve a folder on 127.0.0.1 until interrupted.

    Raises:
        MissingError: There is no site in the folder.
        InputError: The port can't be had.
    """
    if not (folder / "index.html").exists():
        raise MissingError(f"no site at {folder}; build one with: atlas build CONFIG")
    handler = partial(_Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(
            f"port {port} can't be had ({error.strerror}); name another: atlas serve --port 0"
        ) from error
    with server:
        announce(f"{folder} on http://127.0.0.1:{server.server_address[1]} (Ctrl-C stops)")
        server.serve_forever()
