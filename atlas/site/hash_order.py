"""An order that looks random and is the same on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_order(items: Iterable[int], of: str) -> list[int]:
    """Return numbers ordered by a digest of each.

    Args:
        items: Numbers without repeats.
        of: Salt: another word gives another order.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{of} {item}".encode()).digest())
