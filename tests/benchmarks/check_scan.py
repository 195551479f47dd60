"""A large scan beside what it must give: a dense product in float64, or answers that were planted.

Run: python -m tests.benchmarks.check_scan reference [IMAGES] [FEATURES]
     python -m tests.benchmarks.check_scan planted [IMAGES] [FEATURES]

reference compares counts, top images with their ties, histograms and L0 with float64 sums, by
default on 16,384 images and 6,000 features of width 1280. planted compares every activation, in
both orders, and the top images, by default on 2,048 images and 81,920 features of width 1280.
Prints how many numbers differ; exits 1 if any does. Too slow for the tests: `make torture`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.sae.activations import FeatureActivations, ImageActivations
from atlas.sae.model import SAE
from atlas.scan import scan
from atlas.scan.tally import BINS, bin_edges
from atlas.settings.scan import ScanSettings
from tests.benchmarks.bench_scan import describe_machine, write_inputs
from tests.benchmarks.synthetic import make_sae, make_world
from tests.planted import Planted, make_job, plant, write_embed

SHAPES = {"reference": (16_384, 6_000), "planted": (2_048, 81_920)}
"""Images and features of each check."""
WIDTH = 1280
FEATURES_AT_ONCE, IMAGES_AT_ONCE = 500, 128
TOP_IMAGES = 64
Differences = dict[str, int]
"""What was compared -> how many of its numbers differ."""


def main(check: str, n_images: int, n_features: int) -> int:
    """Run one check, print its differences, and return 1 if there are any."""
    print(describe_machine())
    print(f"{check}: {n_images:,} images, {n_features:,} features of width {WIDTH}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checks = {"reference": check_reference, "planted": check_planted}
        found = checks[check](Path(folder), n_images, n_features)
    for name, count in found.items():
        print(f"{name}: {count} differ")
    return int(any(found.values()))


def check_reference(root: Path, n_images: int, n_features: int) -> Differences:
    """Compare a scan of synthetic embeddings with sums in float64."""
    world = make_world(n_features, WIDTH)
    sae, x = make_sae(world), world.images(n_images, 1000)
    write_inputs(root, sae, x)
    out = _scan(root / "embed", root / "sae", root / "scan")
    count = read_parquet(out / "features.parquet")["count"].to_numpy()
    print(f"{int(count.sum()):,} firings, {int((count > 0).sum()):,} features alive", flush=True)
    tops = _by_feature(read_parquet(out / "top_images.parquet"), n_features, "image")
    histogram = read_parquet(out / "activation_histogram.parquet")
    cells = np.zeros((n_features, BINS), np.int64)
    cells[histogram["feature"].to_numpy(), histogram["bin"].to_numpy()] = histogram["count"]
    wide, l0 = x.astype(np.float64), np.zeros(n_images, np.int64)
    found = {"counts": 0, "top images": 0, "histogram bins": 0}
    for first in range(0, n_features, FEATURES_AT_ONCE):
        block = slice(first, first + FEATURES_AT_ONCE)
        a = _activations(sae, wide, block)
        l0 += (a > 0).sum(axis=1)
        found["counts"] += int(((a > 0).sum(axis=0) != count[block]).sum())
        for feature, column in enumerate(a.T, first):
            fires = np.flatnonzero(column)
            best = fires[np.lexsort((fires, -column[fires]))[:TOP_IMAGES]]
            found["top images"] += _differ(tops[feature], best)
            true, _ = np.histogram(column[fires].astype(np.float64), bin_edges())
            found["histogram bins"] += int((true != cells[feature]).sum())
    found["L0"] = int((read_parquet(out / "images.parquet")["l0"].to_numpy() != l0).sum())
    return found


def check_planted(root: Path, n_images: int, n_features: int) -> Differences:
    """Compare a scan of a planted atlas with its answers, of which each is exact."""
    planted = plant(
        root / "in",
        n_features=n_features,
        width=WIDTH,
        n_images=n_images,
        n_shards=4,
        l0=60.0,
        dead_share=0.26,
    )
    embed = write_embed(planted, root / "embed")
    out = _scan(embed, root / "in" / "sae", root / "scan")
    features = read_parquet(out / "features.parquet")
    tops = _by_feature(read_parquet(out / "top_images.parquet"), n_features, "image")
    by_image, by_feature = ImageActivations(out), FeatureActivations(out)
    image, feature, activation = _answers(planted)
    print(f"{len(image):,} firings, {len(np.unique(feature)):,} features alive", flush=True)
    count = np.bincount(feature, minlength=n_features)
    order = np.lexsort((image, feature))
    ends = np.cumsum(count)
    found = {"counts": int((features["count"].to_numpy() != count).sum())}
    found |= {"alive": int((features["alive"].to_numpy() != (count > 0)).sum())}
    found |= {"feature by feature": 0, "top images": 0, "image by image": 0}
    for one in range(n_features):
        mine = order[ends[one] - count[one] : ends[one]]
        images, values = by_feature[one]
        found["feature by feature"] += _differ(images, image[mine])
        found["feature by feature"] += _differ(values, activation[mine])
        best = mine[np.lexsort((image[mine], -activation[mine]))[:TOP_IMAGES]]
        found["top images"] += _differ(tops[one], image[best])
    edges = np.searchsorted(image, np.arange(n_images + 1))
    for row in range(n_images):
        mine = slice(edges[row], edges[row + 1])
        names, values = by_image[row]
        found["image by image"] += _differ(names, feature[mine])
        found["image by image"] += _differ(values, activation[mine])
    return found


def _scan(embed: Path, sae: Path, out: Path) -> Path:
    inputs = {"embed": embed, "sae": sae}
    scan.run(make_job("scan", ScanSettings(top_images=TOP_IMAGES), inputs, out))
    return out


def _activations(sae: SAE, wide: NDArray[np.float64], block: slice) -> NDArray[np.float32]:
    """Return the (image, feature of the block) activations, summed in float64."""
    pre = wide @ sae.W_enc[block].astype(np.float64).T + sae.b_enc[block]
    return np.maximum(pre, 0).astype(np.float32)


def _answers(planted: Planted) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return (image, feature, activation) of every planted firing, image after image."""
    found = []
    for first in range(0, len(planted.x), IMAGES_AT_ONCE):
        a = planted.activations(first, first + IMAGES_AT_ONCE)
        rows, features = np.nonzero(a)
        found.append((rows + first, features, a[rows, features]))
    image, feature, activation = (np.concatenate(column) for column in zip(*found, strict=True))
    return image, feature, activation


def _by_feature(table: pa.Table, n_features: int, name: str) -> list[NDArray[np.int64]]:
    """Return each feature's values of a column, in the order of the table."""
    owner = table["feature"].to_numpy()
    edges = np.searchsorted(owner, np.arange(1, n_features))
    return np.split(table[name].to_numpy(), edges)


def _differ(given: NDArray[np.generic], wanted: NDArray[np.generic]) -> int:
    """Return how many places of two lists differ; those that one of them lacks do."""
    shared = min(len(given), len(wanted))
    return int((given[:shared] != wanted[:shared]).sum()) + max(len(given), len(wanted)) - shared


if __name__ == "__main__":
    words = sys.argv[1:] or ["reference"]
    if words[0] not in SHAPES:
        sys.exit(f"{words[0]}: no such check; there are {' and '.join(SHAPES)}")
    sizes = [int(word) for word in words[1:]]
    shape = (*sizes, *SHAPES[words[0]][len(sizes) :])
    sys.exit(main(words[0], *shape))
