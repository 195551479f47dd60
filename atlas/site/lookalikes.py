"""Look-up of a reader's own picture by its hash, in the browser.

The page hashes the picture as inputs.picture.difference_hash does and compares the 64 bits with
those of every picture that the site shows. That finds the same picture, also resized or
recompressed, but not pictures of similar content: those need the encoder. How often a copy is
found, and how often another picture is taken for it, is measured when the site is built.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.inputs.picture import difference_hash

NEAR_BITS = 6
"""Bits of 64 that two hashes of one picture may differ in; picture.js gets it with the hashes."""
MOST_TRIED = 300
FEATURES_KEPT = 3
SMALLER, QUALITY = 0.75, 60
"""Scale and JPEG quality of the copies that recall is measured with."""
BITS_SET = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def hash_webp(webp: bytes) -> int:
    """Return the difference hash of a thumbnail, 64 bits, never negative."""
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as opened:
        return difference_hash(opened.convert("RGB")) % 2**64


def distances(bits: int, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return (picture,) the number of bits, 0 to 64, in which each hash differs from `bits`."""
    differ = (hashes ^ np.uint64(bits))[:, None].view(np.uint8)
    found: NDArray[np.int64] = BITS_SET[differ].sum(axis=1, dtype=np.int64)
    return found


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often the look-up is right and wrong."""

    found: float
    """Share of pictures, 0 to 1, that are found from a smaller, compressed copy."""
    mistaken: float
    """Share of pictures, 0 to 1, for which another one would be found if they were missing."""
    n: int
    """Pictures tried, a random sample."""


def measure_accuracy(
    webps: Sequence[bytes], hashes: NDArray[np.uint64], drawn: Sequence[int]
) -> Accuracy:
    """Measure how often pictures are found again, and mistaken for others.

    Args:
        webps: The sampled pictures.
        hashes: (picture,) hashes of all pictures.
        drawn: Indices into hashes of the sampled pictures.
    """
    again = [distances(_hash_copy(webp), hashes) for webp in webps]
    found = sum(int(far[own] <= NEAR_BITS) for own, far in zip(drawn, again, strict=True))
    others = [distances(int(hashes[own]), hashes) for own in drawn]
    # Equal hashes count as the same picture: image sets from the web hold duplicates.
    mistaken = sum(bool(((far > 0) & (far <= NEAR_BITS)).any()) for far in others)
    n = max(len(drawn), 1)
    return Accuracy(found / n, mistaken / n, len(drawn))


def _hash_copy(webp: bytes) -> int:
    """Return the hash of a picture made smaller and saved as JPEG."""
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as opened:
        side = max(9, round(SMALLER * opened.width))
        small = opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=QUALITY)
    return difference_hash(Image.open(data).convert("RGB")) % 2**64


def picture_table(
    images: Sequence[int], hashes: NDArray[np.uint64], features: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Return the table that the page searches.

    Args:
        images: Image numbers, ascending; stored as differences, which are shorter.
        hashes: (image,) hashes of their thumbnails.
        features: Features of each image, the first of which are kept.
    """
    return {
        "images": np.diff(np.asarray(images, np.int64), prepend=0).tolist(),
        "hashes": base64.b64encode(hashes.astype(">u8").tobytes()).decode("ascii"),
        "features": [list(some[:FEATURES_KEPT]) for some in features],
        "near": NEAR_BITS,
    }
