"""Compiled loops, where numba is installed."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def find_loops() -> ModuleType | None:
    """Return atlas.base.loops; None if numba is missing or doesn't support this Python.

    Importing it takes most of a second, so callers ask only when there is much to compute.
    """
    try:
        return import_module("atlas.base.loops")
    except ImportError:
        return None
