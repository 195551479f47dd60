"""The scan of a shard on a card: screen, float64 sums, decoding and tallies, all where the weights lie.

What fires, ids, counts, activations, histograms and top images are the processor's to the bit; sums,
masses, errors and cosines are added in another order and agree to twelve digits, decoded ones to
float32's six. The host waits twice for each chunk of images, while the next one is screened.
Written in torch alone, so that it runs on a CPU, too: there it is tested, and never faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.sae.candidates import Candidates, name_candidates
from atlas.sae.encoding import Encoder, products_on_device
from atlas.sae.model import prepare
from atlas.scan.card_tally import CardTally, merge_on_card, tally_on_card
from atlas.scan.encode import CHUNK_IMAGES, Chunk
from atlas.scan.tally import Tally

if TYPE_CHECKING:
    import torch

TALLIED_AT_ONCE = 16
"""Chunks whose firings are kept on the card until they are sorted by feature."""

NO_IDS, NO_SUMS = np.empty(0, np.int64), np.empty(0, np.float64)
NOTHING = Tally(NO_IDS, NO_SUMS, NO_SUMS, NO_IDS, NO_IDS, NO_IDS)


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """An encoder and its decoder, resident on a device."""

    encoder: Encoder
    bias: torch.Tensor
    """(feature,) float64, what is added to a product."""
    threshold: torch.Tensor
    """(feature,) float32, what an activation must exceed besides 0."""
    decoder: torch.Tensor
    """(feature, dimension) float32."""
    decoder_bias: torch.Tensor
    """(dimension,) float32."""


def make_card(encoder: Encoder) -> Card:
    """Send the decoder to where the encoder's weights lie; no top-k, which ranks whole rows."""
    import torch

    sae = encoder.sae
    assert sae.activation.kind != "topk"
    threshold = sae.activation.threshold
    given = np.zeros(sae.n_features, np.float32) if threshold is None else threshold
    arrays = encoder.bias, np.maximum(given, np.float32(0)), sae.W_dec, sae.b_dec
    return Card(encoder, *(torch.from_numpy(one).to(encoder.device) for one in arrays))


@dataclass(frozen=True, slots=True)
class CardChunk:
    """What one run of consecutive images gave, for its part's file."""

    chunk: Chunk
    """With an empty tally: that is taken of many chunks together."""
    named: int
    """Pairs that the screen named."""


@dataclass(frozen=True, slots=True, eq=False)
class _Screened:
    """A chunk on the card whose candidates are being listed."""

    first_row: int
    raw: torch.Tensor
    """(image, dimension) float32, as stored."""
    inputs: torch.Tensor
    """(image, dimension) float32, as the SAE reads it."""
    candidates: Candidates


@dataclass(frozen=True, slots=True, eq=False)
class _Fired:
    """The firings of a chunk, on the card, ordered by image, then feature."""

    image: torch.Tensor
    """(firing,) row in the shard."""
    feature: torch.Tensor
    activation: torch.Tensor


class CardScan:
    """Scans one shard's embeddings; yields its chunks, and has the tally when they are through."""

    def __init__(self, card: Card, vectors: NDArray[np.floating[Any]], top_images: int) -> None:
        self._card, self._vectors, self._top_images = card, vectors, top_images
        self._kept: list[_Fired] = []
        self._whole: list[CardTally] = []

    def chunks(self, batch_images: int) -> Iterator[CardChunk]:
        """Yield the shard's chunks in order, one being screened while the last is finished.

        Raises:
            InputError: An activation exceeds float32.
        """
        before: _Screened | None = None
        for first_row, inputs, raw in self._loaded():
            candidates = name_candidates(self._card.encoder, inputs, batch_images)
            if before is not None:
                yield self._finish(before, batch_images)
            before = _Screened(first_row, raw, inputs, candidates)
        if before is not None:
            yield self._finish(before, batch_images)
        self._sum_up()

    def tally(self) -> Tally:
        """Return the shard's tally, once all chunks are through."""
        return self._whole[0].to_host()

    def _loaded(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield (first row, inputs, raw) on the device; a thread reads one chunk ahead."""
        starts = range(0, len(self._vectors), CHUNK_IMAGES)
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, 0)
            for start in starts:
                raw, inputs = ahead.result()
                if start + CHUNK_IMAGES < len(self._vectors):
                    ahead = reader.submit(self._read, start + CHUNK_IMAGES)
                given = self._send(inputs)
                yield start, given, given if raw is inputs else self._send(raw)

    def _read(self, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (raw, inputs) of a chunk in memory that a card can fetch by itself."""
        import torch

        block = self._vectors[start : start + CHUNK_IMAGES]
        sae = self._card.encoder.sae
        raw = self._pinned(torch.from_numpy(np.array(block)))
        if sae.input.kind == "raw":
            return raw, raw
        return raw, self._pinned(torch.from_numpy(prepare(sae, block)))

    def _pinned(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.pin_memory() if self._card.encoder.device.startswith("cuda") else rows

    def _send(self, rows: torch.Tensor) -> torch.Tensor:
        # Sent as stored and widened there: half the bytes of float16 embeddings.
        return rows.to(self._card.encoder.device, non_blocking=True).float()

    def _finish(self, chunk: _Screened, batch_images: int) -> CardChunk:
        import torch

        card, sae = self._card, self._card.encoder.sae
        with torch.no_grad():
            places = chunk.candidates.listed(card.encoder, chunk.inputs, batch_images)
            rows, features = places // sae.n_features, places % sae.n_features
            products = products_on_device(chunk.inputs, rows, card.encoder.exact.weights, features)
            value = _activations(card, products + card.bias[features])
            fires = torch.nonzero(value > card.threshold[features]).view(-1)
            rows, features, value = rows[fires], features[fires], value[fires]
            self._kept.append(_Fired(rows + chunk.first_row, features, value))
            if len(self._kept) == TALLIED_AT_ONCE:
                self._sum_up()
            figures = _figures(card, chunk, rows, features, value)
        _refuse_infinite(figures["activation"], figures["feature"])
        return CardChunk(Chunk(tally=NOTHING, **figures), len(places))

    def _sum_up(self) -> None:
        import torch

        if not self._kept:
            return
        new = tally_on_card(
            self._card.encoder.sae.n_features,
            torch.cat([one.feature for one in self._kept]),
            torch.cat([one.image for one in self._kept]),
            torch.cat([one.activation for one in self._kept]),
            self._top_images,
        )
        self._kept.clear()
        whole = [*self._whole, new]
        self._whole = [merge_on_card(whole, self._top_images)] if len(whole) > 1 else whole


def _activations(card: Card, pre: torch.Tensor) -> torch.Tensor:
    """Return (pair,) float32 activations of float64 pre-activations, before what cuts them off."""
    import torch

    value, cap = pre.float(), card.encoder.sae.soft_cap
    return value if cap is None else (cap * torch.tanh(value.double() / cap)).float()


def _refuse_infinite(activation: NDArray[np.float32], feature: NDArray[np.int64]) -> None:
    if not np.isfinite(activation).all():
        raise InputError(
            f"feature {int(feature[np.argmax(~np.isfinite(activation))])} activates beyond "
            "float32; check the scale of the embeddings against what the SAE was trained on"
        )


def _figures(
    card: Card,
    chunk: _Screened,
    rows: torch.Tensor,
    features: torch.Tensor,
    value: torch.Tensor,
) -> dict[str, NDArray[Any]]:
    """Return a Chunk's columns, in the host's memory, of firings ordered by row, then feature."""
    import torch

    l0 = torch.bincount(rows, minlength=len(chunk.inputs))
    decoded = torch.nn.functional.embedding_bag(
        features, card.decoder, l0.cumsum(0) - l0, mode="sum", per_sample_weights=value
    )
    given, found = chunk.inputs.double(), (decoded + card.decoder_bias).double()
    lengths = torch.sqrt(given.square().sum(1) * found.square().sum(1))
    mass = torch.segment_reduce(value.double(), "sum", lengths=l0, initial=0.0)
    columns = {
        "l0": l0.int(),
        "mass": mass,
        "squared_error": (given - found).square().sum(1),
        "cosine": (given * found).sum(1) / torch.where(lengths > 0, lengths, 1.0),
        "norm": chunk.raw.double().square().sum(1).sqrt().float(),
        "feature": features,
        "activation": value,
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}
