"""One request over https: only to a judged address, within limits of time and bytes.

No redirect is followed here, no proxy is asked, no cookie or password is sent.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit

from atlas.base.version import __version__
from atlas.fetching.addresses import is_public, resolve
from atlas.fetching.outcomes import Outcome, RefusedError
from atlas.site import links

AGENT = "feature-atlas"
"""The name that robots.txt and X-Robots-Tag may call this program by."""
HOST = re.compile(r"[a-z0-9:_](?:[a-z0-9:._-]*)")
CHUNK_BYTES = 1 << 16
ADDRESSES_TRIED = 2


@dataclass(frozen=True, slots=True)
class Access:
    """How the network is asked; the defaults are those of the command, tests have others."""

    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    allowed: Callable[[str], bool] = is_public
    """Whether an address may be connected to."""
    resolve: Callable[[str, int], list[str]] = resolve
    """Host and port -> addresses."""
    connect_s: float = 6.0
    read_s: float = 10.0
    """Longest silence."""
    total_s: float = 40.0
    """Longest time of one request, however it trickles."""
    most_bytes: int = 16 << 20
    """Largest file."""
    delay_s: float = 0.5
    """Pause between two requests to a host."""
    hosts_at_once: int = 24
    contact: str = ""
    """Address of the site, so that a host's owner can find who asks."""

    @property
    def user_agent(self) -> str:
        """What this program calls itself."""
        return f"{AGENT}/{__version__} (atlas thumbnails{'; +' * bool(self.contact)}{self.contact})"


def parse_url(url: str) -> SplitResult:
    """Return the parts of a url, quoted, if it may be asked.

    Raises:
        RefusedError: It is not https, or no url.
    """
    parts = urlsplit(links.outward(url))
    try:
        valid = parts.scheme == "https" and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise RefusedError(Outcome.NOT_HTTPS, "only https is asked")
    return parts


def host_of(parts: SplitResult) -> str:
    """Return the host of a url in lower case, as DNS writes it.

    Raises:
        RefusedError: No host can be called that.
    """
    name = unquote(parts.hostname or "").rstrip(".")
    try:
        plain = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        plain = ""
    if not HOST.fullmatch(plain):
        raise RefusedError(Outcome.GONE, "no host can be called that")
    return plain


@contextmanager
def opened(url: SplitResult, access: Access) -> Iterator[HTTPResponse]:
    """Ask for a url and yield the response, its body unread; what fails in the block is told too.

    Raises:
        RefusedError: A limit, an address or the connection forbids it.
    """
    try:
        timed = _Timed(access)
        with _connect(url, access, timed) as connection:
            timed.socket = connection
            connection.sendall(_head_of(url, access))
            response = HTTPResponse(cast("socket.socket", timed), method="GET")
            response.begin()
            with response:
                yield response
    except TimeoutError as error:
        raise RefusedError(Outcome.TIMED_OUT, "no answer in time") from error
    except (OSError, HTTPException) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(Outcome.NO_ANSWER, reason) from error


def read_body(response: HTTPResponse, most_bytes: int) -> bytes:
    """Return the body of a response.

    Raises:
        RefusedError: It is larger than allowed, by what the header says or by what comes.
    """
    told, body = response.length, bytearray()
    too_large = RefusedError(Outcome.LARGE, f"more than {most_bytes:,} bytes")
    if told is not None and told > most_bytes:
        raise too_large
    while chunk := response.read(CHUNK_BYTES):
        body += chunk
        if len(body) > most_bytes:
            raise too_large
    if told is not None and len(body) < told:
        raise RefusedError(Outcome.NO_ANSWER, "the answer breaks off")
    return bytes(body)


def _head_of(url: SplitResult, access: Access) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = host_of(url)
    place = f"[{host}]" if ":" in host else host
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {place}{f':{url.port}' if url.port else ''}",
        f"User-Agent: {access.user_agent}",
        "Accept: image/*, text/plain;q=0.5",
        "Accept-Encoding: identity",  # what comes packed could unpack to any size
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _connect(url: SplitResult, access: Access, timed: _Timed) -> ssl.SSLSocket:
    """Return a connection to one of the addresses that were judged, never to the name."""
    host, port = host_of(url), url.port or 443
    addresses = access.resolve(host, port)
    if not addresses or not all(access.allowed(address) for address in addresses):
        raise RefusedError(Outcome.PRIVATE, "its host lies in a network that is not public")
    for number, address in enumerate(addresses[:ADDRESSES_TRIED], 1):
        try:
            plain = socket.create_connection((address, port), timed.left_s(access.connect_s))
        except OSError:
            if number == min(len(addresses), ADDRESSES_TRIED):
                raise
            continue
        try:
            plain.settimeout(timed.left_s(access.connect_s))
            return access.context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
    raise AssertionError(addresses)


class _Timed:
    """What http.client needs of a socket, with one deadline over all reads."""

    def __init__(self, access: Access) -> None:
        self._read_s = access.read_s
        self._ends = time.monotonic() + access.total_s
        self.socket: ssl.SSLSocket | None = None

    def left_s(self, at_most: float) -> float:
        """Return the seconds that one step may take."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, at_most)

    def receive(self, buffer: Any) -> int:
        assert self.socket is not None
        self.socket.settimeout(self.left_s(self._read_s))
        return self.socket.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive(buffer)
