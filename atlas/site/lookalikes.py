"""A reader's own picture, found among those of the atlas without a server.

The page hashes the picture as atlas.gather does and compares 64 bits with those of every
picture that the site shows. That finds the same picture, smaller or compressed anew, and
nothing that is merely alike in meaning: for that the encoder has to run. How often it finds,
and how often it takes another picture for it, is measured when the site is made.
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

from atlas.inputs.ingest import difference_hash

NEAR_BITS = 6
"""Bits of 64 in which two hashes of one picture may differ."""
MOST_TRIED = 300
FEATURES_KEPT = 3
SMALLER, QUALITY = 0.75, 60
"""Side and JPEG quality of the copies that the recall is measured with."""
ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def hash_webp(webp: bytes) -> int:
    """Return the difference hash of a thumbnail, 64 bits, never negative."""
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as opened:
        return difference_hash(opened.convert("RGB")) % 2**64


def distances(bits: int, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return (picture,) in how many bits each hash differs from one, 0 to 64."""
    differ = (hashes ^ np.uint64(bits))[:, None].view(np.uint8)
    found: NDArray[np.int64] = ONES[differ].sum(axis=1, dtype=np.int64)
    return found


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far to trust a picture that was found."""

    found: float
    """Share of pictures that are found again once they are smaller and compressed, 0 to 1."""
    mistaken: float
    """Share of pictures for which, if they were not there, another one would be taken."""
    n: int
    """Pictures tried, drawn by lot."""


def measure_accuracy(
    webps: Sequence[bytes], hashes: NDArray[np.uint64], drawn: Sequence[int]
) -> Accuracy:
    """Try to find some pictures again, and to mistake them.

    Args:
        webps: Of the drawn pictures.
        hashes: (picture,) of all of them.
        drawn: Places in hashes of those that are tried.
    """
    again = [distances(_hash_copy(webp), hashes) for webp in webps]
    found = sum(int(far[own] <= NEAR_BITS) for own, far in zip(drawn, again, strict=True))
    others = [distances(int(hashes[own]), hashes) for own in drawn]
    # Equal hashes count as the same picture: sets from the web repeat themselves.
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
    """Return what the page searches.

    Args:
        images: Ascending.
        hashes: (image,) of their thumbnails.
        features: Of each image the features whose pages show it first, at most three.
    """
    return {
        "images": np.diff(np.asarray(images, np.int64), prepend=0).tolist(),
        "hashes": base64.b64encode(hashes.astype(">u8").tobytes()).decode("ascii"),
        "features": [list(some[:FEATURES_KEPT]) for some in features],
        "near": NEAR_BITS,
    }
