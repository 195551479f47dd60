"""Training images in a seeded order, a buffer of them in memory at a time.

Each pass over the set cuts it into stretches of neighboring rows, shuffles these, fills one
buffer after the other with them, and shuffles the images of a buffer. A set that fits in one
buffer is shuffled as a whole. The order follows from the seed and the step alone: a run that goes
on after a kill reads one buffer again, and nothing need be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.embeddings import EmbeddingSet, Shard

if TYPE_CHECKING:
    import torch

STRETCH_ROWS = 1024
"""Rows that are read together: 2.6 MB at 1,280 dimensions of float16."""
SEED_STEP = 1_000_003
"""From one run's seeds to the next one's."""
BUFFER_SHIFT = 32
"""Bits between the seeds of a pass's buffers."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Neighboring rows of a shard, with how many of them are chosen."""

    shard: Shard
    start: int
    stop: int
    n_chosen: int


class Shuffled:
    """Some images of an embedding set, never more of them in memory than a buffer."""

    def __init__(
        self,
        embeddings: EmbeddingSet,
        chosen: NDArray[np.bool_],
        buffer_images: int,
        *,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Cut the set; nothing is read yet.

        Args:
            embeddings: All embeddings.
            chosen: (image,) which of them.
            buffer_images: Images in memory at once.
            seed: Seed of the order.
            device: Where batches are wanted.
        """
        self.embeddings = embeddings
        self.n_images = int(chosen.sum())
        self._chosen = chosen
        self._buffer_images = buffer_images
        self._seed = seed
        self._device = device
        self._stretches = _cut(embeddings, chosen, min(STRETCH_ROWS, buffer_images))
        self._stored_as = embeddings.stored_as()
        self._held: tuple[tuple[int, ...], torch.Tensor] | None = None
        self._order: tuple[tuple[int, int], torch.Tensor] | None = None

    def batch(self, step: int, batch_images: int) -> torch.Tensor:
        """Return the (image, dimension) embeddings of one step, float32.

        The steps cut an endless run of shuffled passes evenly.
        """
        import torch

        first = step * batch_images
        last = first + batch_images
        parts = []
        for number in range(first // self.n_images, (last - 1) // self.n_images + 1):
            begun = number * self.n_images
            for place, (group, size) in enumerate(self._groups(number)):
                start, stop = max(first, begun) - begun, min(last, begun + size) - begun
                if start < stop:
                    order = self._permutation(number, place, size)[start:stop]
                    parts.append(self._load(group)[order.to(self._device)].float())
                begun += size
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def buffer(self) -> torch.Tensor:
        """Return the (image, dimension) embeddings that the last batch ended in, as stored."""
        assert self._held is not None, "no batch was asked for"
        return self._held[1]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all the (image, dimension) embeddings in their own order, a buffer at a time."""
        for group, _ in self._pack(list(range(len(self._stretches)))):
            yield self._load(group).cpu().numpy().astype(np.float32, copy=False)

    def read_all(self) -> NDArray[np.float32]:
        """Return all the (image, dimension) embeddings, in memory."""
        parts = list(self.blocks())
        empty = np.empty((0, self.embeddings.width), np.float32)
        return np.concatenate([empty, *parts]) if len(parts) != 1 else parts[0]

    def _groups(self, number: int) -> list[tuple[tuple[int, ...], int]]:
        """Return the buffers of a pass: which stretches, how many images."""
        natural = list(range(len(self._stretches)))
        if self.n_images <= self._buffer_images:
            return self._pack(natural)
        return self._pack(self._draw(len(natural), number, -1).tolist())

    def _pack(self, order: list[int]) -> list[tuple[tuple[int, ...], int]]:
        """Return stretches in groups that fit the buffer, each in the order of the files."""
        groups: list[tuple[tuple[int, ...], int]] = []
        held: list[int] = []
        size = 0
        for stretch in order:
            n = self._stretches[stretch].n_chosen
            if size + n > self._buffer_images:
                groups.append((tuple(sorted(held)), size))
                held, size = [], 0
            held.append(stretch)
            size += n
        return [*groups, (tuple(sorted(held)), size)] if held else groups

    def _permutation(self, number: int, place: int, size: int) -> torch.Tensor:
        key = (number, place)
        if self._order is None or self._order[0] != key:
            self._order = (key, self._draw(size, number, place))
        return self._order[1]

    def _draw(self, size: int, number: int, place: int) -> torch.Tensor:
        """Return a permutation; each buffer of each pass has a seed of its own."""
        import torch

        seed = self._seed * SEED_STEP + number + 1 + (place << BUFFER_SHIFT)
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed))

    def _load(self, group: tuple[int, ...]) -> torch.Tensor:
        """Return the chosen rows of some stretches; those held before are let go of first."""
        import torch

        if self._held is None or self._held[0] != group:
            self._held = None
            stretches = [self._stretches[i] for i in group]
            rows = np.empty(
                (sum(s.n_chosen for s in stretches), self.embeddings.width), self._stored_as
            )
            at = 0
            for s in stretches:
                mine = self._chosen[s.shard.first_image + s.start : s.shard.first_image + s.stop]
                rows[at : at + s.n_chosen] = self.embeddings.read_rows(s.shard, s.start, s.stop)[
                    mine
                ]
                at += s.n_chosen
            self._held = (group, torch.from_numpy(rows).to(self._device))
        return self._held[1]


def _cut(embeddings: EmbeddingSet, chosen: NDArray[np.bool_], most_rows: int) -> list[_Stretch]:
    """Return the stretches of a set that have chosen rows, in order."""
    found = []
    for shard in embeddings.shards:
        for start in range(0, shard.rows, most_rows):
            stop = min(start + most_rows, shard.rows)
            n = int(chosen[shard.first_image + start : shard.first_image + stop].sum())
            if n:
                found.append(_Stretch(shard, start, stop, n))
    return found
