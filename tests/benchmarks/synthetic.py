"""Synthetic embeddings and an SAE of the seed's size, for timing; no figure of it is a finding.

Images are sparse mixtures of the SAE's own directions around a mean, of length 40. How often
a feature fires is lognormal (sigma 2), 26 % never do, and about 60 fire on an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.sae.model import SAE

LENGTH = 40.0
"""Of an embedding; raw ViT-bigG embeddings have about this."""
CALIBRATION_IMAGES = 8192
FEATURES_PER_BLOCK = 2048
L0 = 60
DEAD_SHARE = 0.26


@dataclass(frozen=True)
class World:
    """Where synthetic images come from."""

    directions: torch.Tensor
    """(feature, dimension) of length 1; some dimensions carry more than others."""
    mean: torch.Tensor
    """(dimension,)."""
    rates: NDArray[np.float64]
    """(feature,) share of images that it is mixed into."""

    def images(self, n: int, seed: int) -> NDArray[np.float16]:
        """Return (n, dimension) raw embeddings; equal seeds give equal bytes."""
        rng = np.random.default_rng(seed)
        sizes = np.clip(rng.normal(L0, 18, n).astype(int), 8, 200)
        odds = np.cumsum(self.rates) / self.rates.sum()
        feature = np.searchsorted(odds, rng.random(sizes.sum()))
        mixed = torch.nn.functional.embedding_bag(
            torch.from_numpy(feature),
            self.directions,
            torch.from_numpy(np.cumsum(sizes) - sizes),
            mode="sum",
            per_sample_weights=torch.from_numpy(
                np.exp(rng.normal(0, 0.7, len(feature))).astype("f4")
            ),
        ).numpy()
        width = mixed.shape[1]
        noise = rng.standard_normal(mixed.shape, np.float32) * np.float32(0.1 / np.sqrt(width))
        x = mixed / np.linalg.norm(mixed, axis=1, keepdims=True) + self.mean.numpy() + noise
        return (x * (LENGTH / np.linalg.norm(x, axis=1, keepdims=True))).astype(np.float16)


def make_world(n_features: int = 81_920, width: int = 1280, seed: int = 0) -> World:
    """Return directions, mean and rates."""
    rng = np.random.default_rng(seed)
    draw = torch.Generator().manual_seed(seed)
    spectrum = (1 + torch.arange(width)) ** -0.35
    directions = torch.randn(n_features, width, generator=draw) * spectrum
    directions /= directions.norm(dim=1, keepdim=True)
    mean = torch.randn(width, generator=draw) * spectrum
    rates = np.exp(rng.normal(0, 2.0, n_features))
    rates[rng.random(n_features) < DEAD_SHARE] = 0
    for most in (0.5, 0.6):
        rates = np.minimum(rates * (L0 / rates.sum()), most)
    return World(directions, mean / mean.norm() * 0.45, rates)


def make_sae(world: World) -> SAE:
    """Return an SAE whose features fire about as often as they are mixed in."""
    x = world.images(CALIBRATION_IMAGES, 999).astype(np.float32)
    n_features, width = world.directions.shape
    bias = np.empty(n_features, np.float32)
    for start in range(0, n_features, FEATURES_PER_BLOCK):
        block = slice(start, start + FEATURES_PER_BLOCK)
        bias[block] = -_thresholds(x @ world.directions[block].numpy().T, world.rates[block])
    encoder = world.directions.numpy()
    rng = np.random.default_rng(1)
    decoder = encoder + rng.standard_normal(encoder.shape, np.float32) * np.float32(
        0.1 / width**0.5
    )
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    return SAE(
        W_enc=encoder,
        b_enc=bias,
        W_dec=decoder,
        b_dec=(0.9 * LENGTH * world.mean.numpy()).astype(np.float32),
        b_pre=np.zeros(width, np.float32),
        provenance={"name": "synthetic", "synthetic": True},
    )


def _thresholds(products: NDArray[np.float32], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (feature,) what a product must exceed for the feature to fire at its rate.

    Beyond the fourth largest of the calibration images a Gaussian tail is assumed.
    """
    n = len(products)
    ordered = -np.sort(-products, axis=0)
    at = np.clip(rates * n, 0, n - 2).astype(int)
    found = ordered[at, np.arange(len(rates))].astype(np.float64)
    center = products.mean(axis=0)
    rare = rates * n < 4
    with np.errstate(divide="ignore"):
        reach = np.sqrt(np.log(1 / np.maximum(rates, 1e-12)) / np.log(n / 4))
    found[rare] = (center + (ordered[4] - center) * reach)[rare]
    found[rates == 0] = ordered[0][rates == 0] + LENGTH / 40
    return found
