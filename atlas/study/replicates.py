"""In how many SAEs of other seeds each feature is found again, by its decoder direction.

Two SAEs that differ in nothing but their seed agree on some features only. One that both have is
more likely to be of the images than of the run (Paulo and Belrose 2025, arXiv 2501.16615).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.embeddings import check_vectors
from atlas.study.matching import CLOSE, best_by_direction

if TYPE_CHECKING:
    import pyarrow as pa


def read_directions(path: Path, width: int) -> NDArray[np.float32]:
    """Return the decoder directions (feature, d) of another SAE, of length 1.

    Raises:
        InputError: The file is damaged or of another width, or a row has no direction.
    """
    rows = np.asarray(check_vectors(path, width), np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def count_seen(
    directions: NDArray[np.float32], others: list[NDArray[np.float32]]
) -> NDArray[np.int32]:
    """Return (live feature,) the SAEs that have a feature: a mutual match of cosine 0.7 or more."""
    seen = np.zeros(len(directions), np.int32)
    for other in others:
        best = best_by_direction(directions, other)
        seen += best.mutual() & (best.value_a >= CLOSE)
    return seen


def replicates_table(
    live: NDArray[np.int64], seen: NDArray[np.int32], n_features: int, n_seeds: int
) -> pa.Table:
    """Return feature, seeds_seen and seeds of every feature; null where dead or nothing was given."""
    import pyarrow as pa

    held = np.full(n_features, -1, np.int32)
    if n_seeds:
        held[live] = seen
    unknown = held < 0
    return pa.table(
        {
            "feature": np.arange(n_features, dtype=np.int32),
            "seeds_seen": pa.array(held, pa.int32(), mask=unknown),
            "seeds": pa.array(np.full(n_features, n_seeds, np.int32), pa.int32(), mask=unknown),
        }
    )


def replicate_figures(
    directions: NDArray[np.float32],
    others: list[NDArray[np.float32]],
    seen: NDArray[np.int32],
    seed: int,
) -> list[dict[str, Any]]:
    """Return the shares of features that some and all of the other SAEs have, beside the null's."""
    if not others or not len(seen):
        return []
    order = np.random.default_rng(seed).permutation(directions.shape[1])
    null = count_seen(directions, [other[:, order] for other in others])
    n = len(others)
    return [
        {
            "name": f"features_seen_in_{name}",
            "value": float((seen >= least).mean()),
            "unit": "share",
            "n": len(seen),
            "null_value": float((null >= least).mean()),
            "null_name": "dimensions of the other SAEs permuted",
            "command": "atlas build CONFIG families",
            "note": f"of {n} SAEs of other seeds; each the other's best match, decoder cosine {CLOSE:g} or more",
        }
        for name, least in (("another_seed", 1), ("every_seed", n))
    ]
