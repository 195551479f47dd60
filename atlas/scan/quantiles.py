"""Images picked at random from each quantile of a feature's firings, the same ones in every build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.scan.tally import places_in_groups
from atlas.settings.scan import ScanSettings

if TYPE_CHECKING:
    import pyarrow as pa

LIKELY = 4
"""How many times the wanted entries of a cell a draw expects to look at."""
LARGEST_HASH = 2.0**64 - 2**12
"""About the largest; the few above it do not matter."""


def pick_quantiles(
    owner: NDArray[np.int64],
    image: NDArray[np.int64],
    activation: NDArray[np.float32],
    settings: ScanSettings,
) -> pa.Table:
    """Return images picked from equal parts of each feature's own firings.

    A feature's c firings are ranked from weak to strong (of equal activations the lower image
    is the stronger); rank r belongs to quantile floor(r * quantiles / c). Picks are the images
    with the least hash of seed, feature and image, so that they do not depend on the others.

    Args:
        owner: (firing,) feature, ascending.
        image: (firing,).
        activation: (firing,) strongest first within a feature, ties by image.
        settings: How many quantiles and picks.

    Returns:
        feature, quantile, rank, image, activation; rank 0 is the strongest of the picks.
    """
    import pyarrow as pa

    place = places_in_groups(owner)
    counts = np.bincount(owner - owner[:1])[owner - owner[:1]] if len(owner) else place
    quantile = (counts - 1 - place) * settings.quantiles // np.maximum(counts, 1)
    cell = owner * settings.quantiles + quantile
    kept = _draw(cell, owner, image, settings)
    # Strongest first within a feature, so quantiles fall: reorder by quantile, keep the rest.
    kept = kept[np.argsort(cell[kept], kind="stable")]
    return pa.table(
        {
            "feature": owner[kept].astype(np.int32),
            "quantile": quantile[kept].astype(np.int32),
            "rank": places_in_groups(cell[kept]).astype(np.int32),
            "image": image[kept],
            "activation": activation[kept],
        }
    )


def _draw(
    cell: NDArray[np.int64],
    owner: NDArray[np.int64],
    image: NDArray[np.int64],
    settings: ScanSettings,
) -> NDArray[np.int64]:
    """Return the places of quantile_images entries of each cell, ascending: those of least hash.

    Args:
        cell: (firing,) equal numbers side by side.
        owner: (firing,) feature.
        image: (firing,).
        settings: How many, and the seed of the hash.
    """
    most = settings.quantile_images
    begins = np.flatnonzero(np.diff(cell, prepend=cell[:1] - 1))
    sizes = np.diff(begins, append=len(cell))
    run = np.repeat(np.arange(len(sizes)), sizes)
    size = sizes[run]
    many = np.flatnonzero(size > most)
    run, value = run[many], _hash(settings.seed, owner[many], image[many])
    # Of a large cell only small hashes are sorted, unless too few turn out to be small.
    limit = np.minimum(LIKELY * most / size[many], 1.0) * LARGEST_HASH
    small = value <= limit.astype(np.uint64)
    small |= (np.bincount(run[small], minlength=len(sizes)) < most)[run]
    many, run, value = many[small], run[small], value[small]
    order = np.lexsort((value, run))
    drawn = many[order[places_in_groups(run[order]) < most]]
    return np.sort(np.concatenate([np.flatnonzero(size <= most), drawn]))


def _hash(seed: int, feature: NDArray[np.int64], image: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return SplitMix64 of each (seed, feature, image): a pick depends on nothing else."""
    start = (seed * 0x9E3779B97F4A7C15 + 0x1234567) & 0xFFFFFFFFFFFFFFFF
    word = (feature.astype(np.uint64) << np.uint64(32)) | image.astype(np.uint64)
    word = word + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    return word ^ (word >> np.uint64(31))
