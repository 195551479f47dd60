"""Plots of an open atlas, each onto matplotlib's axes: density, sparsity, mass, icons, names, training.

Every function takes what `atlas.open` returned and an `ax` (a new one by default), draws, and
returns the axes. Titles say what is seen; the data stands behind each in one SQL query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.base.errors import InputError
from atlas.base.extras import explain_missing_package
from atlas.base.files import read_parquet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from atlas.lookup.atlas import Atlas

BINS = 40
COLOR, QUIET = "#b8432f", "#9a9a94"
VERDICTS = ("shown", "partly", "not shown")
HALF = 0.5
"""Share of a feature's strongest images that must hold its name for it to be interpretable."""


def density(atlas: Atlas, ax: Axes | None = None) -> Axes:
    """Draw on what share of the images features fire, on a logarithmic axis; dead ones are left out."""
    values = _column(atlas, "SELECT density FROM features WHERE alive")
    ax = _axes(ax, "share of images on which a feature fires", "features")
    ax.hist(values, bins=_log_bins(values).tolist(), color=COLOR)
    ax.set_xscale("log")
    ax.set_title(
        f"Half of the features fire on fewer than 1 in {1 / np.median(values):,.0f} images"
    )
    return ax


def l0(atlas: Atlas, ax: Axes | None = None) -> Axes:
    """Draw how many features fire on an image."""
    values = _column(atlas, "SELECT l0 FROM images")
    ax = _axes(ax, "features that fire on an image", "images")
    bins = np.arange(values.min() - 0.5, values.max() + 1.5, max(1, np.ptp(values) // BINS))
    ax.hist(values, bins=bins.tolist(), color=COLOR)
    ax.set_title(f"{np.median(values):,.0f} features fire on the median image")
    return ax


def mass(atlas: Atlas, ax: Axes | None = None) -> Axes:
    """Draw which share of all activation the strongest features hold."""
    values = np.sort(_column(atlas, "SELECT mass_share FROM features WHERE alive"))[::-1]
    held = np.cumsum(values)
    ax = _axes(ax, "features, the heaviest first", "share of all activation")
    ax.plot(np.arange(1, len(held) + 1), held, color=COLOR)
    ax.set_ylim(0, 1)
    ax.set_title(f"{np.searchsorted(held, HALF) + 1:,} of {len(held):,} features hold half of it")
    return ax


def round_trips(atlas: Atlas, ax: Axes | None = None) -> Axes:
    """Draw how many icons excite the feature that they were drawn for.

    Raises:
        InputError: The atlas has no icons of its own.
    """
    rows = dict(
        _rows(atlas, "SELECT verdict, count(*) FROM icons WHERE verdict IS NOT NULL GROUP BY 1")
    )
    if not rows:
        raise InputError(f"{atlas.path} has no rendered icons; set icons.decoder and build it")
    counts = [rows.get(verdict, 0) for verdict in VERDICTS]
    ax = _axes(ax, "round trip of the icon", "features")
    ax.bar(VERDICTS, counts, color=(COLOR, QUIET, QUIET))
    ax.set_title(f"The model recognizes {counts[0] / sum(counts):.0%} of the icons")
    return ax


def histogram(atlas: Atlas, feature: int, ax: Axes | None = None) -> Axes:
    """Draw how strongly a feature fires where it does.

    Raises:
        InputError: There is no such feature, or it never fires.
    """
    found = atlas.feature(feature)
    bars = _rows(
        atlas,
        f"SELECT low, high, count FROM activation_histogram WHERE feature = {int(feature)} ORDER BY bin",
    )
    if not bars:
        raise InputError(f"feature {feature} never fires; it has no histogram")
    low, high, count = np.array(bars, float).T
    ax = _axes(ax, "activation", "images")
    ax.bar(low, count, width=high - low, align="edge", color=COLOR)
    ax.set_xscale("log")  # the bins are: two to each doubling
    ax.set_title(f"{found.name or f'feature {feature}'}: fires on {found.count:,} images")
    return ax


def plane(atlas: Atlas, ax: Axes | None = None) -> Axes:
    """Draw how far each feature's name holds against how strongly its icon excites it.

    To the right stand features whose name is in half or more of their strongest images, above
    those whose icon the model recognizes; the corners have the share of features in each quarter.
    The quarters are those of arXiv 2512.10805 (18.8 % both, 36.3 % neither, on a SAE of CLIP), which
    measured both by other means.

    Raises:
        InputError: The atlas has neither names with evidence nor icons of its own.
    """
    rows = _rows(atlas, PLANE)
    if not rows:
        raise InputError(f"{atlas.path} lacks names with evidence, or rendered icons; build both")
    x, y, shown = (np.array(column, float) for column in zip(*rows, strict=True))
    named, seen = x >= HALF, shown > 0
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, len(x))
    ax = _axes(
        ax,
        "share of its strongest images that hold its name",
        "activation on its icon, over its median",
    )
    ax.scatter(x + jitter, np.minimum(y, np.quantile(y, 0.99)), s=6, c=np.where(seen, COLOR, QUIET))
    ax.axvline(HALF, color=QUIET, linewidth=0.8)
    for right, top in ((True, True), (True, False), (False, True), (False, False)):
        share = float(((named == right) & (seen == top)).mean())
        ax.annotate(
            f"{share:.0%}",
            (0.98 if right else 0.02, 0.97 if top else 0.03),
            xycoords="axes fraction",
            ha="right" if right else "left",
            va="top" if top else "bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )
    ax.set_title(f"{(named & seen).mean():.0%} have a name that holds and an icon that shows them")
    return ax


PLANE = """SELECT coalesce(held / nullif(strong, 0), 0), on_icon / median, (verdict = 'shown')::INTEGER
           FROM features JOIN icons USING (feature) LEFT JOIN names USING (feature)
           WHERE alive AND verdict IS NOT NULL AND (SELECT count(held) FROM names) > 0 ORDER BY feature"""
"""Of each feature: how far its name holds, how strongly its icon excites it, whether it is shown."""


def curve(folder: str | Path, column: str = "explained_variance", ax: Axes | None = None) -> Axes:
    """Draw a column of a training run's curve.parquet over its steps.

    Args:
        folder: Folder of a trained SAE.
        column: For instance explained_variance, l0 or dead_share.
        ax: Where to draw.

    Raises:
        InputError: The curve has no such column.
    """
    table = read_parquet(Path(folder) / "curve.parquet")
    if column not in table.column_names:
        known = ", ".join(name for name in table.column_names if name != "step")
        raise InputError(f"{folder}/curve.parquet has no column {column}; it has {known}")
    ax = _axes(ax, "training steps", column.replace("_", " "))
    ax.plot(table["step"].to_numpy(), table[column].to_numpy(), color=COLOR)
    ax.set_title(f"{column.replace('_', ' ')} while the SAE was trained")
    return ax


def _axes(ax: Axes | None, x: str, y: str) -> Axes:
    if ax is None:
        with explain_missing_package("a plot"):
            import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _rows(atlas: Atlas, query: str) -> list[tuple[Any, ...]]:
    return list(atlas.rows(query))


def _column(atlas: Atlas, query: str) -> NDArray[np.float64]:
    return np.array([row[0] for row in atlas.rows(query)], float)


def _log_bins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.geomspace(
        values.min(), max(values.max(), values.min() * 1.01), BINS
    )
    return found
