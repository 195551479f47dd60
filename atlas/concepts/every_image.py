"""Grouping every image of the scan at both thresholds, a file for each part of the scan."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.threads import one_blas_thread
from atlas.concepts.grouping import Grouping, keep, sweep
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations, ImageBlock, write_tensors
from atlas.sae.model import SAE
from atlas.settings.icons import ConceptsSettings

TAUS = ("coarse", "fine")
NEVER = 1e30
"""A mass that no image has."""


@dataclass(frozen=True, slots=True)
class Taus:
    """The least mass of a concept, in this SAE's activations."""

    scale: float
    """What the settings' values are multiplied by."""
    coarse: float
    fine: float

    def of(self, name: str) -> float:
        """Return the one of a name in TAUS."""
        return self.coarse if name == "coarse" else self.fine


def scale_taus(settings: ConceptsSettings, mass_median: float) -> Taus:
    """Return the thresholds in this SAE's activations.

    Args:
        settings: With the seed's thresholds and the image mass that they are meant for.
        mass_median: Median mass of the scanned images; where it is 0, nothing weighs enough for a
            concept.
    """
    if settings.reference_mass and not mass_median:
        return Taus(0.0, NEVER, NEVER)
    scale = mass_median / settings.reference_mass if settings.reference_mass else 1.0
    return Taus(scale, settings.tau_coarse * scale, settings.tau_fine * scale)


def group_all(job: Job, sae: SAE, reader: ImageActivations, taus: Taus) -> list[Path]:
    """Return a file for each part of the scan with the groups of its images.

    Each holds for either tau: labels (firing,), k, lowest, highest (image,) uint16, agreement
    (image,) float32.
    """
    settings: ConceptsSettings = job.settings.concepts
    key = {
        "inputs": {name: job.digests[name] for name in ("sae", "scan")},
        "settings": [taus.coarse, taus.fine, settings.restarts, settings.seed],
    }
    job.progress.start("grouping", total=len(reader), unit="images")
    paths = []
    for block in reader.blocks():

        def write(path: Path, block: ImageBlock = block) -> None:
            write_tensors(path, _group_block(job, sae, block, taus))

        name = f"groups-{block.first_image:09d}"
        paths.append(job.part(name, ".safetensors", key, write))
    job.progress.stop()
    return paths


def _group_block(job: Job, sae: SAE, block: ImageBlock, taus: Taus) -> dict[str, NDArray[Any]]:
    def group(image: int) -> dict[str, Grouping]:
        mine = slice(block.starts[image], block.starts[image + 1])
        found = group_image(
            sae, block.features[mine], block.activations[mine], taus, job.settings.concepts
        )
        job.progress.advance()
        return found

    workers = job.runtime.workers or os.cpu_count() or 1
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:  # compiled: lets others run
        found = list(pool.map(group, range(len(block.starts) - 1)))
    tensors: dict[str, NDArray[Any]] = {}
    for tau in TAUS:
        mine = [groupings[tau] for groupings in found]
        none = [np.empty(0, np.int64)]
        tensors[f"{tau}_labels"] = np.concatenate([g.labels for g in mine] or none).astype("u2")
        for name in ("k", "lowest", "highest"):
            tensors[f"{tau}_{name}"] = np.array([getattr(g, name) for g in mine], np.uint16)
        tensors[f"{tau}_agreement"] = np.array([g.agreement for g in mine], np.float32)
    return tensors


def group_image(
    sae: SAE,
    features: NDArray[np.int64],
    activations: NDArray[np.float32],
    taus: Taus,
    settings: ConceptsSettings,
) -> dict[str, Grouping]:
    """Return one image's groupings by name of tau; the same runs serve both."""
    mass = float(activations.sum(dtype=np.float64))
    runs = sweep(
        sae.W_dec[features],
        activations,
        int(mass / min(taus.coarse, taus.fine)),
        restarts=settings.restarts,
        seed=settings.seed,
    )
    return {tau: keep(runs, activations, taus.of(tau)) for tau in TAUS}
