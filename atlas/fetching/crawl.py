"""Many urls at once: a thread for each of several hosts, whose answers come back one by one."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from atlas.fetching.client import Client
from atlas.fetching.outcomes import Outcome, RefusedError, StoppedError
from atlas.fetching.request import Access, host_of, parse_url

WAITING = 32
"""Files that may wait in memory to be decoded."""
LOOK_S = 0.5
"""Seconds between looks whether the command is stopped."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of a url."""

    url: str
    outcome: Outcome
    """KEPT where there is a file, which need not be a picture."""
    why: str
    heard: bool
    """Whether any host had answered by then."""
    data: bytes = b""


def by_host(urls: Iterable[str]) -> list[list[str]]:
    """Return urls in a list for each host, the longest first: with pauses it takes longest."""
    held: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        try:
            host = host_of(parse_url(url))
        except RefusedError:
            host = ""
        held[host].append(url)
    return sorted(held.values(), key=lambda list_: -len(list_))


def crawl(urls: Iterable[str], access: Access) -> Generator[Fetched, None, None]:
    """Fetch urls, several hosts at once, and yield what becomes of each.

    Closing the iterator stops it; requests that are under way end by their own time limits.
    """
    stop = threading.Event()
    todo = deque(by_host(urls))
    crew = _Crew(Client(access, stop), todo, stop)
    threads = [
        threading.Thread(target=crew.work, daemon=True)
        for _ in range(min(access.hosts_at_once, len(todo)))
    ]
    for thread in threads:
        thread.start()
    try:
        yield from crew.answers(len(threads))
    finally:
        stop.set()


class _Crew:
    """Threads that take a host each from a common list."""

    def __init__(self, client: Client, todo: deque[list[str]], stop: threading.Event) -> None:
        self._client = client
        self._todo = todo
        self._stop = stop
        self._done: queue.Queue[Fetched | BaseException | None] = queue.Queue(WAITING)

    def answers(self, n_threads: int) -> Iterator[Fetched]:
        """Yield what the threads hand over until all have ended; raise what any of them raised."""
        while n_threads:
            one = self._done.get()
            if one is None:
                n_threads -= 1
            elif isinstance(one, BaseException):
                raise one
            else:
                yield one

    def work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    urls = self._todo.popleft()
                except IndexError:
                    break
                for url in urls:
                    self._hand_over(self._fetch(url))
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the answers are read
            self._hand_over(error)
        self._hand_over(None)

    def _fetch(self, url: str) -> Fetched:
        try:
            data = self._client.fetch(url)
        except RefusedError as refused:
            return Fetched(url, refused.outcome, str(refused), self._client.heard)
        return Fetched(url, Outcome.KEPT, "", self._client.heard, data)

    def _hand_over(self, one: Fetched | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._done.put(one, timeout=LOOK_S)
            except queue.Full:
                continue
            return
