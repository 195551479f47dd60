"""Addresses: which places are one, and opening one by an encrypted connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from atlas.base.errors import ConfigError, MissingError

TIMEOUT_S = 60.0
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption: this machine."""


def is_address(place: str) -> bool:
    """Return whether a place is an address rather than a folder."""
    return place.startswith(("https://", "http://"))


def open_address(address: str, headers: Mapping[str, str] | None = None) -> Any:
    """Open an address for reading.

    Raises:
        ConfigError: It is not encrypted, or leads to one that is not.
        MissingError: Nothing answers there.
    """
    _require_encrypted(address)
    try:
        answer = urlopen(Request(address, headers=dict(headers or {})), timeout=TIMEOUT_S)
    except (URLError, OSError) as error:  # HTTPError is a URLError
        reason = getattr(error, "reason", None) or error
        raise MissingError(
            f"cannot fetch {address} ({reason}); check it, and run the same command to go on"
        ) from error
    _require_encrypted(answer.url)
    return answer


def _require_encrypted(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        raise ConfigError(f"{address} is not encrypted; name an https address")
