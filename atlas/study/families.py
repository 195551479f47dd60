"""The families stage: which features are copies, opposites, parents or kin of which, and how pure.

Duplicates point alike and fire alike. An antipode points away. A parent fires wherever its
child is strong, and the child seldom where the parent is. Clusters group all live features by
direction at three levels. Monosemanticity is judged by an encoder that had no part in the SAE,
where one is given. Everything is held against a null that breaks only what is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import draft, read_parquet, write_json, write_parquet
from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import check_vectors, read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import (
    EveryFiring,
    FeatureActivations,
    ImageActivations,
    read_every_firing,
)
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import unit_directions
from atlas.settings.study import FamiliesSettings
from atlas.study import monosemanticity as mono
from atlas.study.clusters import DIGITS, LEVELS, cluster_levels
from atlas.study.intervals import wilson

if TYPE_CHECKING:
    import pyarrow as pa

DIRECTIONS = "directions.npy"
ROWS_PER_BLOCK = 512
JUDGED_BY_NULL = 512
"""Features, drawn by seed, on which each null is measured."""
COMMAND = "atlas build CONFIG families"


@dataclass(frozen=True, slots=True)
class Firing:
    """Where the live features fire, and where they fire strongly."""

    by_feature: FeatureActivations
    every: EveryFiring
    strong_share: float
    cache: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    """Feature -> its strong images, as they were found."""

    def images(self, feature: int) -> NDArray[np.int64]:
        """Return the images on which a feature fires, ascending."""
        return self.by_feature[feature][0]

    def strong(self, feature: int) -> NDArray[np.int64]:
        """Return the images of its strongest firings, ascending; equal ones by image."""
        if feature not in self.cache:
            images, activations = self.by_feature[feature]
            count = int(np.ceil(self.strong_share * len(images)))
            best = np.lexsort((images, -activations))[:count]
            self.cache[feature] = np.sort(images[best])
        return self.cache[feature]


@dataclass(frozen=True, slots=True)
class Relative:
    """One row of the table relatives."""

    feature: int
    kind: str
    other: int
    cosine: float
    n: int
    share: float
    share_low: float
    share_back: float
    share_back_high: float


def run(job: Job) -> None:
    """Write relatives, clusters, scores and their figures.

    Raises:
        InputError: The second encoder's vectors are not one row an image.
    """
    settings: FamiliesSettings = job.settings
    scan_dir = job.inputs["scan"]
    by_feature = FeatureActivations(scan_dir)
    live = np.flatnonzero(by_feature.counts() > 0)
    directions = unit_directions(load_sae(job.inputs["sae"]))[live]
    every = read_every_firing(ImageActivations(scan_dir), len(by_feature))
    firing = Firing(by_feature, every, settings.strong_share)
    job.progress.start("families", total=len(live), unit="features")
    near = read_parquet(job.inputs["neighbors"] / "feature_neighbors.parquet")
    rows = [
        *duplicates(firing, near, settings),
        *antipodes(firing, live, directions, settings),
        *parents(firing, live, directions, settings, job.progress.advance),
    ]
    write_parquet(job.out_dir / "relatives.parquet", relatives_table(rows, settings.relatives))
    levels = cluster_levels(directions, settings.seed) if len(live) else []
    clusters, members = cluster_tables(live, directions, levels)
    write_parquet(job.out_dir / "clusters.parquet", clusters)
    write_parquet(job.out_dir / "cluster_features.parquet", members)
    with draft(job.out_dir / DIRECTIONS) as path, path.open("wb") as file:
        np.save(file, directions.astype(np.float16))
    figures = family_figures(firing, live, directions, rows, settings)
    figures += cluster_figures(live, levels, near)
    figures += judge_purity(job, by_feature, live)
    write_json(job.out_dir / "families.json", {"figures": figures})


# --- relatives ---------------------------------------------------------------------------------


def _common(some: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    return len(np.intersect1d(some, others, assume_unique=True))


def _relative(
    kind: str,
    pair: tuple[int, int],
    cosine: float,
    mine: tuple[NDArray[np.int64], int],
    theirs: tuple[NDArray[np.int64], int],
) -> Relative:
    """Return a row, from (images, of these how many fire the other) of both sides."""
    (images, hits), (back_images, back_hits) = mine, theirs
    n, back = len(images), len(back_images)
    return Relative(
        *(pair[0], kind, pair[1], cosine, n),
        hits / n if n else 0.0,
        wilson(hits, n)[0],
        back_hits / back if back else 0.0,
        wilson(back_hits, back)[1],
    )


def duplicates(firing: Firing, near: pa.Table, settings: FamiliesSettings) -> list[Relative]:
    """Return pairs that point alike and fire on the same images, both ways round."""
    cosine = near["cosine"].to_numpy()
    close = np.flatnonzero(cosine > settings.duplicate_cosine)
    feature, neighbor = near["feature"].to_numpy(), near["neighbor"].to_numpy()
    found = []
    for i in close.tolist():
        pair = int(feature[i]), int(neighbor[i])
        mine, theirs = firing.images(pair[0]), firing.images(pair[1])
        both = _common(mine, theirs)
        if both >= settings.duplicate_share * max(len(mine), len(theirs)):
            found.append(
                _relative("duplicate", pair, float(cosine[i]), (mine, both), (theirs, both))
            )
    return found


def antipodes(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    settings: FamiliesSettings,
) -> list[Relative]:
    """Return each feature's most opposed one, where it is opposed enough."""
    rows, cosines = most_opposed(directions, np.arange(len(live)))
    found = []
    for i in np.flatnonzero(cosines <= -settings.antipode_cosine).tolist():
        pair = int(live[i]), int(live[rows[i]])
        mine, theirs = firing.images(pair[0]), firing.images(pair[1])
        both = _common(mine, theirs)
        found.append(_relative("antipode", pair, float(cosines[i]), (mine, both), (theirs, both)))
    return found


def most_opposed(
    directions: NDArray[np.float32], queries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return for each query the row with the least cosine, of equal ones the first, and it.

    Float32 products choose the candidates, float64 ones decide.

    Args:
        directions: (row, d) of length 1; two or more, or no query has an answer but itself.
        queries: (query,) rows.
    """
    rows = np.empty(len(queries), np.int64)
    cosines = np.empty(len(queries), np.float32)
    margin = (directions.shape[1] + 4) * 2.0**-22
    for start in range(0, len(queries), ROWS_PER_BLOCK):
        asked = queries[start : start + ROWS_PER_BLOCK]
        products = directions[asked] @ directions.T
        which, row = np.nonzero(products <= products.min(axis=1, keepdims=True) + margin)
        exact = inner_products(directions, asked[which], directions, row).astype(np.float32)
        order = np.lexsort((row, exact, which))
        best = order[np.searchsorted(which[order], np.arange(len(asked)))]
        rows[start : start + len(asked)] = row[best]
        cosines[start : start + len(asked)] = exact[best]
    return rows, cosines


def parents(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    settings: FamiliesSettings,
    advance: Callable[[], None] = lambda: None,
) -> list[Relative]:
    """Return for each feature those that fire wherever it is strong, while it seldom does for them.

    The share on the child's strong images is at least `parent_share`; the Wilson interval of
    it, widened for the number of pairs that were looked at, lies above the parent's density;
    the share of the parent's strong images on which the child fires is at most `child_share`.
    """
    densities = firing.by_feature.counts() / max(len(firing.every), 1)
    z = z_for(len(live) * (len(live) - 1))
    place = {int(feature): row for row, feature in enumerate(live)}
    found = []
    for child in live.tolist():
        images = firing.strong(child)
        for parent, hits in likely_parents(firing, images, child, densities, settings, z):
            back_images = firing.strong(parent)
            back = _common(back_images, firing.images(child))
            if back > settings.child_share * len(back_images):
                continue
            two = np.array([place[child]]), np.array([place[parent]])
            cosine = float(inner_products(directions, two[0], directions, two[1])[0])
            found.append(
                _relative("parent", (child, parent), cosine, (images, hits), (back_images, back))
            )
        advance()
    return found


def z_for(tests: int) -> float:
    """Return how many standard errors a two-sided 5 % error over so many tests takes."""
    return NormalDist().inv_cdf(1 - 0.025 / max(tests, 1))


def likely_parents(
    firing: Firing,
    images: NDArray[np.int64],
    child: int,
    densities: NDArray[np.float64],
    settings: FamiliesSettings,
    z: float,
) -> list[tuple[int, int]]:
    """Return (feature, on how many of the images it fires) of those that fire on enough of them."""
    counts = firing.every.count_together(images)
    counts[child] = 0
    enough = np.flatnonzero(counts >= max(settings.parent_share * len(images), 1))
    return [
        (other, int(counts[other]))
        for other in enough.tolist()
        if wilson(int(counts[other]), len(images), z)[0] > densities[other]
    ]


def relatives_table(rows: list[Relative], most: int) -> pa.Table:
    """Return the table: of each feature and kind the closest ones, at most so many."""
    import pyarrow as pa

    def closeness(row: Relative) -> tuple[Any, ...]:
        first = -row.share if row.kind == "parent" else -abs(row.cosine)
        return row.feature, row.kind, round(first, DIGITS), row.other

    ranked: list[tuple[int, Relative]] = []
    for row in sorted(rows, key=closeness):
        last = ranked[-1] if ranked else None
        same = last and (last[1].feature, last[1].kind) == (row.feature, row.kind)
        ranked.append((last[0] + 1 if last and same else 0, row))
    kept = [(rank, row) for rank, row in ranked if rank < most]
    columns: dict[str, tuple[Any, list[Any]]] = {
        "feature": (pa.int32(), [row.feature for _, row in kept]),
        "kind": (pa.string(), [row.kind for _, row in kept]),
        "rank": (pa.int32(), [rank for rank, _ in kept]),
        "other": (pa.int32(), [row.other for _, row in kept]),
        "cosine": (pa.float32(), [row.cosine for _, row in kept]),
        "n": (pa.int64(), [row.n for _, row in kept]),
        "share": (pa.float64(), [row.share for _, row in kept]),
        "share_low": (pa.float64(), [row.share_low for _, row in kept]),
        "share_back": (pa.float64(), [row.share_back for _, row in kept]),
        "share_back_high": (pa.float64(), [row.share_back_high for _, row in kept]),
    }
    return pa.table({name: pa.array(held, kind) for name, (kind, held) in columns.items()})


# --- clusters ----------------------------------------------------------------------------------


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
    return _rows_table(clusters, of_clusters), _rows_table(members, of_members)


def _to_middle(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    middle = wide.sum(axis=0)
    length = max(float(np.linalg.norm(middle)), 1e-30)
    found: NDArray[np.float64] = np.round(np.einsum("rd,d->r", wide, middle / length), DIGITS)
    return found


def _rows_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(held, part.type) for held, part in zip(columns, schema, strict=True)],
        schema=schema,
    )


# --- figures -----------------------------------------------------------------------------------


def _figure(
    name: str, value: float, n: int, null: float | None, null_name: str, note: str
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 6),
        "unit": "share",
        "n": n,
        "null_value": None if null is None else round(null, 6),
        "null_name": null_name,
        "command": COMMAND,
        "note": note,
    }


def family_figures(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    rows: list[Relative],
    settings: FamiliesSettings,
) -> list[dict[str, Any]]:
    """Return the share of live features with a relative of each kind, beside its null."""
    n = len(live)
    if n < 2:
        return []
    random = np.random.default_rng(settings.seed)
    sample = np.sort(random.permutation(n)[:JUDGED_BY_NULL])
    shuffled = random.permuted(directions, axis=1)
    opposed = most_opposed(shuffled, sample)[1]
    again = random.permuted(directions[sample], axis=1)
    alike = -most_opposed(np.concatenate([shuffled, -again]), n + np.arange(len(sample)))[1]
    null_parents = _null_parents(firing, live, live[sample], settings, random)
    have = {kind: {row.feature for row in rows if row.kind == kind} for kind in
            ("duplicate", "antipode", "parent")}  # fmt: skip
    dimensions = "directions whose dimensions are shuffled, each by itself"
    return [
        _figure(
            "features_with_duplicate", len(have["duplicate"]) / n, n,
            float((alike > settings.duplicate_cosine).mean()), dimensions,
            f"decoder cosine above {settings.duplicate_cosine:g}, and each fires on "
            f"{settings.duplicate_share:.0%} or more of the other's images",
        ),
        _figure(
            "features_with_antipode", len(have["antipode"]) / n, n,
            float((opposed <= -settings.antipode_cosine).mean()), dimensions,
            f"decoder cosine of -{settings.antipode_cosine:g} or less",
        ),
        _figure(
            "features_with_parent", len(have["parent"]) / n, n, null_parents,
            "the child's images moved on by a random number",
            f"fires on {settings.parent_share:.0%} or more of the child's strongest "
            f"{settings.strong_share:.0%} of firings, and the child on {settings.child_share:.0%} or "
            "less of its own; interval above the parent's density, corrected for all pairs",
        ),
    ]  # fmt: skip


def _null_parents(
    firing: Firing,
    live: NDArray[np.int64],
    sample: NDArray[np.int64],
    settings: FamiliesSettings,
    random: np.random.Generator,
) -> float:
    """Return the share of the sample that still has a parent when its firings are moved."""
    images = len(firing.every)
    densities = firing.by_feature.counts() / max(images, 1)
    z = z_for(len(live) * (len(live) - 1))
    found = 0
    for child in sample.tolist():
        step = int(random.integers(1, max(images, 2)))
        strong = np.sort((firing.strong(child) + step) % images)
        mine = np.sort((firing.images(child) + step) % images)
        found += any(
            _common(firing.strong(parent), mine)
            <= settings.child_share * len(firing.strong(parent))
            for parent, _ in likely_parents(firing, strong, child, densities, settings, z)
        )
    return found / max(len(sample), 1)


def cluster_figures(
    live: NDArray[np.int64], levels: list[NDArray[np.int64]], near: pa.Table
) -> list[dict[str, Any]]:
    """Return how often a feature's nearest neighbor is in its cluster, at each level."""
    first = near["rank"].to_numpy() == 0
    feature, neighbor = (near[name].to_numpy()[first] for name in ("feature", "neighbor"))
    rows = []
    for level in range(LEVELS if len(feature) else 0):
        of = dict(zip(live.tolist(), levels[level].tolist(), strict=True))
        same = [of[a] == of[b] for a, b in zip(feature.tolist(), neighbor.tolist(), strict=True)]
        sizes = np.bincount(levels[level])
        chance = float((sizes * (sizes - 1)).sum()) / max(len(live) * (len(live) - 1), 1)
        rows.append(
            _figure(
                f"nearest_in_cluster_level_{level}", float(np.mean(same)), len(same), chance,
                "another feature by lot", f"{len(sizes):,} clusters of {len(live):,} live features",
            )
        )  # fmt: skip
    return rows


def judge_purity(
    job: Job, by_feature: FeatureActivations, live: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Write every feature's monosemanticity, and return the figures of the whole.

    Raises:
        InputError: The second encoder's vectors are not one row an image.
    """
    import pyarrow as pa

    files = job.files.get("second_vectors", ())
    scores = np.full(len(by_feature), np.nan)
    figures: list[dict[str, Any]] = []
    if files:
        seen, counted = second_view(files, read_embeddings(job.inputs["embed"]).rows)
        features = (by_feature[feature] for feature in range(len(by_feature)))
        scores = mono.score_features(features, seen, counted)
        figures = purity_figures(job, by_feature, live, scores, (seen, counted))
    held = pa.array(scores, pa.float64(), mask=np.isnan(scores))
    numbers = np.arange(len(scores), dtype=np.int32)
    table = pa.table({"feature": numbers, "monosemanticity": held})
    write_parquet(job.out_dir / "monosemanticity.parquet", table)
    return figures


def second_view(
    files: tuple[Any, ...], images: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the second encoder's (image, d) centered directions, and which are no copies.

    Raises:
        InputError: There are more or fewer rows than images.
    """
    shards = [check_vectors(path) for path in files]
    rows = sum(len(shard) for shard in shards)
    if rows != images:
        raise InputError(
            f"{files[0].parent} holds {rows} second vectors, the atlas has {images} images; "
            "make one a row for the same images in the same order"
        )
    raw = np.concatenate(shards)
    off = raw.astype(np.float64)
    off -= off.mean(axis=0)
    lengths = np.linalg.norm(off, axis=1, keepdims=True)
    return (off / np.where(lengths > 0, lengths, 1)).astype(np.float32), mono.first_copies(raw)


def purity_figures(
    job: Job,
    by_feature: FeatureActivations,
    live: NDArray[np.int64],
    scores: NDArray[np.float64],
    view: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> list[dict[str, Any]]:
    """Return the mean over live features beside random directions and raw dimensions."""
    seed = job.settings.seed
    known = scores[live][~np.isnan(scores[live])]
    if len(known) < 2:
        return []
    embeddings = read_embeddings(job.inputs["embed"]).read_all()
    centered = embeddings - embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    chosen = live[np.sort(np.random.default_rng(seed).permutation(len(live))[:JUDGED_BY_NULL])]
    counts = by_feature.counts()[chosen]
    random = _known(mono.score_features(mono.random_directions(centered, counts, seed), *view))
    raw = _known(mono.score_features(mono.raw_dimensions(centered, counts, seed), *view))
    asked = (
        "cosine of the images it fires on in a second encoder, weighted by activation "
        "(arXiv 2504.02821); centered, copies counted once"
    )
    matched = "random directions, each on as many images as a feature"
    low, high = mono.interval_of_mean(known, seed)
    raw_low, raw_high = mono.interval_of_mean(raw, seed)
    above = float((known > np.quantile(random, 0.95)).mean())
    return [
        _figure("monosemanticity_mean", float(known.mean()), len(known), float(random.mean()),
                matched, f"{asked}; 95 % interval {low:.3f} to {high:.3f}")
        | {"unit": "cosine"},
        _figure("monosemanticity_raw_dimensions", float(raw.mean()), len(raw), float(random.mean()),
                matched, "the same of the embedding's own dimensions, each cut at the density of a "
                f"feature; 95 % interval {raw_low:.3f} to {raw_high:.3f}")
        | {"unit": "cosine"},
        _figure("monosemanticity_above_random", above, len(known), 0.05, matched,
                "features above the 95th percentile of the random directions"),
    ]  # fmt: skip


def _known(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = scores[~np.isnan(scores)]
    return found
