"""Whether compiled loops and kernels can be had. They need packages that only some extras install."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def find_loops() -> ModuleType | None:
    """Return atlas.base.loops; None where numba is missing, or unfit for this Python or numpy.

    Loading it takes most of a second, so callers ask only where much is to be computed.
    """
    return _find("atlas.base.loops")


@cache
def find_kernels() -> ModuleType | None:
    """Return atlas.sae.kernels; None where triton is missing, as beside a torch without CUDA."""
    return _find("atlas.sae.kernels")


def _find(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None
