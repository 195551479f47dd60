"""Fetching from a host that misbehaves in every way that the web does."""

import socket
import threading
import time

import pytest
from picture_host import BUSY, CLOSED, NOWHERE, PARTLY, PRIVATE, png, quick_access

from atlas.base.version import __version__
from atlas.fetching.client import Client
from atlas.fetching.outcomes import Outcome, RefusedError, StoppedError
from atlas.fetching.request import Access


@pytest.fixture
def client(trust):
    return Client(quick_access(trust), threading.Event())


def outcome(client, url):
    with pytest.raises(RefusedError) as refused:
        client.fetch(url)
    return refused.value.outcome


def test_a_picture_comes_as_its_host_has_it(client, host):
    assert client.fetch(host.url("one", "/good7.png?w=1&h=2")) == png(712)
    assert host.asked == [("one.pictures.test", "/robots.txt"), ("one.pictures.test", "/good7.png?w=1&h=2")]  # fmt: skip
    assert host.agents == {f"feature-atlas/{__version__} (atlas thumbnails)"}
    named = Access(contact="https://atlas.example").user_agent
    assert named == f"feature-atlas/{__version__} (atlas thumbnails; +https://atlas.example)"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/missing", Outcome.GONE),
        ("/forbidden", Outcome.REFUSED),
        ("/broken", Outcome.NO_ANSWER),
        ("/noai", Outcome.NOAI),
        ("/html", Outcome.NOT_PICTURE),
        ("/packed", Outcome.NOT_PICTURE),
        ("/loop", Outcome.NO_ANSWER),
        ("/large", Outcome.LARGE),
        ("/endless", Outcome.LARGE),
        ("/short", Outcome.NO_ANSWER),
        ("/silent", Outcome.TIMED_OUT),
        ("/trickle", Outcome.TIMED_OUT),
        ("/to?http://one.pictures.test/good", Outcome.NOT_HTTPS),
        ("/to?ftp://one.pictures.test/good", Outcome.NOT_HTTPS),
        ("/to?https://10.0.0.1/good", Outcome.PRIVATE),
        ("/to?https://[::1]/good", Outcome.PRIVATE),
    ],
)
def test_each_failure_has_its_name_and_ends_soon(client, host, path, expected):
    began = time.monotonic()
    assert outcome(client, host.url("one", path)) == expected
    assert time.monotonic() - began < 3


def test_at_most_five_redirects_are_followed(client, host):
    url = host.url("one", "/good1")
    for _ in range(5):
        url = host.url("one", f"/to?{url}")
    assert client.fetch(url)
    assert outcome(client, host.url("one", f"/to?{url}")) == Outcome.NO_ANSWER


@pytest.mark.parametrize(
    "url",
    ["http://one.pictures.test/good", "ftp://one.pictures.test/good", "javascript:alert(1)", "", "https://",
     "https://user:word@one.pictures.test/good", "https://one.pictures.test:0/good", "https://a b/", "//one/good"],
)  # fmt: skip
def test_what_is_not_https_is_never_asked(client, host, url):
    assert outcome(client, url) == Outcome.NOT_HTTPS
    assert host.asked == []


def test_a_name_or_a_redirect_into_a_private_network_is_not_connected_to(client, host):
    private = host.url(PRIVATE, "/good")
    assert outcome(client, private) == Outcome.PRIVATE
    assert outcome(client, host.url("one", f"/to?{private}")) == Outcome.PRIVATE
    assert host.paths(PRIVATE) == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(trust, host):
    mixed = quick_access(trust, resolve=lambda *_: ["127.0.0.1", "10.0.0.1"])
    assert outcome(Client(mixed, threading.Event()), host.url("one", "/good")) == Outcome.PRIVATE
    assert host.asked == []


def test_a_name_that_is_rebound_after_its_check_leads_nowhere_else(trust, host, monkeypatch):
    """The name is resolved once a request, and what was judged is what is connected to."""
    connected = []
    connect = socket.create_connection

    def note(place, *args, **named):
        connected.append(place[0])
        return connect(place, *args, **named)

    monkeypatch.setattr("socket.create_connection", note)
    monkeypatch.setattr("socket.getaddrinfo", _numbers_only)
    answers = iter([["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"]])
    rebound = quick_access(trust, resolve=lambda *_: next(answers))
    client = Client(rebound, threading.Event())
    assert client.fetch(host.url("one", "/good"))
    assert connected == ["127.0.0.1", "127.0.0.1"]
    assert outcome(client, host.url("one", "/good")) == Outcome.PRIVATE
    assert connected == ["127.0.0.1", "127.0.0.1"]


def _numbers_only(host, port, *_args, **_named):
    assert host == "127.0.0.1", f"{host} was resolved again"
    return [(2, 1, 6, "", (host, port))]


def test_a_certificate_of_somebody_else_is_refused(host):
    stranger = Client(quick_access(Access().context), threading.Event())
    assert outcome(stranger, host.url("one", "/good")) == Outcome.NO_ANSWER
    assert host.asked == []


def test_robots_txt_is_heeded_also_after_a_redirect_and_read_once(client, host):
    assert outcome(client, host.url(CLOSED, "/good")) == Outcome.ROBOTS
    assert outcome(client, host.url(PARTLY, "/private")) == Outcome.ROBOTS
    assert outcome(client, host.url("one", f"/to?{host.url(CLOSED, '/good')}")) == Outcome.ROBOTS
    assert client.fetch(host.url(PARTLY, "/good"))
    assert host.paths(CLOSED) == []
    assert host.paths(PARTLY) == ["/good"]
    assert host.asked.count((PARTLY, "/robots.txt")) == 1
    assert host.asked.count((CLOSED, "/robots.txt")) == 1


def test_a_host_that_asks_for_a_pause_is_left(client, host):
    for _ in range(3):
        assert outcome(client, host.url(BUSY, "/good")) == Outcome.LATER
    assert host.paths(BUSY) == ["/good"]
    assert client.fetch(host.url("one", "/good"))


def test_a_host_that_stays_silent_is_left(client, host):
    found = [outcome(client, host.url(NOWHERE, f"/good{n}")) for n in range(5)]
    assert found == [Outcome.NO_ANSWER] * 3 + [Outcome.LATER] * 2


def test_two_threads_never_ask_one_host_at_once_and_pause_between(trust, host):
    client = Client(quick_access(trust, delay_s=0.1), threading.Event())
    urls = [host.url("one", f"/good{n}") for n in range(2)]
    urls += [host.url("two", f"/to?{host.url('one', '/good9')}")]
    threads = [threading.Thread(target=client.fetch, args=[url]) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.most_at_once["one.pictures.test"] == 1
    assert min(host.gaps["one.pictures.test"]) > 0.05


def test_a_stopped_client_asks_no_more(trust, host):
    stop = threading.Event()
    client = Client(quick_access(trust, delay_s=60.0), stop)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        client.fetch(host.url("one", "/good"))
    assert host.asked == [("one.pictures.test", "/robots.txt")]


def test_what_can_not_be_read_as_robots_txt_forbids_and_what_is_not_there_allows(client, host):
    for name in ("broken", "locked", "lost", "sleepy"):
        assert outcome(client, host.url(name, "/good")) == Outcome.ROBOTS, name
        assert host.paths(name) == ["/loop"] * 5 * (name == "lost")
    assert client.fetch(host.url("moved", "/good"))
    assert outcome(client, host.url("stern", "/good")) == Outcome.LATER


def test_a_host_gets_the_pause_that_it_asks_for(client, host):
    for number in range(2):
        client.fetch(host.url("patient", f"/good{number}"))
    assert min(host.gaps["patient.pictures.test"]) > 0.3


def test_silence_ends_a_request_before_its_time_is_over(trust, host):
    client = Client(quick_access(trust, total_s=60.0), threading.Event())
    began = time.monotonic()
    assert outcome(client, host.url("one", "/silent")) == Outcome.TIMED_OUT
    assert time.monotonic() - began < 3


def test_a_port_that_never_speaks_ends_a_request(trust):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = Client(quick_access(trust, connect_s=0.3, total_s=60.0), threading.Event())
        began = time.monotonic()
        url = f"https://one.pictures.test:{mute.getsockname()[1]}/good"
        assert outcome(client, url) == Outcome.TIMED_OUT
        assert time.monotonic() - began < 3
