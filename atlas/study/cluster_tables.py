"""The tables of clusters, with each member's cosine to the middle of its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.study.clusters import DIGITS
from atlas.study.relatives import rows_table

if TYPE_CHECKING:
    import pyarrow as pa


def cluster_tables(
    live: NDArray[np.int64], directions: NDArray[np.float32], levels: list[NDArray[np.int64]]
) -> tuple[pa.Table, pa.Table]:
    """Return (one row a cluster, one row a feature and level), members by closeness to the middle."""
    import pyarrow as pa

    clusters: list[tuple[int, int, int | None, int]] = []
    members: list[tuple[int, int, int, int, float]] = []
    for level, labels in enumerate(levels):
        for cluster in range(int(labels.max()) + 1):
            mine = np.flatnonzero(labels == cluster)
            parent = int(levels[level - 1][mine[0]]) if level else None
            clusters.append((level, cluster, parent, len(mine)))
            cosines = _to_middle(directions[mine])
            order = np.lexsort((mine, -cosines))
            members += [
                (level, cluster, rank, int(live[mine[i]]), float(cosines[i]))
                for rank, i in enumerate(order.tolist())
            ]
    first = [("level", pa.int32()), ("cluster", pa.int32())]
    of_clusters = pa.schema([*first, ("parent", pa.int32()), ("features", pa.int64())])
    of_members = pa.schema(
        [*first, ("rank", pa.int32()), ("feature", pa.int32()), ("cosine", pa.float32())]
    )
    return rows_table(clusters, of_clusters), rows_table(members, of_members)


def _to_middle(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    middle = wide.sum(axis=0)
    length = max(float(np.linalg.norm(middle)), 1e-30)
    found: NDArray[np.float64] = np.round(np.einsum("rd,d->r", wide, middle / length), DIGITS)
    return found
