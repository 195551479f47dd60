"""How long the co-activations of one feature take at 20,000 firings, exact, beside numpy's count.

Run: OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_together. 81,920 features, 60 on an image,
drawn at random; CPU time, medians. Asserts nothing but that both ways count the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from atlas.sae import activations
from atlas.sae.activations import EveryFiring
from atlas.study.neighbors import _most_frequent
from tests.benchmarks.bench_scan import describe_machine

N_IMAGES, N_FEATURES, L0, FIRINGS, REPEATS = 200_000, 81_920, 60, 20_000, 15


def main() -> None:
    """Time both counts in turn, and the choice of the most frequent."""
    rng = np.random.default_rng(0)
    # Features are not equally frequent: the logarithm of density is about normal.
    share = np.exp(rng.normal(0, 1.5, N_FEATURES))
    drawn = rng.choice(N_FEATURES, (N_IMAGES, L0), p=share / share.sum()).astype(np.int32)
    features = np.sort(drawn, axis=1)
    starts = np.arange(N_IMAGES + 1, dtype=np.int64) * L0
    every = EveryFiring(N_FEATURES, starts, features.ravel(), np.ones(features.size, np.float16))
    images = np.sort(rng.choice(N_IMAGES, FIRINGS, replace=False))
    counted = every.count_together(images)  # compiles
    took: dict[str, list[float]] = {"compiled": [], "numpy": [], "most frequent": []}
    for _ in range(REPEATS):
        took["compiled"].append(_ms(lambda: every.count_together(images)))
        worth, activations.WORTH_COMPILING = activations.WORTH_COMPILING, features.size + 1
        took["numpy"].append(_ms(lambda: every.count_together(images)))
        assert (every.count_together(images) == counted).all()
        activations.WORTH_COMPILING = worth
        took["most frequent"].append(_ms(lambda: _most_frequent(counted, 32)))
    print(describe_machine())
    print(f"{FIRINGS:,} firings of a feature, {L0} features an image, {N_FEATURES:,} features")
    for name, times in took.items():
        print(f"{name:>14} {statistics.median(times):6.2f} ms, least {min(times):.2f}")


def _ms(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
