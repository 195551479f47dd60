"""Scanning one shard into a part, by one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.run.engines import Report
from atlas.run.stage import Job
from atlas.run.workers import keep_memory, own_device
from atlas.sae.activations import write_tensors
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import Encoder, choose_for, make_encoder
from atlas.sae.model import SAE
from atlas.sae.screens import Choice
from atlas.scan.card import Card, CardScan, make_card
from atlas.scan.encode import CHUNK_IMAGES, Batch, Chunk, check_chunk, join_batches, scan_batch
from atlas.scan.parts import MERGED_AT_ONCE, SUFFIX, pack_chunk, part_tensors
from atlas.scan.tally import Tally, merge

SAMPLE_IMAGES = 1024
"""Images that a screen is calibrated on."""
CHECKED_IMAGES, CHECKED_SHARDS = 4, 64
"""Images of a shard that are computed again in float64, and about how many shards that is done in."""


@dataclass
class Scanner:
    """What one process needs to make parts. The encoder is made with the first part."""

    job: Job
    sae: SAE
    digest: str
    embeddings: EmbeddingSet

    @cached_property
    def fired(self) -> NDArray[np.bool_]:
        """(feature,) whether it has fired in what this process has scanned."""
        return np.zeros(self.sae.n_features, bool)

    @cached_property
    def encoder(self) -> Encoder:
        """The SAE with the screen that all processes of the scan take."""
        device = own_device(self.job.runtime)
        return make_encoder(self.sae, device, self.screen, self._sample, self.embeddings.rows)

    @cached_property
    def screen(self) -> Choice:
        """What the settings name or, for auto, the screen that the first process found fastest."""
        return Choice(**self.job.agree(lambda: asdict(self._choose())))

    def _choose(self) -> Choice:
        runtime = self.job.runtime
        device, rows = own_device(runtime), self.embeddings.rows
        return choose_for(self.sae, device, runtime.screen, self._sample, rows)

    @cached_property
    def _sample(self) -> NDArray[np.floating[Any]]:
        """(row, dimension) embeddings on which a screen is chosen and calibrated."""
        shard = self.embeddings.shards[0]
        every = max(1, shard.rows // SAMPLE_IMAGES)
        return self.embeddings.read_shard(shard)[::every][:SAMPLE_IMAGES]

    def key(self, number: int) -> dict[str, Any]:
        """Return what decides the bytes of one shard's part."""
        shard = self.embeddings.shards[number]
        top_images = self.job.settings.top_images
        return {"sae": self.digest, "shard": shard.sha256, "top_images": top_images}

    def missing(self) -> list[int]:
        """Return the numbers of the shards whose parts no earlier run has made."""
        shards = self.embeddings.shards
        return [
            number
            for number, shard in enumerate(shards)
            if not self.job.has_part(shard.name, SUFFIX, self.key(number))
        ]

    def write(self, number: int, report: Report, path: Path) -> None:
        """Scan one shard into a file."""
        shard = self.embeddings.shards[number]
        vectors = self.embeddings.read_shard(shard)
        rare = max(1, len(self.embeddings.shards) // CHECKED_SHARDS)
        # Seeded by the shard, so that a part checks the same images whoever makes it.
        rng = np.random.default_rng(int(shard.sha256[:15], 16))
        checked = rng.choice(shard.rows, min(shard.rows, 0 if number % rare else CHECKED_IMAGES))
        tallies: list[Tally] = []
        columns = []
        for start, chunk in self._chunks(vectors, report, tallies):
            block = vectors[start : start + CHUNK_IMAGES]
            mine = np.unique(checked[(checked >= start) & (checked < start + len(block))]) - start
            check_chunk(self.encoder, block, chunk, mine)
            columns.append(pack_chunk(chunk))
        top_images = self.job.settings.top_images
        write_tensors(path, part_tensors(merge(tallies, top_images), columns))

    def _chunks(
        self, vectors: NDArray[np.floating[Any]], report: Report, tallies: list[Tally]
    ) -> Iterator[tuple[int, Chunk]]:
        """Yield (first row, chunk) of a shard in order; when through, tallies has those of them all."""
        top_images = self.job.settings.top_images
        if self.card is not None:
            yield from self._card_chunks(self.card, vectors, report, tallies)
            return
        for start in range(0, len(vectors), CHUNK_IMAGES):
            block = vectors[start : start + CHUNK_IMAGES]
            chunk = join_batches(self._batches(block, report), start, top_images)
            tallies.append(chunk.tally)
            if len(tallies) == MERGED_AT_ONCE:
                tallies[:] = [merge(tallies, top_images)]
            yield start, chunk

    @cached_property
    def card(self) -> Card | None:
        """The SAE resident on the card; none on a CPU, and none for a top-k, which ranks whole rows."""
        on_cpu = self.encoder.device.startswith("cpu")
        return None if on_cpu or self.sae.activation.kind == "topk" else make_card(self.encoder)

    def _card_chunks(
        self,
        card: Card,
        vectors: NDArray[np.floating[Any]],
        report: Report,
        tallies: list[Tally],
    ) -> Iterator[tuple[int, Chunk]]:
        scan = CardScan(card, vectors, self.job.settings.top_images)
        start = 0
        for found in scan.chunks(self.job.runtime.batch_images):
            self._report(report, found.chunk, found.named)
            yield start, found.chunk
            start += len(found.chunk.l0)
        tallies.append(scan.tally())

    def _report(self, report: Report, scanned: Batch | Chunk, named: int) -> None:
        """Report images, pairs named, firings, and the features that fired for the first time."""
        before = self.fired.copy()
        self.fired[scanned.feature] = True
        new = np.flatnonzero(self.fired & ~before).tolist()
        report([len(scanned.l0), named, len(scanned.feature), *new])

    def _batches(self, block: NDArray[np.floating[Any]], report: Report) -> Iterator[Batch]:
        step = self.job.runtime.batch_images
        for start in range(0, len(block), step):
            batch = scan_batch(self.encoder, block[start : start + step])
            self._report(report, batch, batch.named)
            yield batch


def open_scanner(job: Job) -> Scanner:
    """Load the SAE and the embeddings that a scan reads."""
    keep_memory()
    sae = load_sae(job.inputs["sae"])
    return Scanner(job, sae, sae.digest(), read_embeddings(job.inputs["embed"]))


@lru_cache(maxsize=1)
def _held(*_of: object) -> list[Scanner]:
    """Return the list in which a worker process keeps its scanner from part to part."""
    return []


def scanner_of_process(job: Job) -> Scanner:
    """Return this process's scanner, opened once."""
    place = _held(job.out_dir, job.digests["sae"], job.digests["embed"])
    if not place:
        place.append(open_scanner(job))
    return place[0]
