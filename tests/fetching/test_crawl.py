"""Several hosts at once, and what their threads raise."""

import threading
from collections import Counter

import pytest
from picture_host import PRIVATE, quick_access

from atlas.fetching.client import Client
from atlas.fetching.crawl import by_host, crawl
from atlas.fetching.outcomes import Outcome


def test_every_url_is_answered_once_and_hosts_are_asked_side_by_side(trust, host):
    urls = [host.url(f"h{n % 4}", f"/good{n}") for n in range(24)]
    urls += [host.url(PRIVATE, "/good"), "http://plain.test/1.jpg", "no url"]
    found = list(crawl(urls, quick_access(trust)))
    assert sorted(one.url for one in found) == sorted(urls)
    counts = Counter(one.outcome for one in found)
    assert counts == {Outcome.KEPT: 24, Outcome.PRIVATE: 1, Outcome.NOT_HTTPS: 2}
    assert max(host.most_at_once.values()) == 1
    assert host.all_at_once > 1


def test_the_host_of_most_urls_begins():
    urls = ["https://a.test/1", "https://b.test/1", "https://B.test:444/2", "bad", "https://b.test/3"]  # fmt: skip
    assert by_host(urls) == [[urls[1], urls[2], urls[4]], [urls[0]], [urls[3]]]


def test_a_mistake_in_a_thread_is_no_silence(trust, host, monkeypatch):
    def fail(self, url):
        raise ZeroDivisionError(url)

    monkeypatch.setattr(Client, "fetch", fail)
    with pytest.raises(ZeroDivisionError):
        list(crawl([host.url("one", "/good")], quick_access(trust)))


def test_what_is_closed_stops(trust, host):
    answers = crawl([host.url("one", f"/good{n}") for n in range(50)], quick_access(trust))
    next(answers)
    answers.close()
    for thread in threading.enumerate():
        if thread.daemon and thread.name.endswith("(work)"):
            thread.join(timeout=5)
            assert not thread.is_alive()
    assert len(host.paths("one")) < 5
