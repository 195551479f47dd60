"""Confidence intervals of rates, AUROCs and medians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964
"""Standard deviations of a normal distribution within which 95 % of it lies."""


def auroc_interval(auroc: float, firing: int, silent: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUROC by Hanley and McNeil's standard error, in 0 to 1."""
    if not firing or not silent or np.isnan(auroc):
        return float("nan"), float("nan")
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    # Hanley and McNeil 1982, with the exponential approximation of q1 and q2 above.
    within = auroc * (1 - auroc)
    variance = within + (firing - 1) * (q1 - auroc**2) + (silent - 1) * (q2 - auroc**2)
    half = 1.96 * float(np.sqrt(max(variance, 0.0) / (firing * silent)))
    return max(0.0, auroc - half), min(1.0, auroc + half)


def median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return a median with its 95 % interval by order statistics; nan are left out."""
    kept = np.sort(values[~np.isnan(values)])
    if not len(kept):
        return float("nan"), float("nan"), float("nan")
    half = 0.98 * np.sqrt(len(kept))
    low = int(max(np.floor(len(kept) / 2 - half), 0))
    high = int(min(np.ceil(len(kept) / 2 + half), len(kept) - 1))
    return float(np.median(kept)), float(kept[low]), float(kept[high])


def wilson(hits: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson interval of a rate; from 0 to 1 where nothing was tried."""
    if not n:
        return 0.0, 1.0
    rate, spread = hits / n, z * z / n
    middle = rate + spread / 2
    half = z * float(np.sqrt(rate * (1 - rate) / n + spread / (4 * n)))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    # At rates of 0 and 1 the last bit may fall on the wrong side.
    return max(0.0, min(low, rate)), min(1.0, max(high, rate))
