"""Two SAEs on the same images: which features both have, and what each lacks.

A match is mutual: each is the other's best. By direction, best is the largest cosine of the
decoder directions; by firing, the largest correlation of the activations over all images.
Some pairs are mutual by chance, so each share stands beside that of a null: the second SAE's
dimensions permuted for directions, its images for firing. As a stage, which runs where the
configuration names another atlas, this writes compare.json, pairs.parquet and other.parquet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError, MissingError
from atlas.base.files import read_json, read_parquet, write_json, write_parquet
from atlas.base.picture_store import open_pictures
from atlas.run.stage import Job
from atlas.sae.activations import (
    EveryFiring,
    FeatureActivations,
    ImageActivations,
    read_every_firing,
)
from atlas.study.matching import CLOSE, Best, Tracker, best_by_direction

if TYPE_CHECKING:
    import pyarrow as pa

FAR = 0.3
"""Best cosine below which the other SAE lacks a feature."""
LACKED_SHOWN = 10
PAIRS_SHOWN = 60
"""Random pairs that a page shows side by side."""
DIRECTIONS = Path("families") / "directions.npy"


@dataclass(frozen=True, slots=True)
class Matching:
    """How many features of A have their like in B, by one measure."""

    by: str
    """directions or firing."""
    n: int
    """Live features of A."""
    mutual: float
    """Share of them whose best match has them as its own best, 0 to 1."""
    mutual_null: float
    close: float
    """Share with a mutual match of at least 0.7."""
    close_null: float
    median: float
    """Median of the best cosine or correlation."""
    median_null: float


@dataclass(frozen=True, slots=True)
class Lacked:
    """A feature that the other SAE has nothing like."""

    feature: int
    mass: float
    """Sum of its activations over all images."""
    cosine: float
    """To the nearest direction of the other SAE."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two SAEs share."""

    images: int
    live_a: int
    live_b: int
    directions: Matching
    firing: Matching
    both: float
    """Share of A's features that have the same close mutual match by both measures."""
    both_null: float
    """The same with dimensions and images permuted."""
    pairs: tuple[tuple[int, int, float, float], ...]
    """(feature of A, of B, cosine, correlation) of these, ascending by A."""
    b_lacks: tuple[Lacked, ...]
    """The strongest features of A without a like in B."""
    a_lacks: tuple[Lacked, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two."""

    live: NDArray[np.int64]
    directions: NDArray[np.float32]
    """(live feature, d) of length 1, in the order of live."""
    by_feature: FeatureActivations
    every: EveryFiring


def run(job: Job) -> None:
    """Compare this atlas with the other one, and keep what a page shows of that one's features."""
    other = job.inputs["other"]
    catalog = other / "catalog" / "parquet"
    facts = dict(_rows(catalog / "provenance.parquet", ["key", "value"]))
    job.progress.say(f"  compare: with {facts['id']}")
    found = compare(job.inputs["scan"].parent, other, job.settings.seed)
    drawn = np.random.default_rng(job.settings.seed).permutation(len(found.pairs))[:PAIRS_SHOWN]
    write_parquet(job.out_dir / "pairs.parquet", _pair_table(found, np.sort(drawn).tolist()))
    shown = {found.pairs[i][1] for i in drawn.tolist()} | {one.feature for one in found.a_lacks}
    write_parquet(job.out_dir / "other.parquet", _faces(job, other, sorted(shown)))
    matching = {by.by: asdict(by) for by in (found.directions, found.firing)}
    value = {
        **{key: facts[key] for key in ("id", "title")},
        **{key: getattr(found, key) for key in ("images", "live_a", "live_b", "both", "both_null")},
        **matching,
        "b_lacks": [asdict(one) for one in found.b_lacks],
        "a_lacks": [asdict(one) for one in found.a_lacks],
        "figures": _figures(found, facts["id"]),
    }
    write_json(job.out_dir / "compare.json", value)


def _figures(found: Comparison, other: str) -> list[dict[str, Any]]:
    """Return the rows that the comparison adds to the report."""
    return [
        {
            "name": "features_shared",
            "value": found.both,
            "unit": "share",
            "n": found.live_a,
            "null_value": found.both_null,
            "null_name": "the other's dimensions and images permuted",
            "command": "atlas compare A B",
            "note": f"live features with the same close mutual match in {other} by direction and by firing",
        }
    ]


def _pair_table(found: Comparison, shown: list[int]) -> pa.Table:
    import pyarrow as pa

    feature, other, cosine, correlation = (
        np.array(found.pairs, np.float64).reshape(len(found.pairs), 4).T
    )
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "other": other.astype(np.int32),
            "cosine": cosine.astype(np.float32),
            "correlation": correlation.astype(np.float32),
            "shown": np.isin(np.arange(len(found.pairs)), shown),
        }
    )


def _faces(job: Job, other: Path, features: list[int]) -> pa.Table:
    """Return name and picture of some features of the other atlas; neither of a sensitive one."""
    import pyarrow as pa

    catalog = other / "catalog" / "parquet"
    hidden = {
        f for f, dark in _rows(catalog / "features.parquet", ["feature", "sensitive"]) if dark
    }
    open_ = [feature for feature in features if feature not in hidden]
    names = {
        feature: name
        for feature, name in _rows(catalog / "names.parquet", ["feature", "name"])
        if feature not in hidden
    }
    pictures = _pictures(job, other, open_)
    return pa.table(
        {
            "feature": pa.array(features, pa.int32()),
            "name": pa.array([names.get(f, "") for f in features], pa.string()),
            "sensitive": pa.array([f in hidden for f in features], pa.bool_()),
            "webp": pa.array([pictures.get(f) for f in features], pa.binary()),
        }
    )


def _pictures(job: Job, other: Path, features: list[int]) -> dict[int, bytes]:
    """Return the icon of each feature of the other atlas, or the image that stands in.

    Images are the same in both atlases, so their thumbnails are taken from this one.
    """
    catalog = other / "catalog" / "parquet"
    stand_ins: dict[int, int | None] = dict(_rows(catalog / "icons.parquet", ["feature", "image"]))
    hidden = {i for i, dark in _rows(catalog / "images.parquet", ["image", "sensitive"]) if dark}
    found = [(feature, stand_ins[feature]) for feature in features if feature in stand_ins]
    rendered = {feature for feature, image in found if image is None}
    images = {f: image for f, image in found if image is not None and image not in hidden}
    thumbnails = sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))
    drawn = [other / "icons" / "icons.parquet"] if rendered else []
    with (
        open_pictures(thumbnails, "image", set(images.values())) as small,
        open_pictures(drawn, "feature", rendered) as icons,
    ):
        own = {feature: icons[feature] for feature in rendered if feature in icons}
        return own | {f: small[image] for f, image in images.items() if image in small}


def _rows(path: Path, columns: list[str]) -> Iterable[tuple[Any, ...]]:
    table = read_parquet(path, columns)
    return zip(*(table[name].to_pylist() for name in columns), strict=True)


def compare(a: Path, b: Path, seed: int = 0) -> Comparison:
    """Compare two atlases built on the same images.

    Args:
        a: Folder of the first atlas, built at least as far as the stage families.
        b: Folder of the second.
        seed: Of the null's permutations.

    Raises:
        MissingError: One of them isn't built so far.
        InputError: They are not of the same images, or one has no live feature.
    """
    if _images(a) != _images(b):
        raise InputError(f"{a} and {b} were scanned on different images; build both on the same")
    one, two = _open(a), _open(b)
    random = np.random.default_rng(seed)
    dimensions = random.permutation(two.directions.shape[1])
    images = random.permutation(len(two.every))
    by_direction = best_by_direction(one.directions, two.directions)
    by_firing = _best_by_firing(one, two, np.arange(len(images)))
    null_direction = best_by_direction(one.directions, two.directions[:, dimensions])
    null_firing = _best_by_firing(one, two, images)
    close = close_by_both(by_direction, by_firing)
    return Comparison(
        images=len(one.every),
        live_a=len(one.live),
        live_b=len(two.live),
        directions=_matching("directions", by_direction, null_direction),
        firing=_matching("firing", by_firing, null_firing),
        both=float(close.mean()),
        both_null=float(close_by_both(null_direction, null_firing).mean()),
        pairs=tuple(
            (
                int(one.live[row]),
                int(two.live[by_direction.of_a[row]]),
                float(by_direction.value_a[row]),
                float(by_firing.value_a[row]),
            )
            for row in np.flatnonzero(close)
        ),
        b_lacks=_lacked(one, by_direction.value_a),
        a_lacks=_lacked(two, by_direction.value_b),
    )


def close_by_both(by_direction: Best, by_firing: Best) -> NDArray[np.bool_]:
    """Return (feature of A,) whether both measures give it the same close mutual match."""
    same = by_direction.mutual() & by_firing.mutual() & (by_direction.of_a == by_firing.of_a)
    found: NDArray[np.bool_] = same & (by_direction.value_a >= CLOSE) & (by_firing.value_a >= CLOSE)
    return found


def _images(atlas_dir: Path) -> list[str]:
    """Return what identifies the images: the digests of their embeddings."""
    path = atlas_dir / "embed" / "embeddings.json"
    if not path.exists():
        raise MissingError(f"no atlas at {atlas_dir}; build one with: atlas build CONFIG families")
    return [str(shard["sha256"]) for shard in read_json(path)["shards"]]


def _open(atlas_dir: Path) -> _Side:
    path = atlas_dir / DIRECTIONS
    if not path.exists():
        raise MissingError(
            f"{atlas_dir} is built without families; go on with: atlas build CONFIG families"
        )
    by_feature = FeatureActivations(atlas_dir / "scan")
    live = np.flatnonzero(by_feature.counts() > 0)
    if not len(live):
        raise InputError(f"no feature of {atlas_dir} is alive; there is nothing to compare")
    directions = np.load(path, allow_pickle=False).astype(np.float32)
    every = read_every_firing(ImageActivations(atlas_dir / "scan"), len(by_feature))
    return _Side(live, directions, by_feature, every)


def _moments(side: _Side) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (live feature,) mean activation over all images, and its deviation from it."""
    n = len(side.every)
    sums, squares = np.zeros(len(side.live)), np.zeros(len(side.live))
    for row, feature in enumerate(side.live.tolist()):
        activations = side.by_feature[feature][1].astype(np.float64)
        sums[row], squares[row] = activations.sum(), (activations**2).sum()
    means = sums / n
    return means, np.sqrt(np.maximum(squares / n - means**2, 1e-30))


def _best_by_firing(one: _Side, two: _Side, images: NDArray[np.int64]) -> Best:
    """Return the best matches by correlation of activations.

    Args:
        one: A.
        two: B.
        images: (image,) which image of B stands for each image of A; in order, but for a null.
    """
    n = len(one.every)
    mean_a, spread_a = _moments(one)
    mean_b, spread_b = _moments(two)
    tracker = Tracker(len(one.live), len(two.live))
    for row, feature in enumerate(one.live.tolist()):
        fires, activations = one.by_feature[feature]
        sums = two.every.sum_together(images[fires], activations.astype(np.float64))[two.live]
        covariance = sums / n - mean_a[row] * mean_b
        tracker.see(row, (covariance / (spread_a[row] * spread_b))[None])
    return tracker.best()


def _matching(by: str, found: Best, null: Best) -> Matching:
    def shares(best: Best) -> tuple[float, float, float]:
        mutual = best.mutual()
        close = mutual & (best.value_a >= CLOSE)
        return float(mutual.mean()), float(close.mean()), float(np.median(best.value_a))

    (mutual, close, median), (mutual_0, close_0, median_0) = shares(found), shares(null)
    return Matching(by, len(found.of_a), mutual, mutual_0, close, close_0, median, median_0)


def _lacked(side: _Side, best: NDArray[np.float64]) -> tuple[Lacked, ...]:
    """Return the features without a like, those of the most mass first."""
    mass = np.array(
        [float(side.by_feature[f][1].sum(dtype=np.float64)) for f in side.live.tolist()]
    )
    far = np.flatnonzero(best < FAR)
    order = far[np.lexsort((far, -mass[far]))][:LACKED_SHOWN]
    return tuple(Lacked(int(side.live[i]), float(mass[i]), float(best[i])) for i in order)
