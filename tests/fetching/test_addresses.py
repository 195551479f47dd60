"""Only the public network is asked."""

import socket

import pytest

from atlas.fetching.addresses import is_public, resolve
from atlas.fetching.outcomes import Outcome, RefusedError

PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450::1")
OTHERS = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "127.0.0.1", "127.9.9.9"),
    *("100.64.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *(
        "192.0.0.8",
        "192.0.0.9",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "192.88.99.1",
    ),
    *("224.0.0.1", "224.0.1.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "2001:db8::1", "100::1", "::7f00:1", "::ffff:127.0.0.1"),
    *("::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    *(
        "64:ff9b:1::1",
        "2001:0:7f00:1::",
        "2002:7f00:1::",
        "2002:808:808::",
        "2001:1::1",
        "3fff::1",
        "4000::1",
    ),
    *("", "localhost", "1.1.1", "127.1", "0x7f000001", "2130706433"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_asked(address):
    assert is_public(address)


@pytest.mark.parametrize("address", OTHERS)
def test_no_other_address_may_be_asked(address):
    assert not is_public(address)


@pytest.mark.parametrize("name", ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "localhost"])
def test_however_this_machine_is_called_it_resolves_to_what_is_refused(name):
    assert not any(is_public(address) for address in resolve(name, 443))


def test_a_host_that_no_longer_exists_is_link_rot_and_a_silent_resolver_is_not(monkeypatch):
    def fail(number):
        def lookup(*_args, **_named):
            raise socket.gaierror(number, "no answer")

        return lookup

    for number, outcome in (
        (socket.EAI_NONAME, Outcome.GONE),
        (socket.EAI_AGAIN, Outcome.NO_ANSWER),
    ):
        monkeypatch.setattr(socket, "getaddrinfo", fail(number))
        with pytest.raises(RefusedError) as refused:
            resolve("gone.example", 443)
        assert refused.value.outcome == outcome
