"""Encoding and decoding with an SAE, exactly: a screen names candidates, float64 decides.

Torch is loaded only when vectors are encoded or decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import CheckError, InputError
from atlas.base.float64 import LANES, inner_products, squared_lengths
from atlas.sae.float_screens import Float32Screen, make_float32
from atlas.sae.model import SAE, prepare
from atlas.sae.screening import Needs, Screen, float32_bound
from atlas.sae.screens import MANY_IMAGES, Choice, choose_screen, make_screen
from atlas.settings.runtime import ScreenKind

if TYPE_CHECKING:
    import torch

TOPK_ROWS = 128
"""Rows whose products with all features are held at once, where a top-k is wanted."""
WIDE_ROWS = 512
"""Features whose weights are widened to float64 at once: few enough to stay in the cache."""
PAIRS_ON_DEVICE = 65_536
"""Pairs of rows multiplied at once on a GPU."""


@dataclass(frozen=True, slots=True)
class Firings:
    """The activations greater than 0 of some images, ordered by image, then feature."""

    image: NDArray[np.int64]
    """(firing,) row of the image in what was encoded."""
    feature: NDArray[np.int64]
    """(firing,)."""
    activation: NDArray[np.float32]
    """(firing,) greater than 0, finite, unitless."""
    named: int = 0
    """Pairs of image and feature that the screen named; says how good it was, and nothing else."""


def limit_threads(threads: int) -> None:
    """Let torch use so many threads; 0 leaves it to torch."""
    if threads:
        import torch

        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """An SAE made ready to encode many batches on one device."""

    sae: SAE
    device: str
    bias: NDArray[np.float64]
    """(feature,) b_enc with the pre-bias folded in."""
    screen: Screen
    """Finds what could fire."""
    exact: Float32Screen
    """The products that a top-k is found in."""

    def fire(self, x: NDArray[np.floating[Any]]) -> Firings:
        """Encode embeddings (row, dimension); see fire_prepared.

        Raises:
            InputError: The embeddings have another width, or an activation exceeds float32.
        """
        return self.fire_prepared(prepare(self.sae, x))

    def fire_prepared(self, inputs: NDArray[np.float32]) -> Firings:
        """Encode exactly, whatever the screen, threads or number of rows.

        The screen finds every feature that could fire, with a margin that its rounding can't
        exceed; those are computed again in float64 and rounded once, on a CUDA device in the
        same order of summation.

        Args:
            inputs: (row, dimension) what prepare() gives.

        Raises:
            InputError: An activation exceeds float32.
        """
        if self.sae.activation.kind == "topk":
            rows, features = self._topk_candidates(inputs)
            named = len(rows)
        else:
            rows, features, named = self._candidates(inputs)
        pre = self._products(inputs, rows, features) + self.bias[features]
        return replace(_activate(self.sae, rows, features, _to_single(pre)), named=named)

    def _products(
        self, inputs: NDArray[np.float32], rows: NDArray[np.int64], features: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return (pair,) inner products in float64, each summed by itself."""
        if not self.device.startswith("cuda"):
            return inner_products(inputs, rows, self.sae.W_enc, features)
        import torch

        weights = self.exact.weights
        given = (torch.from_numpy(one).to(weights.device) for one in (inputs, rows, features))
        left, at, of = given
        found: NDArray[np.float64] = products_on_device(left, at, weights, of).cpu().numpy()
        return found

    def _candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Return (rows, features) that include every firing, ordered, and how many were named."""
        found = list(self.screen.search(inputs))
        rows = np.concatenate([pairs.rows for pairs in found])
        features = np.concatenate([pairs.columns + pairs.first for pairs in found])
        order = np.argsort(rows * self.sae.n_features + features, kind="stable")
        return rows[order], features[order], sum(pairs.named for pairs in found)

    def _topk_candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (rows, features) that include the k largest of every row, ordered."""
        found = [
            (rows + start, features)
            for start in range(0, len(inputs), TOPK_ROWS)
            for rows, features in [self._topk_of(inputs[start : start + TOPK_ROWS])]
        ]
        return np.concatenate([pair[0] for pair in found]), np.concatenate(
            [pair[1] for pair in found]
        )

    def _topk_of(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import torch

        assert self.sae.activation.k is not None
        single = torch.from_numpy(_to_single(self.bias)).to(self.device)
        pre = torch.cat([block.clone() for _, block in self.exact.products(inputs)], dim=1) + single
        longest = float(np.sqrt(squared_lengths(inputs).max(initial=0.0)))
        needs = self.exact.needs
        margin = float32_bound(self.sae.width) * (longest * needs.lengths + np.abs(self.bias))
        margins = torch.from_numpy(_to_single(margin + 1e-37)).to(self.device)
        lowest = torch.topk(pre - margins, self.sae.activation.k, dim=1).values[:, -1:]
        # Not "at least": a NaN from an overflow must be looked at again, too.
        possible = ~(pre + margins < torch.clamp(lowest, min=0.0))
        hits = torch.nonzero(possible).cpu().numpy()
        return hits[:, 0], hits[:, 1]


def check_firings(encoder: Encoder, x: NDArray[np.floating[Any]], firings: Firings) -> None:
    """Compare firings of some embeddings (row, dimension) with a dense product in float64.

    Raises:
        CheckError: An activation is missing, too many, or wrong.
    """
    sae = encoder.sae
    inputs = prepare(sae, x).astype(np.float64)
    found = np.zeros((len(x), sae.n_features), np.float32)
    found[firings.image, firings.feature] = firings.activation
    true = np.empty(found.shape, np.float64)
    room = np.empty((WIDE_ROWS, sae.width))
    for first in range(0, sae.n_features, WIDE_ROWS):
        weights = sae.W_enc[first : first + WIDE_ROWS]
        wide = room[: len(weights)]
        wide[...] = weights
        true[:, first : first + len(wide)] = inputs @ wide.T
    true += encoder.bias
    if sae.soft_cap is not None:
        true = sae.soft_cap * np.tanh(true / sae.soft_cap)
    least = np.zeros((1, 1)) if sae.activation.threshold is None else sae.activation.threshold[None]
    if sae.activation.k is not None:
        least = np.maximum(np.sort(true, axis=1)[:, [-sae.activation.k]], 0)
    lengths = np.sqrt(np.einsum("rd,rd->r", inputs, inputs))[:, None] * encoder.exact.needs.lengths
    # Sums in another order, and values that were rounded to float32 before they were compared.
    slack = 1e-9 * (lengths + np.abs(encoder.bias)) + 2.0**-22 * np.maximum(np.abs(true), least)
    wrong = (found == 0) & (true > least + slack)
    wrong |= (found > 0) & ((np.abs(found - true) > slack) | (true < least - slack))
    if wrong.any():
        row, feature = (int(index) for index in np.argwhere(wrong)[0])
        raise CheckError(
            f"feature {feature} has activation {found[row, feature]:.9g} on an image, float64 says "
            f"{true[row, feature]:.9g}; set runtime.screen to float32, and report this processor"
        )


def products_on_device(
    inputs: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor, features: torch.Tensor
) -> torch.Tensor:
    """Return inner_products(inputs, rows, weights, features), taken where the weights lie.

    In that function's order of summation; a product of two float32 is exact, so whether a card
    adds it at once or later makes no difference, and neither do the bits differ.

    Args:
        inputs: (row, dimension) float32, as all on one device.
        rows: (pair,) int64.
        weights: (feature, dimension) float32.
        features: (pair,) int64.
    """
    import torch

    found = torch.empty(len(rows), dtype=torch.float64, device=weights.device)
    for start in range(0, len(rows), PAIRS_ON_DEVICE):
        pairs = slice(start, start + PAIRS_ON_DEVICE)
        left, right = inputs[rows[pairs]], weights[features[pairs]]
        sums = torch.zeros((len(left), LANES), dtype=torch.float64, device=weights.device)
        for first in range(0, left.shape[1], LANES):
            one, other = (side[:, first : first + LANES].double() for side in (left, right))
            sums[:, : one.shape[1]] += one * other
        while sums.shape[1] > 1:
            half = sums.shape[1] // 2
            sums = sums[:, :half] + sums[:, half:]
        found[pairs] = sums[:, 0]
    return found


def make_encoder(
    sae: SAE,
    device: str = "cpu",
    screen: ScreenKind | Choice = "float32",
    sample: NDArray[np.floating[Any]] | None = None,
    n_images: int = MANY_IMAGES,
) -> Encoder:
    """Return the SAE ready to encode on a torch device.

    Args:
        sae: What encodes.
        device: Torch device.
        screen: How candidates are found; changes no activation.
        sample: (row, dimension) embeddings like those to come, for screens that need some.
        n_images: How many are to come; decides which screen auto takes.
    """
    bias = _folded_bias(sae, np.arange(sae.n_features))
    needs = _needs(sae, bias)
    inputs = None if sample is None else prepare(sae, sample)
    exact = make_float32(needs, device, numpy=False)
    if sae.activation.kind == "topk" or inputs is None:
        found: Screen = exact
    else:
        found = make_screen(needs, device, screen, inputs, n_images)
    return Encoder(sae=sae, device=device, bias=bias, screen=found, exact=exact)


def choose_for(
    sae: SAE,
    device: str,
    screen: ScreenKind,
    sample: NDArray[np.floating[Any]],
    n_images: int,
) -> Choice:
    """Return the screen for an SAE that many processes shall take alike; see choose_screen."""
    if sae.activation.kind == "topk":
        return Choice("float32", numpy=False, why="a top-k is found among all products")
    needs = _needs(sae, _folded_bias(sae, np.arange(sae.n_features)))
    return choose_screen(needs, device, screen, prepare(sae, sample), n_images)


def _needs(sae: SAE, bias: NDArray[np.float64]) -> Needs:
    """Return what a product must exceed for a feature to fire, given its folded bias (feature,)."""
    floor: NDArray[np.floating[Any]] = np.zeros(sae.n_features)
    if sae.activation.threshold is not None and sae.soft_cap is None:
        floor = sae.activation.threshold * (1 - 2.0**-20)
    rounding = 2.0**-22 * (np.abs(bias) + np.abs(floor))
    return Needs(sae.W_enc, floor - bias - rounding, np.sqrt(squared_lengths(sae.W_enc)))


def fire(sae: SAE, x: NDArray[np.floating[Any]], device: str = "cpu") -> Firings:
    """Return all that fires on embeddings x (row, dimension); see Encoder.fire."""
    return make_encoder(sae, device).fire(x)


def _to_single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32; what lies beyond becomes infinite, for the caller to refuse."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _folded_bias(sae: SAE, features: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return b_enc minus what the pre-bias contributes, of chosen features."""
    if not sae.b_pre.any():
        return sae.b_enc[features].astype(np.float64)
    before = inner_products(sae.W_enc, features, sae.b_pre[None], np.zeros_like(features))
    return sae.b_enc[features] - before


def pre_activations(
    sae: SAE,
    x: NDArray[np.floating[Any]],
    rows: NDArray[np.int64],
    features: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return z of chosen (row of x, feature) pairs, before soft cap and activation."""
    pre = inner_products(prepare(sae, x), rows, sae.W_enc, features)
    pre += _folded_bias(sae, features)
    return _to_single(pre)


def encode(sae: SAE, x: NDArray[np.floating[Any]], device: str = "cpu") -> NDArray[np.float32]:
    """Return the (row, feature) activations of embeddings (row, dimension), as fire() has them."""
    firings = fire(sae, x, device)
    dense = np.zeros((len(x), sae.n_features), np.float32)
    dense[firings.image, firings.feature] = firings.activation
    return dense


def decode(sae: SAE, codes: NDArray[np.float32], device: str = "cpu") -> NDArray[np.float32]:
    """Return reconstructions (row, dimension) of activations (row, feature).

    They lie in the space that the SAE reads, that is after its input convention.
    """
    import torch

    weights = torch.from_numpy(sae.W_dec).to(device)
    bias = torch.from_numpy(sae.b_dec).to(device)
    with torch.no_grad():
        found = torch.addmm(bias, torch.from_numpy(codes).to(device), weights)
    array: NDArray[np.float32] = found.cpu().numpy()
    return array


def reconstruct(
    sae: SAE, firings: Firings, n_images: int, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return reconstructions (image, dimension) from sparse activations.

    Each image is summed by itself in the order of its features, so that the result does not
    depend on which images are decoded together.
    """
    import torch

    starts = np.searchsorted(firings.image, np.arange(n_images))
    with torch.no_grad():
        sums = torch.nn.functional.embedding_bag(
            torch.from_numpy(firings.feature).to(device),
            torch.from_numpy(sae.W_dec).to(device),
            torch.from_numpy(starts).to(device),
            mode="sum",
            per_sample_weights=torch.from_numpy(firings.activation).to(device),
        )
    found: NDArray[np.float32] = sums.cpu().numpy() + sae.b_dec
    return found


def _activate(
    sae: SAE, rows: NDArray[np.int64], features: NDArray[np.int64], pre: NDArray[np.float32]
) -> Firings:
    """Return what fires among candidates that are ordered by row, then feature."""
    value = pre
    if sae.soft_cap is not None:
        value = (sae.soft_cap * np.tanh(pre.astype(np.float64) / sae.soft_cap)).astype(np.float32)
    fires = value > 0
    if sae.activation.threshold is not None:
        fires &= value > sae.activation.threshold[features]
    if sae.activation.kind == "topk":
        assert sae.activation.k is not None
        fires &= _rank_in_row(rows, features, pre) < sae.activation.k
    kept = value[fires]
    if not np.isfinite(kept).all():
        raise InputError(
            f"feature {int(features[fires][np.argmax(~np.isfinite(kept))])} activates beyond "
            "float32; check the scale of the embeddings against what the SAE was trained on"
        )
    return Firings(rows[fires], features[fires], kept)


def _rank_in_row(
    rows: NDArray[np.int64], features: NDArray[np.int64], pre: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return each candidate's place in its row, 0 for the largest; ties by feature."""
    order = np.lexsort((features, -pre, rows))
    starts = np.searchsorted(rows, rows)  # rows are sorted, and so stay under order
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - starts
    return ranks
