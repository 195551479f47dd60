"""Which addresses of the network may be asked: public ones alone.

A list of urls from the web may name machines of the user's own network, by number or by a name that
leads there. So a host is resolved first, every address is judged, and those addresses are connected to.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address, ip_network

from atlas.fetching.outcomes import Outcome, RefusedError

SPECIAL = tuple(
    ip_network(block)
    for block in (
        *("192.0.0.0/24", "192.88.99.0/24"),
        *("2001::/23", "2002::/16", "3fff::/20", "fec0::/10"),
    )
)
"""For protocols, relays to IPv4, examples, sites: global to `ipaddress`, at least in some Pythons."""
NO_SUCH_HOST = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


def is_public(address: str) -> bool:
    """Return whether an address, IPv4 or IPv6, is that of one machine of the public network."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return False
    special = found.is_multicast or found.is_reserved
    # Not global: private, shared, loopback, link-local, unspecified and documentation's addresses.
    return found.is_global and not special and not any(found in block for block in SPECIAL)


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the system's order; its resolver has a time limit of its own.

    Raises:
        RefusedError: There is no such host, or the resolver gave no answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        gone = error.errno in NO_SUCH_HOST
        raise RefusedError(
            Outcome.GONE if gone else Outcome.NO_ANSWER, f"cannot resolve: {error.strerror}"
        ) from error
    except (OSError, UnicodeError) as error:
        raise RefusedError(Outcome.GONE, "its host has no valid name") from error
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
