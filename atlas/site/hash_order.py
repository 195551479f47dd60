"""An order that looks random and is the same on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_order(items: Iterable[int], of: str) -> list[int]:
    """Return numbers in an order that looks random and is the same on any machine."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{of} {item}".encode()).digest())
