"""Candidates listed on a card: of many images at once, without the host waiting for any block.

The list has room for so many; should there be more, which the count tells, it is made again with
more room. What is listed never depends on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.sae.float_screens import Bf16Screen, Float32Screen, find_kernels
from atlas.sae.screening import feature_blocks

if TYPE_CHECKING:
    import torch

    from atlas.sae.encoding import Encoder

ROOM_AN_IMAGE = 512
"""Candidates for which there is room at first, for each image."""
ROOM_SHARE = 32
"""One in so many products of a block can be listed at first, where torch does it."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs that could fire, on a device, perhaps still being listed."""

    places: torch.Tensor
    """(room + 1,) row * features + feature, in any order; the last is for what must be nowhere."""
    counts: torch.Tensor
    """(2,) how many were found, and how many of them a block had no room for."""
    room_an_image: int
    room_share: int

    def listed(self, encoder: Encoder, inputs: torch.Tensor, batch_images: int) -> torch.Tensor:
        """Wait until they are listed, and return all places, ascending."""
        found, lost = self.counts.tolist()
        if lost or found >= len(self.places):
            more = self.room_an_image * 4, max(1, self.room_share // 4)
            again = name_candidates(encoder, inputs, batch_images, *more)
            return again.listed(encoder, inputs, batch_images)
        return self.places[:found].sort().values


def name_candidates(
    encoder: Encoder,
    inputs: torch.Tensor,
    batch_images: int,
    room_an_image: int = ROOM_AN_IMAGE,
    room_share: int = ROOM_SHARE,
) -> Candidates:
    """Begin to list what could fire.

    Args:
        encoder: With a float32 or bfloat16 screen.
        inputs: (image, dimension) float32, on the encoder's device.
        batch_images: Images whose products with a block of features are held at once.
        room_an_image: Candidates for which there is room, for each image.
        room_share: One in so many products of a block can be listed.
    """
    import torch

    screen, n_features = encoder.screen, encoder.sae.n_features
    assert isinstance(screen, Bf16Screen | Float32Screen), screen
    room = len(inputs) * min(room_an_image, n_features)
    places = torch.empty(room + 1, dtype=torch.int64, device=inputs.device)
    counts = torch.zeros(2, dtype=torch.int64, device=inputs.device)
    kernels = find_kernels(inputs.device)
    with torch.no_grad():
        for start in range(0, len(inputs), batch_images):
            given, least = screen.limits(inputs[start : start + batch_images])
            for block in feature_blocks(n_features):
                product = given @ screen.weights[block].T
                first = start * n_features + block.start
                if kernels is None:
                    share = -(-product.numel() // room_share)
                    append(product, least[block], (first, n_features, share), places, counts)
                else:
                    kernels.append(product, least[block], (first, n_features), places, counts)
    return Candidates(places, counts, room_an_image, room_share)


def append(
    product: torch.Tensor,
    least: torch.Tensor,
    where: tuple[int, int, int],
    places: torch.Tensor,
    counts: torch.Tensor,
) -> None:
    """Append the places of products that are not less than their column's least, by torch.

    Args:
        product: (row, feature) of one block.
        least: (feature,).
        where: Place of the block's first product, features in a row, and how many of this block
            can be listed.
        places: As in Candidates.
        counts: As in Candidates.
    """
    import torch

    first, n_features, room = where
    found = (product < least).logical_not().view(-1)
    at = torch.nonzero_static(found, size=room, fill_value=-1).view(-1)
    n_found = found.sum()
    last, columns = len(places) - 1, product.shape[1]
    slot = counts[0] + torch.arange(room, device=at.device)
    slot = torch.where(at >= 0, slot, last).clamp(max=last)
    places[slot] = first + at // columns * n_features + at % columns
    counts[0] += n_found
    counts[1] += (n_found - room).clamp(min=0)
