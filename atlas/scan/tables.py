"""The scan's tables: features, images, top images and histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.scan.tally import BINS, Tally, bin_edges, places_in_groups, read_keys

if TYPE_CHECKING:
    import pyarrow as pa


def top_table(whole: Tally, top_images: int) -> pa.Table:
    """Return the table top_images: each feature's strongest images, rank by rank."""
    import pyarrow as pa

    kept = np.minimum(whole.count, top_images)
    feature = np.repeat(np.arange(len(kept), dtype=np.int64), kept)
    activation, image = read_keys(whole.top_key)
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "rank": places_in_groups(feature).astype(np.int32),
            "image": image,
            "activation": activation,
        }
    )


def histogram_table(whole: Tally) -> pa.Table:
    """Return the table activation_histogram: the bins in which a feature has activations."""
    import pyarrow as pa

    feature, cell = np.divmod(whole.histogram_cell, BINS)
    edges = bin_edges()
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "bin": cell.astype(np.int32),
            "low": edges[cell],
            "high": edges[cell + 1],
            "count": whole.histogram_count,
        }
    )


def feature_table(
    whole: Tally,
    medians: NDArray[np.float32],
    norms: NDArray[np.float32],
    n_images: int,
    top_images: int,
) -> pa.Table:
    """Return one row a feature; figures that a dead feature can't have are null.

    selectivity is the participation ratio (sum a)^2 / (count * sum a^2) over the images on
    which the feature fires: 1 where it is equally strong on all of them, near 0 where a few
    hold nearly all of its activation. Columns named *_weighted are times the decoder norm.
    """
    import pyarrow as pa

    alive = whole.count > 0
    divisor = np.maximum(whole.count, 1)
    strongest = np.zeros(len(alive), np.float32)
    kept = np.minimum(whole.count, top_images)
    firsts = (np.cumsum(kept) - kept)[alive]
    strongest[alive] = read_keys(whole.top_key)[0][firsts]
    mass = float(whole.sum.sum())
    squares = np.where(alive, whole.sum_squares, 1.0)

    def known(values: NDArray[Any]) -> pa.Array:
        return pa.array(values, mask=~alive)

    return pa.table(
        {
            "feature": np.arange(len(alive), dtype=np.int32),
            "alive": alive,
            "count": whole.count,
            "density": whole.count / n_images,
            "sum": whole.sum,
            "sum_squares": whole.sum_squares,
            "mean": known(whole.sum / divisor),
            "median": known(np.nan_to_num(medians)),
            "max": known(strongest),
            "mass_share": whole.sum / mass if mass > 0 else whole.sum,
            "decoder_norm": norms,
            "sum_weighted": whole.sum * norms,
            "max_weighted": known(strongest * norms),
            "selectivity": known(whole.sum * whole.sum / (divisor * squares)),
        }
    )


def image_table(images: dict[str, NDArray[Any]]) -> pa.Table:
    """Return the figures of every image as a table."""
    import pyarrow as pa

    return pa.table(
        {
            "image": np.arange(len(images["l0"]), dtype=np.int64),
            "l0": images["l0"],
            "mass": images["mass"],
            "squared_error": images["squared_error"],
            "norm": images["norm"],
        }
    )
