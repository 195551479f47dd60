"""The scan stage: run every image through the SAE and record what each feature does.

A part is what one shard gives: aggregates of every feature, figures of every image, and the
activations themselves. Parts merge in shard order, so that a new shard extends an old scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from atlas.base.files import write_json, write_parquet
from atlas.inputs.embeddings import EmbeddingSet
from atlas.run.engines import Report, cores, help_until_done, make_in_processes, make_on_ray
from atlas.run.stage import Job
from atlas.sae.activations import SCAN, map_tensors
from atlas.sae.encoding import limit_threads
from atlas.sae.model import SAE, decoder_norms
from atlas.scan.by_feature import write_by_feature
from atlas.scan.figures import heldout_images, scan_figures
from atlas.scan.fit import check_fit
from atlas.scan.own_figures import judge_fit, own_figures
from atlas.scan.parts import SUFFIX, Part, image_columns, list_parts, merge_parts, parts_json
from atlas.scan.scanner import Scanner, open_scanner, scanner_of_process
from atlas.scan.tables import feature_table, histogram_table, image_table, top_table
from atlas.settings.scan import ScanSettings

WORTH_WORKERS = 2e12
"""Multiplications above which several processes are worth their start-up time."""


def run(job: Job) -> None:
    """Write one part for each shard, then the tables over all of them.

    Raises:
        InputError: Embeddings and SAE do not fit each other, or a file is damaged.
        CheckError: A sample of images, computed again in float64, gave something else.
    """
    limit_threads(job.runtime.threads)
    scanner = open_scanner(job)
    check_fit(scanner.sae, scanner.embeddings, job.inputs["embed"])
    shards = scanner.embeddings.shards
    missing = scanner.missing()
    count = _Counter(job, scanner.sae.n_features)
    job.progress.start("scan", total=scanner.embeddings.rows, unit="images")
    job.progress.advance(scanner.embeddings.rows - sum(shards[number].rows for number in missing))

    def finished(number: int) -> Path:
        write = partial(scanner.write, number, count.add)
        path = job.part(shards[number].name, SUFFIX, scanner.key(number), write)
        count.part_done(path)
        return path

    for number in sorted(set(range(len(shards))) - set(missing)):
        finished(number)
    if missing:
        count.say(f"screen {scanner.screen.kind} ({scanner.screen.why})")
    _share_parts(scanner, missing, count)
    paths = [finished(number) for number in range(len(shards))]
    count.report()
    parts = list_parts(job.out_dir, paths, scanner.embeddings)
    _finish(job, scanner.sae, scanner.digest, scanner.embeddings, parts)


def help_run(job: Job) -> None:
    """Make parts beside the process that runs the stage, until none is missing."""
    limit_threads(job.runtime.threads)
    scanner = open_scanner(job)
    count = _Counter(job, scanner.sae.n_features)
    job.progress.start("scan", total=scanner.embeddings.rows, unit="images")
    help_until_done(job, make_part, scanner.missing(), count.add)
    count.report()


def make_part(job: Job, number: int, report: Report) -> bool:
    """Make the part of one shard; return False if another process is making it."""
    limit_threads(job.runtime.threads)
    scanner = scanner_of_process(job)
    name = scanner.embeddings.shards[number].name
    write = partial(scanner.write, number, report)
    return job.make_part(name, SUFFIX, scanner.key(number), write, wait=False) is not None


def _share_parts(scanner: Scanner, missing: Sequence[int], count: _Counter) -> None:
    """Have worker processes make the missing parts, if the settings or the length call for them."""
    runtime, shards = scanner.job.runtime, scanner.embeddings.shards
    if runtime.engine == "ray":
        make_on_ray(scanner.job, make_part, missing, count.add)
    elif runtime.engine == "ranks":
        help_until_done(scanner.job, make_part, missing, count.add)
    elif runtime.device.startswith("cpu"):
        images = sum(shards[number].rows for number in missing)
        long = images * scanner.sae.n_features * scanner.sae.width > WORTH_WORKERS
        workers = min(runtime.workers or (cores() if long else 1), len(missing))
        if workers > 1:
            make_in_processes(scanner.job, make_part, missing, workers, count.add)


class _Counter:
    """Counts scanned images and the features found alive, for the progress line."""

    def __init__(self, job: Job, n_features: int) -> None:
        self._job = job
        self._alive = np.zeros(n_features, bool)
        self._named = self._firings = 0

    def add(self, reported: list[int]) -> None:
        """Add one report: images scanned, pairs that the screen named, firings, features that fired."""
        images, named, firings, *features = reported
        self._named += named
        self._firings += firings
        self._alive[features] = True
        self._job.progress.advance(images, f"{int(self._alive.sum()):,} alive")

    def part_done(self, path: Path) -> None:
        """Add the features that a finished part found alive."""
        self._alive |= map_tensors(path)["count"] > 0
        self._job.progress.advance(0, f"{int(self._alive.sum()):,} alive")

    def report(self) -> None:
        """Say how many pairs the screen named for each firing; 1 would be perfect."""
        if self._firings:
            ratio = self._named / self._firings
            self.say(f"the screen named {ratio:.2f} pairs for each firing")

    def say(self, text: str) -> None:
        """Say a line of the stage's own."""
        self._job.progress.say(f"scan: {text}")


def _finish(
    job: Job, sae: SAE, digest: str, embeddings: EmbeddingSet, parts: Sequence[Part]
) -> None:
    """Merge the parts into the stage's tables."""
    settings: ScanSettings = job.settings
    whole = merge_parts(parts, settings.top_images)
    images = image_columns(parts)
    medians, picks = write_by_feature(job.out_dir, whole, settings)
    write_parquet(job.out_dir / "top_images.parquet", top_table(whole, settings.top_images))
    write_parquet(job.out_dir / "quantile_images.parquet", picks)
    write_parquet(job.out_dir / "activation_histogram.parquet", histogram_table(whole))
    norms = decoder_norms(sae)
    features = feature_table(whole, medians, norms, embeddings.rows, settings.top_images)
    write_parquet(job.out_dir / "features.parquet", features)
    write_parquet(job.out_dir / "images.parquet", image_table(images))
    heldout = heldout_images(job.inputs["embed"], embeddings.rows)
    figures = {
        "sae": digest,
        "parts": parts_json(job.out_dir, parts),
        "features": sae.n_features,
        "alive": int((whole.count > 0).sum()),
        "dead_share": float((whole.count == 0).mean()),
        **scan_figures(sae, embeddings, images, np.ones(embeddings.rows, bool)),
    }
    if heldout.any():
        found = scan_figures(sae, embeddings, images, heldout)
        figures |= {f"heldout_{name}": value for name, value in found.items()}
    own = own_figures(sae, job.inputs["sae"], settings.own_l0)
    fit = judge_fit(sae, embeddings, own, figures)
    if fit["why"]:
        job.progress.say(f"WARNING: {fit['why']}")
    write_json(job.out_dir / SCAN, figures | {"fit": fit})
