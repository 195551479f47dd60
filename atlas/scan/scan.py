"""The scan stage: run every image through the SAE and record what each feature does.

A part is what one shard gives: aggregates of every feature, figures of every image, and the
activations themselves. Parts merge in shard order, so that a new shard extends an old scan.

A part's file (safetensors), F features, n images, with a number for each firing:
  count (F,) int64, sum and sum_squares (F,) float64
  histogram_cell (few,) int64, feature * BINS + bin, ascending; histogram_count (few,) int64
  top_key int64: min(count, top_images) of each feature in turn, largest first; a key is the
    bits of the float32 activation << 32 | (0xFFFFFFFF - row of the image in its shard)
  l0 (n,) int32; mass, squared_error, cosine (n,) float64; norm (n,) float32
  feature_low, feature_overflow_at, feature_overflow: see atlas.activations; image after image
  activation float16: see to_half there; all above is made from float32 values
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import draft, read_parquet, write_json, write_parquet
from atlas.base.float64 import squared_lengths
from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE, OCTAVES
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.run.engines import Report, cores, help_until_done, make_in_processes, make_on_ray
from atlas.run.stage import Job
from atlas.run.workers import keep_memory, own_device
from atlas.sae.activations import (
    BY_FEATURE,
    SCAN,
    ImageActivations,
    allocate,
    make_tensors,
    map_tensors,
    pack_ids,
    to_half,
    write_tensors,
)
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import (
    SAE,
    Encoder,
    Firings,
    check_firings,
    decoder_norms,
    limit_threads,
    make_encoder,
    prepare,
    reconstruct,
)
from atlas.sae.screens import WORTH_TRYING
from atlas.settings.scan import ScanSettings

if TYPE_CHECKING:
    import pyarrow as pa

LAST_IMAGE = 0xFFFFFFFF
"""Greatest image number that a key can hold."""
CHUNK_IMAGES = 8192
"""Images whose sums are taken together. Never a setting: it decides the last digits of sums."""
BINS = OCTAVES * BINS_AN_OCTAVE + 2
"""Histogram bins: one below 2^-16, four in each octave up to 2^16, one above."""
FIRINGS_PER_BLOCK = 4_000_000
"""Firings sorted at once when the feature side is finished."""
MERGED_AT_ONCE = 16
LIKELY = 4
"""Of a cell's entries so many times those wanted are expected to be looked at in a draw."""
LARGEST_HASH = 2.0**64 - 2**12
"""About; a greater one is rare enough to be no matter."""
SUFFIX = ".safetensors"
SAMPLE_IMAGES = 1024
"""Images that a screen is fitted to."""
WORTH_WORKERS = 2e12
"""Multiplications from which on more processes than one are worth their start."""
CHECKED_IMAGES, CHECKED_SHARDS = 4, 64
"""Images of a shard computed again in float64, in about so many shards."""
COMPARED_ROWS = 64
"""Embeddings compared at once: few enough to stay in the processor's cache."""
SCRATCH = "firings.tmp"
NORM_RATIO = 2.0
"""Median lengths of embeddings that differ by more are not of one encoder."""
FEW = 16
"""Embeddings of which all may have length 1 by chance."""
UNIT_SLACK = 0.01
"""By how much the length of a normalized embedding may be off 1 after rounding to float16."""
TRAIN_SPLIT = "train"
"""Images in any other named split were held out of training."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What some images say about every feature; tallies of other images can be added."""

    count: NDArray[np.int64]
    """(feature,) images on which it fires."""
    sum: NDArray[np.float64]
    """(feature,) of its activations."""
    sum_squares: NDArray[np.float64]
    """(feature,) of its activations' squares."""
    histogram_cell: NDArray[np.int64]
    """(few,) feature * BINS + bin of each nonempty bin, ascending."""
    histogram_count: NDArray[np.int64]
    """(few,) activations in that bin."""
    top_key: NDArray[np.int64]
    """Keys of each feature's top images, features in turn, largest key first."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one run of consecutive images gave."""

    tally: Tally
    l0: NDArray[np.int32]
    mass: NDArray[np.float64]
    squared_error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    norm: NDArray[np.float32]
    feature: NDArray[np.int64]
    """(firing,) image after image, ascending within an image."""
    activation: NDArray[np.float32]
    """(firing,)."""


def run(job: Job) -> None:
    """Write a part a shard, then the tables over all of them.

    Raises:
        InputError: Embeddings and SAE do not fit each other, or a file is damaged.
        CheckError: A sample of images, computed again in float64, gave something else.
    """
    limit_threads(job.runtime.threads)
    hand = _lend_hand(job)
    check_fit(hand.sae, hand.embeddings, job.inputs["embed"])
    shards = hand.embeddings.shards
    missing = hand.missing()
    watch = _Watch(job, hand.sae.n_features)
    job.progress.start("scan", total=hand.embeddings.rows, unit="images")
    job.progress.advance(hand.embeddings.rows - sum(shards[number].rows for number in missing))

    def find(number: int) -> Path:
        write = partial(hand.write, number, watch.tell)
        path = job.part(shards[number].name, SUFFIX, hand.key(number), write)
        watch.part_done(path)
        return path

    for number in sorted(set(range(len(shards))) - set(missing)):
        find(number)
    _spread(hand, missing, watch)
    paths = [find(number) for number in range(len(shards))]
    watch.report()
    parts = _list_parts(job.out_dir, paths, hand.embeddings)
    _finish(job, hand.sae, hand.digest, hand.embeddings, parts)


def help_run(job: Job) -> None:
    """Make parts beside the process that runs the stage, until none is missing."""
    limit_threads(job.runtime.threads)
    hand = _lend_hand(job)
    watch = _Watch(job, hand.sae.n_features)
    job.progress.start("scan", total=hand.embeddings.rows, unit="images")
    help_until_done(job, make_part, hand.missing(), watch.tell)
    watch.report()


def make_part(job: Job, number: int, tell: Report) -> bool:
    """Make the part of one shard, unless another process is at it: then return False."""
    limit_threads(job.runtime.threads)
    hand = _hand_of_process(job)
    name = hand.embeddings.shards[number].name
    write = partial(hand.write, number, tell)
    return job.make_part(name, SUFFIX, hand.key(number), write, wait=False) is not None


def _spread(hand: _Hand, missing: Sequence[int], watch: _Watch) -> None:
    """Let other hands make the missing parts, where the settings or the length call for some."""
    runtime, shards = hand.job.runtime, hand.embeddings.shards
    if runtime.engine == "ray":
        make_on_ray(hand.job, make_part, missing, watch.tell)
    elif runtime.engine == "ranks":
        help_until_done(hand.job, make_part, missing, watch.tell)
    elif runtime.device.startswith("cpu"):
        images = sum(shards[number].rows for number in missing)
        long = images * hand.sae.n_features * hand.sae.width > WORTH_WORKERS
        workers = min(runtime.workers or (cores() if long else 1), len(missing))
        if workers > 1:
            make_in_processes(hand.job, make_part, missing, workers, watch.tell)


class _Watch:
    """Counts what was looked at and which features are alive, for the progress line."""

    def __init__(self, job: Job, n_features: int) -> None:
        self._job = job
        self._alive = np.zeros(n_features, bool)
        self._named = self._firings = 0

    def tell(self, told: list[int]) -> None:
        """Count images that were scanned, pairs that the screen named, firings, and who fired."""
        images, named, firings, *features = told
        self._named += named
        self._firings += firings
        self._alive[features] = True
        self._job.progress.advance(images, f"{int(self._alive.sum()):,} alive")

    def part_done(self, path: Path) -> None:
        """Note whom a finished part found alive."""
        self._alive |= map_tensors(path)["count"] > 0
        self._job.progress.advance(0, f"{int(self._alive.sum()):,} alive")

    def report(self) -> None:
        """Say how many pairs the screen named for each firing; 1 would be perfect."""
        if self._firings:
            ratio = self._named / self._firings
            self._job.progress.say(f"scan: the screen named {ratio:.2f} pairs for each firing")


def check_fit(sae: SAE, embeddings: EmbeddingSet, where: Path) -> None:
    """Refuse embeddings that this SAE can't have been trained on.

    Raises:
        InputError: The encoders or widths differ, or the lengths do, as when one is normalized.
    """
    own, other = sae.provenance.get("encoder_id"), embeddings.encoder.get("id")
    if own and other and own != other:
        raise InputError(
            f"embeddings are of the encoder {other}, the SAE was trained on {own}: {where}; "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if embeddings.width != sae.width:
        raise InputError(
            f"embeddings have {embeddings.width} columns, the SAE expects {sae.width}: {where}; "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if embeddings.rows - 1 > LAST_IMAGE:
        raise InputError(
            f"{embeddings.rows} images are too many, expected at most {LAST_IMAGE + 1}: {where}"
        )
    _, block = next(embeddings.blocks())
    _check_lengths(sae, np.sqrt(squared_lengths(block)), where)


def _check_lengths(sae: SAE, lengths: NDArray[np.float64], where: Path) -> None:
    """Refuse embeddings (image,) of other lengths than the SAE was trained on."""
    trained_on, length = sae.provenance.get("median_norm"), float(np.median(lengths))
    bias = float(np.sqrt(squared_lengths(sae.b_dec[None])[0]))
    if trained_on is None:
        # Without any feature it would give more than all there is: not what training ends with.
        normalized = len(lengths) > FEW and bool((np.abs(lengths - 1) < UNIT_SLACK).all())
        if sae.input.kind == "raw" and normalized and bias > NORM_RATIO:
            raise InputError(
                f"embeddings all have length 1, the SAE's decoder bias alone has {bias:.3g}: {where}; "
                "use raw embeddings, not normalized ones, or set sae.input_scale to the raw "
                "embeddings' median length"
            )
        return
    if sae.input.kind not in ("raw", "affine"):
        return
    if not 1 / NORM_RATIO < length / float(trained_on) < NORM_RATIO:
        raise InputError(
            f"embeddings have median length {length:.3g}, the SAE was trained on "
            f"{float(trained_on):.3g}: {where}; use raw embeddings, not normalized ones, of the "
            "encoder that the SAE was trained on"
        )


@dataclass
class _Hand:
    """All that one process needs to make parts; the encoder is made when the first part is."""

    job: Job
    sae: SAE
    digest: str
    embeddings: EmbeddingSet

    @cached_property
    def fired(self) -> NDArray[np.bool_]:
        """(feature,) whether it fired in what this process scanned so far."""
        return np.zeros(self.sae.n_features, bool)

    @cached_property
    def encoder(self) -> Encoder:
        """The SAE with the screen that the settings want, or the fastest one."""
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

    def write(self, number: int, tell: Report, path: Path) -> None:
        """Scan one shard into a file."""
        shard = self.embeddings.shards[number]
        vectors = self.embeddings.read_shard(shard)
        rare = max(1, len(self.embeddings.shards) // CHECKED_SHARDS)
        rng = np.random.default_rng(int(shard.sha256[:15], 16))
        checked = rng.choice(shard.rows, min(shard.rows, 0 if number % rare else CHECKED_IMAGES))
        top_images = self.job.settings.top_images
        tallies: list[Tally] = []
        columns = []
        for start in range(0, shard.rows, CHUNK_IMAGES):
            block = vectors[start : start + CHUNK_IMAGES]
            chunk = _join_batches(self._batches(block, tell), start, top_images)
            mine = np.unique(checked[(checked >= start) & (checked < start + len(block))]) - start
            _check_chunk(self.encoder, block, chunk, mine)
            tallies.append(chunk.tally)
            columns.append(_pack_chunk(chunk))
            if len(tallies) == MERGED_AT_ONCE:
                tallies = [merge(tallies, top_images)]
        write_tensors(path, part_tensors(merge(tallies, top_images), columns))

    def _batches(self, block: NDArray[np.floating[Any]], tell: Report) -> Iterator[Batch]:
        step = self.job.runtime.batch_images
        for start in range(0, len(block), step):
            batch = scan_batch(self.encoder, block[start : start + step])
            before = self.fired.copy()
            self.fired[batch.feature] = True
            new = np.flatnonzero(self.fired & ~before).tolist()
            tell([len(batch.l0), batch.named, len(batch.feature), *new])
            yield batch


def _lend_hand(job: Job) -> _Hand:
    keep_memory()
    sae = load_sae(job.inputs["sae"])
    return _Hand(job, sae, sae.digest(), read_embeddings(job.inputs["embed"]))


@lru_cache(maxsize=1)
def _hands(*_of: object) -> list[_Hand]:
    """Return the place where a worker process keeps what it needs, from part to part."""
    return []


def _hand_of_process(job: Job) -> _Hand:
    place = _hands(job.out_dir, job.digests["sae"], job.digests["embed"])
    if not place:
        place.append(_lend_hand(job))
    return place[0]


def _check_chunk(
    encoder: Encoder, block: NDArray[np.floating[Any]], chunk: Chunk, rows: NDArray[np.int64]
) -> None:
    """Compute some images (row of the block) again in float64.

    Raises:
        CheckError: That gave something else.
    """
    if not len(rows):
        return
    ends = np.cumsum(chunk.l0, dtype=np.int64)
    pieces = [slice(int(ends[row] - chunk.l0[row]), int(ends[row])) for row in rows]
    firings = Firings(
        np.repeat(np.arange(len(rows)), chunk.l0[rows]),
        np.concatenate([chunk.feature[piece] for piece in pieces]),
        np.concatenate([chunk.activation[piece] for piece in pieces]),
    )
    check_firings(encoder, np.asarray(block[rows]), firings)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of the encoder gave; its size is of no consequence to any byte."""

    n_features: int
    l0: NDArray[np.int32]
    squared_error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    norm: NDArray[np.float32]
    feature: NDArray[np.int64]
    activation: NDArray[np.float32]
    named: int
    """Pairs that the screen named."""


def scan_batch(encoder: Encoder, x: NDArray[np.floating[Any]]) -> Batch:
    """Encode and decode some embeddings (image, dimension)."""
    sae = encoder.sae
    inputs = prepare(sae, x)
    firings = encoder.fire_prepared(inputs)
    decoded = reconstruct(sae, firings, len(x), encoder.device)
    squared_error, cosine = _compare(inputs, decoded)
    raw = inputs if sae.input.kind == "raw" else x.astype(np.float32)
    return Batch(
        n_features=sae.n_features,
        l0=np.bincount(firings.image, minlength=len(x)).astype(np.int32),
        squared_error=squared_error,
        cosine=cosine,
        norm=np.sqrt(squared_lengths(raw)).astype(np.float32),
        feature=firings.feature,
        activation=firings.activation,
        named=firings.named,
    )


def _compare(
    inputs: NDArray[np.float32], decoded: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (image,) squared error and cosine of each (image, dimension) row with its other."""
    error, cosine = np.empty(len(inputs)), np.empty(len(inputs))
    for start in range(0, len(inputs), COMPARED_ROWS):
        rows = slice(start, start + COMPARED_ROWS)
        given, found = inputs[rows].astype(np.float64), decoded[rows].astype(np.float64)
        lengths = np.sqrt(_dots(given, given) * _dots(found, found))
        cosine[rows] = _dots(given, found) / np.where(lengths > 0, lengths, 1.0)
        error[rows] = _dots(given - found, given - found)
    return error, cosine


def _dots(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.einsum("rd,rd->r", left, np.broadcast_to(right, left.shape))
    return found


def _join_batches(batches: Iterator[Batch], first_row: int, top_images: int) -> Chunk:
    """Return the chunk that these batches make up, from its first row in the shard on."""
    every = list(batches)
    l0 = np.concatenate([batch.l0 for batch in every])
    feature = np.concatenate([batch.feature for batch in every])
    activation = np.concatenate([batch.activation for batch in every])
    row = np.repeat(np.arange(len(l0), dtype=np.int64), l0)
    return Chunk(
        tally=tally(every[0].n_features, feature, row + first_row, activation, top_images),
        l0=l0,
        mass=_sums(row, activation.astype(np.float64), len(l0)),
        squared_error=np.concatenate([batch.squared_error for batch in every]),
        cosine=np.concatenate([batch.cosine for batch in every]),
        norm=np.concatenate([batch.norm for batch in every]),
        feature=feature,
        activation=activation,
    )


def tally(
    n_features: int,
    feature: NDArray[np.int64],
    image: NDArray[np.int64],
    activation: NDArray[np.float32],
    top_images: int,
) -> Tally:
    """Return the aggregates of some firings.

    Args:
        n_features: Features there are.
        feature: (firing,).
        image: (firing,) ascending: it decides the order in which sums are taken.
        activation: (firing,) greater than 0.
        top_images: Images to keep of each feature.
    """
    # float64: a billion small activations lose digits in float32.
    wide = activation.astype(np.float64)
    cells, cell_counts = np.unique(feature * BINS + histogram_bins(activation), return_counts=True)
    key = top_keys(activation, image)
    _, top_key = _cut(feature, key, top_images)
    return Tally(
        count=np.bincount(feature, minlength=n_features).astype(np.int64),
        sum=_sums(feature, wide, n_features),
        sum_squares=_sums(feature, wide * wide, n_features),
        histogram_cell=cells,
        histogram_count=cell_counts.astype(np.int64),
        top_key=top_key,
    )


def _sums(
    group: NDArray[np.int64], values: NDArray[np.float64], n_groups: int
) -> NDArray[np.float64]:
    """Return the sum of each group's values, added in their order."""
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)


def top_keys(activation: NDArray[np.float32], image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number a firing that orders by activation, then by lower image."""
    return (activation.view(np.int32).astype(np.int64) << np.int64(32)) | (LAST_IMAGE - image)


def read_keys(key: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (activation, image) of keys."""
    return (key >> np.int64(32)).astype(np.int32).view(np.float32), LAST_IMAGE - (key & LAST_IMAGE)


def histogram_bins(activation: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each activation, from its float32 bits: exact, no logarithm.

    Within an octave the four bins are equally wide: 1 to 1.25, 1.5, 1.75 and 2 times its power.
    """
    quarter = (activation.view(np.int32) >> 21).astype(np.int64)
    lowest = (127 + LOWEST_OCTAVE) * BINS_AN_OCTAVE
    found: NDArray[np.int64] = np.clip(quarter - lowest + 1, 0, BINS - 1)
    return found


def bin_edges() -> NDArray[np.float64]:
    """Return (BINS + 1,) the lower edge of each bin, then infinity; bins are closed below."""
    octave = np.repeat(np.arange(LOWEST_OCTAVE, LOWEST_OCTAVE + OCTAVES), BINS_AN_OCTAVE)
    quarter = np.tile(np.arange(BINS_AN_OCTAVE), OCTAVES)
    inner = 2.0**octave * (1 + quarter / BINS_AN_OCTAVE)
    return np.concatenate([[0.0], inner, [2.0 ** (LOWEST_OCTAVE + OCTAVES), np.inf]])


def merge(tallies: Sequence[Tally], top_images: int) -> Tally:
    """Return the tally of all their images together.

    Counts, histograms and top images do not depend on order or grouping. Sums are taken from
    left to right, so that equal lists give equal bytes.
    """
    n_features = len(tallies[0].count)
    cells, inverse = np.unique(
        np.concatenate([one.histogram_cell for one in tallies]), return_inverse=True
    )
    counts = np.zeros(len(cells), np.int64)
    np.add.at(counts, inverse, np.concatenate([one.histogram_count for one in tallies]))
    every = np.arange(n_features)
    owner = np.concatenate([np.repeat(every, np.minimum(one.count, top_images)) for one in tallies])
    _, top_key = _cut(owner, np.concatenate([one.top_key for one in tallies]), top_images)
    count, total, squares = tallies[0].count, tallies[0].sum, tallies[0].sum_squares
    for one in tallies[1:]:
        count, total, squares = count + one.count, total + one.sum, squares + one.sum_squares
    return Tally(count, total, squares, cells, counts, top_key)


def _cut(
    feature: NDArray[np.int64], key: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (feature, key) ordered by feature, then largest key, at most so many a feature."""
    order = np.lexsort((-key, feature))
    feature, key = feature[order], key[order]
    kept = _places(feature) < most
    return feature[kept], key[kept]


def _places(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each entry's place, from 0, in its run of equal group numbers."""
    places = np.arange(len(group), dtype=np.int64)
    if not len(group):
        return places
    begins = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    return places - np.repeat(begins, np.diff(begins, append=len(group)))


def _pack_chunk(chunk: Chunk) -> dict[str, NDArray[Any]]:
    """Return what a chunk gives to its part's file besides the tally: four bytes a firing."""
    starts = np.concatenate([[0], np.cumsum(chunk.l0, dtype=np.int64)])
    return {
        "l0": chunk.l0,
        "mass": chunk.mass,
        "squared_error": chunk.squared_error,
        "cosine": chunk.cosine,
        "norm": chunk.norm,
        "activation": to_half(chunk.activation),
        **pack_ids(starts, chunk.feature, "feature"),
    }


def part_tensors(
    whole: Tally, columns: Sequence[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Return what a part's file holds, of its tally and its packed chunks in order."""
    firings = np.cumsum([0, *(len(one["activation"]) for one in columns)])
    for one, before in zip(columns, firings.tolist(), strict=False):
        one["feature_overflow_at"] += before
    return {
        "count": whole.count,
        "sum": whole.sum,
        "sum_squares": whole.sum_squares,
        "histogram_cell": whole.histogram_cell,
        "histogram_count": whole.histogram_count,
        "top_key": whole.top_key,
        **{name: np.concatenate([one[name] for one in columns]) for name in columns[0]},
    }


@dataclass(frozen=True, slots=True)
class Part:
    """One finished part."""

    path: Path
    first_image: int
    n_images: int

    def tally(self) -> Tally:
        """Return its aggregates, with the atlas's image numbers."""
        tensors = map_tensors(self.path)
        return Tally(
            count=tensors["count"],
            sum=tensors["sum"],
            sum_squares=tensors["sum_squares"],
            histogram_cell=tensors["histogram_cell"],
            histogram_count=tensors["histogram_count"],
            # The low half counts down from the last possible image: no borrow can occur.
            top_key=tensors["top_key"] - self.first_image,
        )


def _list_parts(out_dir: Path, paths: Sequence[Path], embeddings: EmbeddingSet) -> list[Part]:
    """Write scan.json's list of parts, so that the parts can be read, and return them."""
    parts = [
        Part(path, shard.first_image, shard.rows)
        for path, shard in zip(paths, embeddings.shards, strict=True)
    ]
    write_json(out_dir / SCAN, {"parts": _parts_json(out_dir, parts)})
    return parts


def _parts_json(out_dir: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {
            "path": part.path.relative_to(out_dir).as_posix(),
            "first_image": part.first_image,
            "images": part.n_images,
        }
        for part in parts
    ]


def _finish(
    job: Job, sae: SAE, digest: str, embeddings: EmbeddingSet, parts: Sequence[Part]
) -> None:
    """Merge the parts into the stage's tables."""
    settings: ScanSettings = job.settings
    whole = _merge_parts(parts, settings.top_images)
    images = _image_columns(parts)
    medians, picks = _finish_features(job.out_dir, whole, settings)
    write_parquet(job.out_dir / "top_images.parquet", _top_table(whole, settings.top_images))
    write_parquet(job.out_dir / "quantile_images.parquet", picks)
    write_parquet(job.out_dir / "activation_histogram.parquet", _histogram_table(whole))
    norms = decoder_norms(sae)
    features = _feature_table(whole, medians, norms, embeddings.rows, settings.top_images)
    write_parquet(job.out_dir / "features.parquet", features)
    write_parquet(job.out_dir / "images.parquet", _image_table(images))
    heldout = _heldout(job.inputs["embed"], embeddings.rows)
    figures = {
        "sae": digest,
        "parts": _parts_json(job.out_dir, parts),
        "features": sae.n_features,
        "alive": int((whole.count > 0).sum()),
        "dead_share": float((whole.count == 0).mean()),
        **_figures(sae, embeddings, images, np.ones(embeddings.rows, bool)),
    }
    if heldout.any():
        found = _figures(sae, embeddings, images, heldout)
        figures |= {f"heldout_{name}": value for name, value in found.items()}
    write_json(job.out_dir / SCAN, figures)


def _merge_parts(parts: Sequence[Part], top_images: int) -> Tally:
    whole = parts[0].tally()
    for start in range(1, len(parts), MERGED_AT_ONCE):
        more = [part.tally() for part in parts[start : start + MERGED_AT_ONCE]]
        whole = merge([whole, *more], top_images)
    return whole


def _image_columns(parts: Sequence[Part]) -> dict[str, NDArray[Any]]:
    names = ("l0", "mass", "squared_error", "cosine", "norm")
    tensors = [map_tensors(part.path) for part in parts]
    return {name: np.concatenate([one[name] for one in tensors]) for name in names}


def _heldout(embed_dir: Path, n_images: int) -> NDArray[np.bool_]:
    """Return (image,) whether it was held out of training."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_parquet(embed_dir / "images.parquet", ["image", "split"])
    if table.num_rows != n_images:
        raise InputError(
            f"{embed_dir / 'images.parquet'} has {table.num_rows} rows, the embeddings "
            f"{n_images}; build the embed stage again"
        )
    known = pc.fill_null(table["split"], "")
    heldout = pc.invert(pc.is_in(known, pa.array(["", TRAIN_SPLIT])))
    found: NDArray[np.bool_] = heldout.to_numpy()
    return found


def _figures(
    sae: SAE, embeddings: EmbeddingSet, images: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the figures over chosen images, at least one.

    explained_variance is 1 - sum |x - x'|^2 / sum |x - mean|^2, x being what the SAE reads and
    the mean being taken over the same images; null where all of them are equal.
    mean_cosine_null is what the mean in place of every reconstruction would give.
    """
    variance, null = _baseline(sae, embeddings, chosen)
    error = float(images["squared_error"][chosen].sum())
    return {
        "images": int(chosen.sum()),
        "explained_variance": 1.0 - error / variance if variance > 0 else None,
        "mean_cosine": float(images["cosine"][chosen].mean()),
        "mean_cosine_null": null,
        "l0_mean": float(images["l0"][chosen].mean()),
        "l0_median": float(np.median(images["l0"][chosen])),
        "mass_median": float(np.median(images["mass"][chosen])),
    }


def _baseline(sae: SAE, embeddings: EmbeddingSet, chosen: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (sum of |x - mean|^2, mean cosine of x and mean) over chosen images."""
    n = int(chosen.sum())
    mean = np.zeros(sae.width)
    for wide in _chosen_inputs(sae, embeddings, chosen):
        mean += wide.sum(axis=0) / n
    variance, cosines, length = 0.0, 0.0, float(np.sqrt(mean @ mean))
    for wide in _chosen_inputs(sae, embeddings, chosen):
        variance += float(_dots(wide - mean, wide - mean).sum())
        lengths = np.sqrt(_dots(wide, wide)) * length
        cosines += float((_dots(wide, mean[None]) / np.where(lengths > 0, lengths, 1.0)).sum())
    return variance, cosines / n


def _chosen_inputs(
    sae: SAE, embeddings: EmbeddingSet, chosen: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """Yield what the SAE reads of chosen images, in fixed blocks (image, dimension)."""
    for start, block in embeddings.blocks(CHUNK_IMAGES):
        kept = block[chosen[start : start + len(block)]]
        if len(kept):
            yield prepare(sae, kept).astype(np.float64)


def _finish_features(
    out_dir: Path, whole: Tally, settings: ScanSettings
) -> tuple[NDArray[np.float32], pa.Table]:
    """Write the activations feature by feature; return (feature,) medians and the picks."""
    starts = np.concatenate([[0], np.cumsum(whole.count)]).astype(np.int64)
    scratch = out_dir / SCRATCH
    image, half = _by_feature(ImageActivations(out_dir), starts, scratch)
    medians = np.full(len(whole.count), np.nan, np.float32)
    picks: list[pa.Table] = []
    far: list[dict[str, NDArray[Any]]] = []
    for first, last in _feature_blocks(starts):
        block = slice(int(starts[first]), int(starts[last]))
        owner = np.repeat(np.arange(first, last), whole.count[first:last])
        images = image[block].astype(np.int64)
        order = _strongest_first(owner, half[block])
        activation = half[block][order].astype(np.float32)
        medians[first:last] = _medians(activation, whole.count[first:last])
        picks.append(pick_quantiles(owner, images[order], activation, settings))
        packed = pack_ids(starts[first : last + 1] - block.start, images, "image")
        image[block] = packed["image_low"]
        packed["image_overflow_at"] += block.start
        far.append({name: packed[name] for name in packed if name != "image_low"})
    with draft(out_dir / BY_FEATURE) as unfinished:
        _write_by_feature(unfinished, starts, image, half, far)
    del image, half
    scratch.unlink()
    return medians, _concat(picks)


def _write_by_feature(
    path: Path,
    starts: NDArray[np.int64],
    low: NDArray[np.uint32],
    half: NDArray[np.float16],
    far: Sequence[dict[str, NDArray[Any]]],
) -> None:
    """Write the activations feature by feature, a piece at a time: they may exceed the memory."""
    few = {name: np.concatenate([one[name] for one in far]) for name in far[0]}
    few["start"] = starts
    shapes = {name: (array.dtype, array.shape) for name, array in few.items()}
    shapes["activation"] = (np.dtype(np.float16), half.shape)
    shapes["image_low"] = (np.dtype(np.uint16), low.shape)
    rooms = make_tensors(path, shapes)
    for name, array in few.items():
        rooms[name][...] = array
    for start in range(0, len(half), FIRINGS_PER_BLOCK):
        piece = slice(start, start + FIRINGS_PER_BLOCK)
        rooms["activation"][piece] = half[piece]
        rooms["image_low"][piece] = low[piece]


def _concat(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables).combine_chunks()


def _by_feature(
    by_image: ImageActivations, starts: NDArray[np.int64], scratch: Path
) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Return (image, activation) of every firing, features in turn, images ascending.

    The arrays lie in a scratch file: with billions of firings they exceed the memory.
    """
    n = int(starts[-1])
    allocate(scratch, 6 * max(n, 1))
    table = np.memmap(scratch, np.uint16, mode="r+")
    image, activation = table[: 2 * n].view(np.uint32), table[2 * n : 3 * n].view(np.float16)
    free = starts[:-1].copy()
    for block in by_image.blocks(CHUNK_IMAGES):
        n_images = len(block.starts) - 1
        row = np.repeat(np.arange(n_images, dtype=np.int64), np.diff(block.starts))
        order = np.argsort(block.features, kind="stable")
        feature = block.features[order]
        place = free[feature] + _places(feature)
        image[place] = (row[order] + block.first_image).astype(np.uint32)
        activation[place] = block.activations[order]
        free += np.bincount(feature, minlength=len(free))
    return image, activation


def _feature_blocks(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) features that have about as many firings as fit in memory."""
    n_features = len(starts) - 1
    goals = np.arange(0, starts[-1], FIRINGS_PER_BLOCK)
    edges = np.unique([0, *(np.searchsorted(starts, goals, side="right") - 1), n_features])
    yield from pairwise(int(edge) for edge in edges)


def _strongest_first(
    owner: NDArray[np.int64], activation: NDArray[np.float16]
) -> NDArray[np.int64]:
    """Return the order that leaves each owner's entries together, strongest first, ties as given.

    Args:
        owner: (firing,) feature, ascending.
        activation: (firing,) greater than 0.
    """
    # One sort of one number each: owner, activation (positive float16 order as their bits), place.
    place_bits = max(len(owner) - 1, 1).bit_length()
    weakness = 0xFFFF - activation.view(np.uint16).astype(np.uint64)
    key = (owner - owner[:1]).astype(np.uint64) << np.uint64(16) | weakness
    assert not len(key) or int(key[-1]) >> (64 - place_bits) == 0, (len(key), int(key[-1]))
    key = key << np.uint64(place_bits) | np.arange(len(key), dtype=np.uint64)
    key.sort()
    return (key & np.uint64((1 << place_bits) - 1)).astype(np.int64)


def _medians(activation: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each feature's median activation where it fires; NaN for dead ones.

    Args:
        activation: (firing,) ordered by feature, then by strength.
        counts: (feature,) firings.
    """
    ordered = np.append(activation.astype(np.float64), np.nan)
    begins = np.cumsum(counts) - counts
    low = np.where(counts > 0, begins + (counts - 1) // 2, len(ordered) - 1)
    high = np.where(counts > 0, begins + counts // 2, len(ordered) - 1)
    medians: NDArray[np.float32] = ((ordered[low] + ordered[high]) / 2).astype(np.float32)
    return medians


def pick_quantiles(
    owner: NDArray[np.int64],
    image: NDArray[np.int64],
    activation: NDArray[np.float32],
    settings: ScanSettings,
) -> pa.Table:
    """Return images picked from equal parts of each feature's own firings.

    A feature's c firings are ranked from weak to strong (of equal activations the lower image
    is the stronger); rank r belongs to quantile floor(r * quantiles / c). Picks are the images
    with the least hash of seed, feature and image, so that they do not depend on the others.

    Args:
        owner: (firing,) feature, ascending.
        image: (firing,).
        activation: (firing,) strongest first within a feature, ties by image.
        settings: How many quantiles and picks.

    Returns:
        feature, quantile, rank, image, activation; rank 0 is the strongest of the picks.
    """
    import pyarrow as pa

    place = _places(owner)
    counts = np.bincount(owner - owner[:1])[owner - owner[:1]] if len(owner) else place
    quantile = (counts - 1 - place) * settings.quantiles // np.maximum(counts, 1)
    cell = owner * settings.quantiles + quantile
    kept = _draw(cell, owner, image, settings)
    # Strongest first within a feature, so quantiles fall: reorder by quantile, keep the rest.
    kept = kept[np.argsort(cell[kept], kind="stable")]
    return pa.table(
        {
            "feature": owner[kept].astype(np.int32),
            "quantile": quantile[kept].astype(np.int32),
            "rank": _places(cell[kept]).astype(np.int32),
            "image": image[kept],
            "activation": activation[kept],
        }
    )


def _draw(
    cell: NDArray[np.int64],
    owner: NDArray[np.int64],
    image: NDArray[np.int64],
    settings: ScanSettings,
) -> NDArray[np.int64]:
    """Return the places of quantile_images entries of each cell, ascending: those of least hash.

    Args:
        cell: (firing,) equal numbers side by side.
        owner: (firing,) feature.
        image: (firing,).
        settings: How many, and the seed of the hash.
    """
    most = settings.quantile_images
    begins = np.flatnonzero(np.diff(cell, prepend=cell[:1] - 1))
    sizes = np.diff(begins, append=len(cell))
    run = np.repeat(np.arange(len(sizes)), sizes)
    size = sizes[run]
    many = np.flatnonzero(size > most)
    run, value = run[many], _hash(settings.seed, owner[many], image[many])
    # Of a large cell only small hashes are sorted, unless too few turn out to be small.
    limit = np.minimum(LIKELY * most / size[many], 1.0) * LARGEST_HASH
    small = value <= limit.astype(np.uint64)
    small |= (np.bincount(run[small], minlength=len(sizes)) < most)[run]
    many, run, value = many[small], run[small], value[small]
    order = np.lexsort((value, run))
    drawn = many[order[_places(run[order]) < most]]
    return np.sort(np.concatenate([np.flatnonzero(size <= most), drawn]))


def _hash(seed: int, feature: NDArray[np.int64], image: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return SplitMix64 of each (seed, feature, image)."""
    start = (seed * 0x9E3779B97F4A7C15 + 0x1234567) & 0xFFFFFFFFFFFFFFFF
    word = (feature.astype(np.uint64) << np.uint64(32)) | image.astype(np.uint64)
    word = word + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    return word ^ (word >> np.uint64(31))


def _top_table(whole: Tally, top_images: int) -> pa.Table:
    import pyarrow as pa

    kept = np.minimum(whole.count, top_images)
    feature = np.repeat(np.arange(len(kept), dtype=np.int64), kept)
    activation, image = read_keys(whole.top_key)
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "rank": _places(feature).astype(np.int32),
            "image": image,
            "activation": activation,
        }
    )


def _histogram_table(whole: Tally) -> pa.Table:
    import pyarrow as pa

    feature, cell = np.divmod(whole.histogram_cell, BINS)
    edges = bin_edges()
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "bin": cell.astype(np.int32),
            "low": edges[cell],
            "high": edges[cell + 1],
            "count": whole.histogram_count,
        }
    )


def _feature_table(
    whole: Tally,
    medians: NDArray[np.float32],
    norms: NDArray[np.float32],
    n_images: int,
    top_images: int,
) -> pa.Table:
    """Return one row a feature; figures that a dead feature can't have are null.

    selectivity is the participation ratio (sum a)^2 / (count * sum a^2) over the images on
    which the feature fires: 1 where it is equally strong on all of them, near 0 where a few
    hold nearly all of its activation. Columns named *_weighted are times the decoder norm.
    """
    import pyarrow as pa

    alive = whole.count > 0
    divisor = np.maximum(whole.count, 1)
    strongest = np.zeros(len(alive), np.float32)
    kept = np.minimum(whole.count, top_images)
    firsts = (np.cumsum(kept) - kept)[alive]
    strongest[alive] = read_keys(whole.top_key)[0][firsts]
    mass = float(whole.sum.sum())
    squares = np.where(alive, whole.sum_squares, 1.0)

    def known(values: NDArray[Any]) -> pa.Array:
        return pa.array(values, mask=~alive)

    return pa.table(
        {
            "feature": np.arange(len(alive), dtype=np.int32),
            "alive": alive,
            "count": whole.count,
            "density": whole.count / n_images,
            "sum": whole.sum,
            "sum_squares": whole.sum_squares,
            "mean": known(whole.sum / divisor),
            "median": known(np.nan_to_num(medians)),
            "max": known(strongest),
            "mass_share": whole.sum / mass if mass > 0 else whole.sum,
            "decoder_norm": norms,
            "sum_weighted": whole.sum * norms,
            "max_weighted": known(strongest * norms),
            "selectivity": known(whole.sum * whole.sum / (divisor * squares)),
        }
    )


def _image_table(images: dict[str, NDArray[Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "image": np.arange(len(images["l0"]), dtype=np.int64),
            "l0": images["l0"],
            "mass": images["mass"],
            "squared_error": images["squared_error"],
            "norm": images["norm"],
        }
    )
