"""Images through the SAE: what fires, and how well the reconstruction fits, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import squared_lengths
from atlas.sae.encoding import Encoder, Firings, check_firings, reconstruct
from atlas.sae.model import prepare
from atlas.scan.tally import Tally, sums, tally

CHUNK_IMAGES = 8192
"""Images whose sums are taken together. Never a setting: it decides the last digits of the sums."""
COMPARED_ROWS = 64
"""Embeddings compared at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one run of consecutive images gave."""

    tally: Tally
    l0: NDArray[np.int32]
    mass: NDArray[np.float64]
    squared_error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    norm: NDArray[np.float32]
    feature: NDArray[np.int64]
    """(firing,) image after image, ascending within an image."""
    activation: NDArray[np.float32]
    """(firing,)."""


def check_chunk(
    encoder: Encoder, block: NDArray[np.floating[Any]], chunk: Chunk, rows: NDArray[np.int64]
) -> None:
    """Compute some images (row of the block) again in float64.

    Raises:
        CheckError: That gave something else.
    """
    if not len(rows):
        return
    ends = np.cumsum(chunk.l0, dtype=np.int64)
    pieces = [slice(int(ends[row] - chunk.l0[row]), int(ends[row])) for row in rows]
    firings = Firings(
        np.repeat(np.arange(len(rows)), chunk.l0[rows]),
        np.concatenate([chunk.feature[piece] for piece in pieces]),
        np.concatenate([chunk.activation[piece] for piece in pieces]),
    )
    check_firings(encoder, np.asarray(block[rows]), firings)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of the encoder gave. No byte depends on how many images that were."""

    n_features: int
    l0: NDArray[np.int32]
    squared_error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    norm: NDArray[np.float32]
    feature: NDArray[np.int64]
    activation: NDArray[np.float32]
    named: int
    """Pairs that the screen named."""


def scan_batch(encoder: Encoder, x: NDArray[np.floating[Any]]) -> Batch:
    """Encode and decode some embeddings (image, dimension)."""
    sae = encoder.sae
    inputs = prepare(sae, x)
    firings = encoder.fire_prepared(inputs)
    decoded = reconstruct(sae, firings, len(x), encoder.device)
    squared_error, cosine = _compare(inputs, decoded)
    raw = inputs if sae.input.kind == "raw" else x.astype(np.float32)
    return Batch(
        n_features=sae.n_features,
        l0=np.bincount(firings.image, minlength=len(x)).astype(np.int32),
        squared_error=squared_error,
        cosine=cosine,
        norm=np.sqrt(squared_lengths(raw)).astype(np.float32),
        feature=firings.feature,
        activation=firings.activation,
        named=firings.named,
    )


def _compare(
    inputs: NDArray[np.float32], decoded: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (image,) squared error and cosine of each (image, dimension) row with its other."""
    error, cosine = np.empty(len(inputs)), np.empty(len(inputs))
    for start in range(0, len(inputs), COMPARED_ROWS):
        rows = slice(start, start + COMPARED_ROWS)
        given, found = inputs[rows].astype(np.float64), decoded[rows].astype(np.float64)
        lengths = np.sqrt(dots(given, given) * dots(found, found))
        cosine[rows] = dots(given, found) / np.where(lengths > 0, lengths, 1.0)
        error[rows] = dots(given - found, given - found)
    return error, cosine


def dots(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (row,) inner products of rows with rows, or with one row, summed in float64."""
    found: NDArray[np.float64] = np.einsum("rd,rd->r", left, np.broadcast_to(right, left.shape))
    return found


def join_batches(batches: Iterator[Batch], first_row: int, top_images: int) -> Chunk:
    """Return the chunk that these batches make up, from its first row in the shard on."""
    every = list(batches)
    l0 = np.concatenate([batch.l0 for batch in every])
    feature = np.concatenate([batch.feature for batch in every])
    activation = np.concatenate([batch.activation for batch in every])
    row = np.repeat(np.arange(len(l0), dtype=np.int64), l0)
    return Chunk(
        tally=tally(every[0].n_features, feature, row + first_row, activation, top_images),
        l0=l0,
        mass=sums(row, activation.astype(np.float64), len(l0)),
        squared_error=np.concatenate([batch.squared_error for batch in every]),
        cosine=np.concatenate([batch.cosine for batch in every]),
        norm=np.concatenate([batch.norm for batch in every]),
        feature=feature,
        activation=activation,
    )
