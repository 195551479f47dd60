"""What some images say about every feature, counted and sorted on the device where the firings lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE
from atlas.scan.tally import BINS, LAST_IMAGE, Tally

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class CardTally:
    """A Tally whose arrays lie on a device; sums are taken in an order of its own."""

    count: torch.Tensor
    sum: torch.Tensor
    sum_squares: torch.Tensor
    histogram_cell: torch.Tensor
    histogram_count: torch.Tensor
    owner: torch.Tensor
    """Feature of each key."""
    top_key: torch.Tensor

    def to_host(self) -> Tally:
        """Return it in the host's memory."""
        names = ("count", "sum", "sum_squares", "histogram_cell", "histogram_count", "top_key")
        return Tally(*(getattr(self, name).cpu().numpy() for name in names))


def tally_on_card(
    n_features: int,
    feature: torch.Tensor,
    image: torch.Tensor,
    activation: torch.Tensor,
    top_images: int,
) -> CardTally:
    """Return the aggregates of some firings, as atlas.scan.tally.tally does.

    Args:
        n_features: Features there are.
        feature: (firing,) int64.
        image: (firing,) int64, ascending.
        activation: (firing,) float32, greater than 0.
        top_images: Images to keep of each feature.
    """
    import torch

    bits = activation.view(torch.int32)
    lowest = (127 + LOWEST_OCTAVE) * BINS_AN_OCTAVE
    bins = ((bits >> 21).long() - lowest + 1).clamp(0, BINS - 1)
    cells, cell_counts = torch.unique(feature * BINS + bins, return_counts=True)
    # Sorted first: adding by feature as they come would use atomics, in another order every time.
    owner, order = torch.sort(feature, stable=True)
    count = torch.bincount(feature, minlength=n_features)
    wide = activation.double()[order]
    key = (bits.long() << 32) | (LAST_IMAGE - image)
    return CardTally(
        count,
        torch.segment_reduce(wide, "sum", lengths=count, initial=0.0),
        torch.segment_reduce(wide * wide, "sum", lengths=count, initial=0.0),
        cells,
        cell_counts,
        *_cut(owner, key[order], n_features, top_images),
    )


def merge_on_card(tallies: Sequence[CardTally], top_images: int) -> CardTally:
    """Return the tally of all their images together, sums taken from left to right."""
    import torch

    n_features = len(tallies[0].count)
    cells, place = torch.unique(
        torch.cat([one.histogram_cell for one in tallies]), return_inverse=True
    )
    counts = torch.zeros_like(cells)
    # Whole numbers: in whatever order a card adds them, the sum is the same.
    counts.index_add_(0, place, torch.cat([one.histogram_count for one in tallies]))
    owner, key = (
        torch.cat([getattr(one, name) for one in tallies]) for name in ("owner", "top_key")
    )
    count, total, squares = tallies[0].count, tallies[0].sum, tallies[0].sum_squares
    for one in tallies[1:]:
        count, total, squares = count + one.count, total + one.sum, squares + one.sum_squares
    return CardTally(
        count, total, squares, cells, counts, *_cut(owner, key, n_features, top_images)
    )


def _cut(
    owner: torch.Tensor, key: torch.Tensor, n_features: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (owner, key) ordered by owner, then largest key, at most so many an owner."""
    import torch

    key, order = torch.sort(key, descending=True)
    owner, again = torch.sort(owner[order], stable=True)
    length = torch.bincount(owner, minlength=n_features)
    place = torch.arange(len(owner), device=owner.device) - (length.cumsum(0) - length)[owner]
    kept = torch.nonzero(place < most).view(-1)
    return owner[kept], key[again][kept]
