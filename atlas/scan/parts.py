"""The file of a part, and what all parts together give.

A part's file (safetensors), F features, n images, with a number for each firing:
  count (F,) int64, sum and sum_squares (F,) float64
  histogram_cell (few,) int64, feature * BINS + bin, ascending; histogram_count (few,) int64
  top_key int64: min(count, top_images) of each feature in turn, largest first; a key is the
    bits of the float32 activation << 32 | (0xFFFFFFFF - row of the image in its shard)
  l0 (n,) int32; mass, squared_error, cosine (n,) float64; norm (n,) float32
  feature_low, feature_overflow_at, feature_overflow: see atlas.sae.activations; image after image
  activation float16: see to_half there; all above is made from float32 values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import write_json
from atlas.inputs.embeddings import EmbeddingSet
from atlas.sae.activations import SCAN, map_tensors, pack_ids, to_half
from atlas.scan.encode import Chunk
from atlas.scan.tally import Tally, merge

MERGED_AT_ONCE = 16
SUFFIX = ".safetensors"


def pack_chunk(chunk: Chunk) -> dict[str, NDArray[Any]]:
    """Return what a chunk gives to its part's file besides the tally: four bytes a firing."""
    starts = np.concatenate([[0], np.cumsum(chunk.l0, dtype=np.int64)])
    return {
        "l0": chunk.l0,
        "mass": chunk.mass,
        "squared_error": chunk.squared_error,
        "cosine": chunk.cosine,
        "norm": chunk.norm,
        "activation": to_half(chunk.activation),
        **pack_ids(starts, chunk.feature, "feature"),
    }


def part_tensors(
    whole: Tally, columns: Sequence[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Return what a part's file holds, of its tally and its packed chunks in order."""
    firings = np.cumsum([0, *(len(one["activation"]) for one in columns)])
    for one, before in zip(columns, firings.tolist(), strict=False):
        one["feature_overflow_at"] += before
    return {
        "count": whole.count,
        "sum": whole.sum,
        "sum_squares": whole.sum_squares,
        "histogram_cell": whole.histogram_cell,
        "histogram_count": whole.histogram_count,
        "top_key": whole.top_key,
        **{name: np.concatenate([one[name] for one in columns]) for name in columns[0]},
    }


@dataclass(frozen=True, slots=True)
class Part:
    """One finished part."""

    path: Path
    first_image: int
    n_images: int

    def tally(self) -> Tally:
        """Return its aggregates, with the atlas's image numbers."""
        tensors = map_tensors(self.path)
        return Tally(
            count=tensors["count"],
            sum=tensors["sum"],
            sum_squares=tensors["sum_squares"],
            histogram_cell=tensors["histogram_cell"],
            histogram_count=tensors["histogram_count"],
            # The low half counts down from the last possible image: no borrow can occur.
            top_key=tensors["top_key"] - self.first_image,
        )


def list_parts(out_dir: Path, paths: Sequence[Path], embeddings: EmbeddingSet) -> list[Part]:
    """Write scan.json's list of parts, so that the parts can be read, and return them."""
    parts = [
        Part(path, shard.first_image, shard.rows)
        for path, shard in zip(paths, embeddings.shards, strict=True)
    ]
    write_json(out_dir / SCAN, {"parts": parts_json(out_dir, parts)})
    return parts


def parts_json(out_dir: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the parts as scan.json lists them."""
    return [
        {
            "path": part.path.relative_to(out_dir).as_posix(),
            "first_image": part.first_image,
            "images": part.n_images,
        }
        for part in parts
    ]


def merge_parts(parts: Sequence[Part], top_images: int) -> Tally:
    """Return the tally of all images. In a fixed order: float sums depend on it."""
    whole = parts[0].tally()
    for start in range(1, len(parts), MERGED_AT_ONCE):
        more = [part.tally() for part in parts[start : start + MERGED_AT_ONCE]]
        whole = merge([whole, *more], top_images)
    return whole


def image_columns(parts: Sequence[Part]) -> dict[str, NDArray[Any]]:
    """Return the figures of every image, (image,) each, in the order of the shards."""
    names = ("l0", "mass", "squared_error", "cosine", "norm")
    tensors = [map_tensors(part.path) for part in parts]
    return {name: np.concatenate([one[name] for one in tensors]) for name in names}
