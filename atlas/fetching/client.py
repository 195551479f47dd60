"""Asking politely: one request at a time to each host, with pauses, as its robots.txt and headers allow."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from urllib.parse import SplitResult, urljoin

from atlas.base.text import decode_text
from atlas.fetching.outcomes import Outcome, RefusedError, StoppedError
from atlas.fetching.request import Access, host_of, opened, parse_url, read_body
from atlas.fetching.robots import NOTHING, Robots, parse_robots, refuses

MOST_REDIRECTS = 5
MOST_ROBOTS_BYTES = 512 << 10
"""RFC 9309 asks for 500 KiB at least."""
MOST_DELAY_S = 30.0
"""A host that asks for longer pauses is not asked."""
FAILURES = 3
"""So many requests in a row without an answer, and a host is left for this run."""
MOVED = (301, 302, 303, 307, 308)
BUSY = (429, 503)
SILENT = (Outcome.TIMED_OUT, Outcome.NO_ANSWER)


class Turns:
    """Whose turn it is to ask a host: one at a time, with a pause after each."""

    def __init__(self, delay_s: float, stop: threading.Event) -> None:
        """Begin with the same pause for every host; stop ends all waiting."""
        self._stop = stop
        self._new = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._free_at: dict[str, float] = {}
        self._delay_s: defaultdict[str, float] = defaultdict(lambda: delay_s)
        self._failures: defaultdict[str, int] = defaultdict(int)
        self._left: set[str] = set()

    @contextmanager
    def of(self, host: str) -> Iterator[None]:
        """Wait for a host's turn and hold it.

        Raises:
            RefusedError: The host was left for this run.
            StoppedError: The command is stopped.
        """
        with self._new:
            lock = self._locks.setdefault(host, threading.Lock())
        with lock:
            if host in self._left:
                raise RefusedError(Outcome.LATER, "its host is left for this run")
            if self._stop.wait(max(0.0, self._free_at.get(host, 0.0) - time.monotonic())):
                raise StoppedError
            try:
                yield
            finally:
                self._free_at[host] = time.monotonic() + self._delay_s[host]

    def slow_down(self, host: str, delay_s: float) -> None:
        """Leave at least so many seconds between requests to a host, from its last one on."""
        longer = max(self._delay_s[host], delay_s)
        self._free_at[host] = self._free_at.get(host, 0.0) + longer - self._delay_s[host]
        self._delay_s[host] = longer

    def leave(self, host: str) -> None:
        """Ask a host no more in this run."""
        self._left.add(host)

    def note(self, host: str, *, answered: bool) -> None:
        """Count failures in a row; leave a host that does not answer."""
        self._failures[host] = 0 if answered else self._failures[host] + 1
        if self._failures[host] >= FAILURES:
            self.leave(host)


class Client:
    """Fetches pictures; several threads may share one."""

    def __init__(self, access: Access, stop: threading.Event) -> None:
        """Begin without any robots.txt; stop ends all waiting."""
        self.heard = False
        """Whether any host has answered."""
        self._access = access
        self._turns = Turns(access.delay_s, stop)
        self._robots: dict[str, Robots] = {}

    def fetch(self, url: str) -> bytes:
        """Return the file that a url leads to; each redirect is judged like a new url.

        Raises:
            RefusedError: There is none, or it may not be fetched.
            StoppedError: The command is stopped.
        """
        for _ in range(MOST_REDIRECTS + 1):
            parts = parse_url(url)
            if not self._robots_of(parts).allow(_target(parts)):
                raise RefusedError(Outcome.ROBOTS, "its robots.txt forbids it")
            with self._asked(parts) as response:
                judge(response)
                if response.status not in MOVED:
                    return read_body(response, self._access.most_bytes)
                url = urljoin(url, response.headers["Location"])
        raise RefusedError(Outcome.NO_ANSWER, f"more than {MOST_REDIRECTS} redirects")

    @contextmanager
    def _asked(self, parts: SplitResult) -> Iterator[HTTPResponse]:
        """Ask a host in its turn; leave it if it asks for a pause or keeps silent."""
        host = host_of(parts)
        with self._turns.of(host):
            try:
                with opened(parts, self._access) as response:
                    self.heard = True
                    self._heed(host, response)
                    yield response
            except RefusedError as refused:
                self._turns.note(host, answered=refused.outcome not in SILENT)
                raise
            self._turns.note(host, answered=True)

    def _heed(self, host: str, response: HTTPResponse) -> None:
        """Leave a host that asks for a pause, whatever its Retry-After says: the next call may ask."""
        if response.status in BUSY:
            self._turns.leave(host)
            raise RefusedError(Outcome.LATER, f"status {response.status}")

    def _robots_of(self, parts: SplitResult) -> Robots:
        """Return the robots.txt of a url's host, fetched once."""
        if parts.netloc not in self._robots:
            found = self._read_robots(f"https://{parts.netloc}/robots.txt")
            self._turns.slow_down(host_of(parts), found.delay_s)
            self._robots[parts.netloc] = found
        return self._robots[parts.netloc]

    def _read_robots(self, url: str) -> Robots:
        """Return a robots.txt; where there is none all is allowed, where it can't be read nothing."""
        first = url
        for _ in range(MOST_REDIRECTS + 1):
            try:
                parts = parse_url(url)
                with self._asked(parts) as response:
                    if response.status in MOVED and "Location" in response.headers:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    return _robots_in(response)
            except RefusedError:
                if url == first:
                    raise  # the host itself can't be asked: so it is with the picture
                return NOTHING
        return NOTHING


def _robots_in(response: HTTPResponse) -> Robots:
    if response.status == 200 and not _is_packed(response):
        robots = parse_robots(decode_text(response.read(MOST_ROBOTS_BYTES)))
        return NOTHING if robots.delay_s > MOST_DELAY_S else robots
    missing = 400 <= response.status < 500 and response.status not in (401, 403)
    return Robots() if missing else NOTHING


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_packed(response: HTTPResponse) -> bool:
    """Return whether a body would have to be unpacked, to who knows what size."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"


def judge(response: HTTPResponse) -> None:
    """Refuse what is no picture or must not be kept, before its body is read.

    Raises:
        RefusedError: By its status or its headers.
    """
    status, headers = response.status, response.headers
    if refuses(headers.get_all("X-Robots-Tag") or []):
        raise RefusedError(Outcome.NOAI, "a header X-Robots-Tag refuses")
    if status in (404, 410):
        raise RefusedError(Outcome.GONE, f"status {status}")
    if 400 <= status < 500:
        raise RefusedError(Outcome.REFUSED, f"status {status}")
    if status != 200 and not (status in MOVED and "Location" in headers):
        raise RefusedError(Outcome.NO_ANSWER, f"status {status}")
    page = headers.get_content_type() == "text/html"
    if status == 200 and (page or _is_packed(response)):
        raise RefusedError(Outcome.NOT_PICTURE, "it is a page, or packed")
