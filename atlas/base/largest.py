"""The largest few of many values, without sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def largest(values: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Return the places of the n largest values (place,): largest first, of equal ones the lower place."""
    if n < 1:
        return np.empty(0, np.int64)
    some = np.arange(len(values))
    if len(values) > n:
        some = np.flatnonzero(values >= np.partition(values, -n)[-n])
    found: NDArray[np.int64] = some[np.argsort(-values[some], kind="stable")[:n]]
    return found
