"""What an atlas of your own pictures is made with: which encoder, how many crops, which SAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.errors import InputError
from atlas.inputs.captions import Captions
from atlas.inputs.found import Found
from atlas.inputs.picture import decode_picture
from atlas.inputs.picture_sets import (
    PictureShard,
    containers,
    count_pictures,
    loose_pictures,
    read_shard,
)

if TYPE_CHECKING:
    from PIL import Image

SAMPLE = 48
"""Pictures that are looked at, evenly spread where they are loose, else the first."""
SAMPLE_PX = 256
"""Side of the middle of a picture that is looked at, undistorted."""
NEARLY_WHITE = 250
DRAWN_SHARE = 0.1
"""Share of equal neighboring pixels, white ones left out, from which on pictures count as drawn. Measured
medians: photographs 0.03, photographs cut out 0.01, rendered emoji 0.17, clip art 0.64."""
PHOTOGRAPHS_ID = "efficientnet-lite0-imagenet"
"""Of the encoder for photographs: an ImageNet network as it comes."""
TRAINING_IMAGES = 4096
"""Pictures and crops together that an SAE is trained on, where pictures are fewer."""
MOST_CROPS = 15
FIRINGS = 16
"""Pictures on which a feature fires on average: enough for nine top images and as many held out."""
FEWEST_FEATURES, MOST_FEATURES = 32, 4096
SIZES = ((2_000, 4, 800), (10_000, 8, 2000), (10**12, 32, 4000))
"""Pictures at most, features that fire on an image, optimizer steps."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a set of pictures is like."""

    n_pictures: int
    equal_share: float
    """Median over the sample of the share of neighboring pixels that are equal, white left out."""
    captioned: bool
    """Whether a picture of the sample has a caption."""

    @property
    def drawn(self) -> bool:
        """Return whether they are drawings rather than photographs."""
        return self.equal_share >= DRAWN_SHARE


def look_at(root: Path, files: Sequence[Path]) -> Looked:
    """Look at a sample of a set of pictures.

    Args:
        root: The folder, archive or table.
        files: All files of the set.
    """
    shares, captioned, tried = [], False, 0
    for found in islice(_sample(root, files), SAMPLE):
        tried += 1
        captioned = captioned or bool(found.facts.get("caption"))
        try:
            shares.append(equal_share(decode_picture(found.read()).picture))
        except (InputError, OSError):
            continue  # the embed stage names it
    share = float(np.median(shares)) if shares else 0.0
    return Looked(count_pictures(files) if tried else 0, share, captioned)


def _sample(root: Path, files: Sequence[Path]) -> Iterator[Found]:
    folder = root if root.is_dir() else root.parent
    boxes = containers(files)
    loose = loose_pictures(files)
    step = max(1, len(loose) // SAMPLE)
    shards = [PictureShard("", (box,), "") for box in boxes] or [
        PictureShard("", loose[::step], "")
    ]
    captions = Captions(folder, () if boxes else files)
    read = chain.from_iterable(read_shard(folder, shard, captions) for shard in shards)
    return (one for one in read if isinstance(one, Found))


def equal_share(picture: Image.Image) -> float:
    """Return which share of neighboring pixels in the middle of a picture are equal, white ones left out.

    A camera's noise leaves hardly any, even through JPEG; flat areas of drawings are full of them.
    """
    width, height = picture.size
    side = min(width, height, SAMPLE_PX)
    left, top = (width - side) // 2, (height - side) // 2
    levels = np.asarray(picture.crop((left, top, left + side, top + side)), np.int16)
    apart = np.abs(np.diff(levels, axis=1)).max(axis=2)
    colored = levels[:, 1:].min(axis=2) < NEARLY_WHITE
    return float((apart[colored] == 0).mean()) if colored.any() else 1.0


def chosen_crops(n_pictures: int) -> int:
    """Return how many crops of each picture are embedded too."""
    return min(MOST_CROPS, max(0, TRAINING_IMAGES // max(n_pictures, 1) - 1))


def chosen_training(n_pictures: int) -> dict[str, int | str]:
    """Return the settings of [train] for so many pictures: TopK, of a width that they can fill.

    A feature then fires on FIRINGS pictures on average, where no limit of the width is met.
    """
    k, steps = next((k, steps) for most, k, steps in SIZES if n_pictures <= most)
    width = round(n_pictures * k / FIRINGS / 32) * 32
    return {
        "n_features": min(MOST_FEATURES, max(FEWEST_FEATURES, width)),
        "activation": "topk",
        "k": k,
        "steps": steps,
        "batch_images": 256,
        "warmup_steps": 100,
        "decay_steps": steps // 4,
    }
