"""Scanning one shard into a part, by one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
from atlas.sae.encoding import Encoder, make_encoder
from atlas.sae.model import SAE
from atlas.sae.screens import WORTH_TRYING
from atlas.scan.encode import CHUNK_IMAGES, Batch, check_chunk, join_batches, scan_batch
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
        """The SAE with the screen that the settings name, or the fastest one."""
        runtime = self.job.runtime
        screen = runtime.screen
        if screen == "auto" and not self._is_long():
            screen = "float32"
        shard = self.embeddings.shards[0]
        sample = self.embeddings.read_shard(shard)[:: max(1, shard.rows // SAMPLE_IMAGES)]
        rows = self.embeddings.rows
        return make_encoder(self.sae, own_device(runtime), screen, sample[:SAMPLE_IMAGES], rows)

    def _is_long(self) -> bool:
        return self.embeddings.rows * self.sae.n_features * self.sae.width > WORTH_TRYING

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
        top_images = self.job.settings.top_images
        tallies: list[Tally] = []
        columns = []
        for start in range(0, shard.rows, CHUNK_IMAGES):
            block = vectors[start : start + CHUNK_IMAGES]
            chunk = join_batches(self._batches(block, report), start, top_images)
            mine = np.unique(checked[(checked >= start) & (checked < start + len(block))]) - start
            check_chunk(self.encoder, block, chunk, mine)
            tallies.append(chunk.tally)
            columns.append(pack_chunk(chunk))
            if len(tallies) == MERGED_AT_ONCE:
                tallies = [merge(tallies, top_images)]
        write_tensors(path, part_tensors(merge(tallies, top_images), columns))

    def _batches(self, block: NDArray[np.floating[Any]], report: Report) -> Iterator[Batch]:
        step = self.job.runtime.batch_images
        for start in range(0, len(block), step):
            batch = scan_batch(self.encoder, block[start : start + step])
            before = self.fired.copy()
            self.fired[batch.feature] = True
            new = np.flatnonzero(self.fired & ~before).tolist()
            report([len(batch.l0), batch.named, len(batch.feature), *new])
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
