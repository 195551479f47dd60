"""Whether compiled loops can be had. They need numba, which only some extras install."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def find_loops() -> ModuleType | None:
    """Return atlas.loops; None where numba is missing, or unfit for this Python or numpy.

    Loading it takes most of a second, so callers ask only where much is to be computed.
    """
    try:
        return import_module("atlas.loops")
    except ImportError:
        return None
