"""Going through a set of pictures once: decode, embed, hash and make thumbnails, a shard at a time.

Each shard leaves three parts: its vectors, its thumbnails, and a table of its pictures, the
skipped ones with the reason. On a CPU every worker process decodes and embeds with one thread;
for a GPU the workers decode and this process embeds. Neither changes a byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from atlas.base.errors import InputError
from atlas.base.files import digest_json
from atlas.inputs.captions import Captions
from atlas.inputs.encoder import Encoder, embed_levels, fit_of, load_encoder
from atlas.inputs.found import PICTURE_SUFFIXES, Found, Skipped
from atlas.inputs.picture import Fit, crops_of, decode_picture, difference_hash, encode_webp
from atlas.inputs.picture_parts import (
    SEEN_SUFFIX,
    VECTORS_SUFFIX,
    IngestedShard,
    SeenPicture,
    count_rows,
    first_reason,
    write_rows,
    write_seen,
    write_thumbnails,
    write_vectors,
)
from atlas.inputs.picture_sets import (
    PictureShard,
    containers,
    loose_files,
    loose_pictures,
    read_shard,
)
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers, one_thread
from atlas.settings.inputs import EmbedSettings

PICTURES_PER_TASK = 64
"""Pictures that are embedded as one batch."""
WORTH_WORKERS = 4
"""Tasks from which on the start of worker processes is worth its seconds."""
DETAIL = 2
"""A JPEG is decoded with at least so many times the pixels a side that are wanted of it."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Look:
    """How a picture is looked at; travels to worker processes."""

    fit: Fit
    thumbnail_px: int
    quality: int
    ground: str
    crops: int


def gather(job: Job) -> list[IngestedShard]:
    """Look at every picture of the configured set, shard after shard; some may give none.

    Raises:
        InputError: No picture of the whole set can be used.
    """
    root, files = job.inputs["pictures"], job.files["pictures"]
    root = root if root.is_dir() else root.parent
    shards = list_shards(root, files, job)
    captions = Captions(root, () if containers(files) else files)
    if captions.unmatched:
        job.progress.say(
            f"embed: {len(captions.unmatched):,} rows of captions are of no picture, for instance "
            + ", ".join(captions.unmatched[:3])
        )
    look = _Looker(job)
    job.progress.start("embed", total=len(shards), unit="shards")
    gathered: list[IngestedShard] = []
    first = skipped = 0
    for shard in shards:
        done = look.at(shard, partial(read_shard, root, shard, captions), first)
        first, skipped = first + done.n_images, skipped + done.n_skipped
        gathered.append(done)
        job.progress.advance(note=f"{first:,} pictures, {skipped:,} skipped")
    job.progress.stop()
    if not first:
        raise InputError(f"none of the pictures in {root} can be used; {first_reason(gathered)}")
    return gathered


def list_shards(root: Path, files: tuple[Path, ...], job: Job) -> list[PictureShard]:
    """Cut a set into shards: an archive or table each, or images_per_shard loose pictures.

    Raises:
        InputError: It holds none of these.
    """
    digests = dict(zip(files, job.file_digests["pictures"], strict=True))
    boxes = containers(files)
    if boxes:
        return [PictureShard(f"{n:05d}", (box,), digests[box]) for n, box in enumerate(boxes)]
    pictures = loose_files(files)
    if not loose_pictures(pictures):
        raise InputError(
            f"{root} holds no picture: no {', '.join(PICTURE_SUFFIXES)}, .tar, .parquet or .arrow"
        )
    beside = [path for path in files if path.suffix.lower() in (".txt", ".json")]
    notes = {path.with_suffix("").as_posix(): "" for path in beside}
    for path in beside:
        notes[path.with_suffix("").as_posix()] += digests[path]
    tables = [digests[path] for path in files if path not in set(pictures) | set(beside)]
    shards = []
    for number, chosen in enumerate(_cut(pictures, job.settings.images_per_shard)):
        facts = [
            [
                path.relative_to(root).as_posix(),
                digests[path],
                notes.get(path.with_suffix("").as_posix(), ""),
            ]
            for path in chosen
        ]
        shards.append(PictureShard(f"{number:05d}", chosen, digest_json([facts, tables])))
    return shards


def _cut(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield items in runs of a size; the last may be shorter."""
    coming = iter(items)
    while run := tuple(islice(coming, size)):
        yield run


class _Looker:
    """Opens the encoder when the first picture needs it, and makes the parts of shards."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._encoder: Encoder | None = None

    def at(
        self, shard: PictureShard, read: partial[Iterator[Found | Skipped]], first: int
    ) -> IngestedShard:
        """Return the parts of a shard, made if they are not there yet.

        Args:
            shard: The shard.
            read: Yields what it holds.
            first: Number of its first image.
        """
        job, settings = self._job, self._job.settings
        key = {
            "pictures": shard.digest,
            "encoder": job.digests["encoder"],
            "px": settings.thumbnail_px,
            "quality": settings.thumbnail_quality,
            "ground": settings.ground,
            "crops": settings.crops,
        }
        seen: list[Path] = []

        def look(path: Path) -> None:
            self._look(path, read)

        def again() -> Path:
            if not seen:
                found = job.make_part(f"seen-{shard.name}", SEEN_SUFFIX, key, look)
                assert found is not None
                seen.append(found)
            return seen[0]

        rows = job.part(
            f"pictures-{shard.name}", ".parquet", key, lambda to: write_rows(to, again())
        )
        n_images, n_skipped = count_rows(rows)
        vectors = rows
        if n_images:
            vectors = job.part(
                f"vectors-{shard.name}",
                VECTORS_SUFFIX,
                key,
                lambda to: write_vectors(to, again(), n_images),
            )
            job.part(
                f"thumbnails-{shard.name}",
                ".parquet",
                key | {"first": first},
                lambda to: write_thumbnails(to, again(), first),
            )
        crops = None
        if n_images and settings.crops:
            rows_of_crops = n_images * settings.crops
            crops = job.part(
                f"crops-{shard.name}",
                VECTORS_SUFFIX,
                key,
                lambda to: write_vectors(to, again(), rows_of_crops, "crops"),
            )
        for path in seen:
            path.unlink()
        return IngestedShard(shard.name, vectors, rows, n_images, n_skipped, crops)

    def _look(self, path: Path, read: partial[Iterator[Found | Skipped]]) -> None:
        settings: EmbedSettings = self._job.settings
        assert settings.encoder is not None
        cpu = self._job.runtime.device == "cpu"
        encoder = self._open_encoder(settings.encoder)
        px, quality = settings.thumbnail_px, settings.thumbnail_quality
        look = _Look(fit_of(encoder), px, quality, settings.ground, settings.crops)
        devices = devices_of(self._job.runtime.model_copy(update={"device": "cpu"}))
        take = partial(_take_tools, look, settings.encoder if cpu else None)
        skipped: list[Skipped] = []
        tasks = _cut(_usable(read(), skipped), PICTURES_PER_TASK)
        begin = list(islice(tasks, WORTH_WORKERS))
        tasks = chain(begin, tasks)
        if len(begin) < WORTH_WORKERS or len(devices) == 1:
            tools = _Tools(look, encoder if cpu else None)
            results: Iterable[list[SeenPicture | Skipped]] = (
                _look_at(tools, task) for task in tasks
            )
        else:
            results = in_workers(devices, take, _look_at, tasks)
        write_seen(path, self._embedded(results, encoder, cpu), skipped)

    def _open_encoder(self, folder: Path) -> Encoder:
        if self._encoder is None:
            self._encoder = load_encoder(folder, device=self._job.runtime.device)
        return self._encoder

    def _embedded(
        self, results: Iterable[list[SeenPicture | Skipped]], encoder: Encoder, cpu: bool
    ) -> Iterator[list[SeenPicture | Skipped]]:
        n = 0
        for result in results:
            yield result if cpu else _embed(result, encoder)
            n += len(result)
            self._job.progress.advance(0, note=f"{n:,} pictures of this shard")


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a process looks at pictures with."""

    look: _Look
    encoder: Encoder | None
    """None where the process only decodes."""


def _take_tools(look: _Look, encoder: Path | None, _device: str) -> _Tools:
    return _Tools(look, None if encoder is None else load_encoder(encoder))


def _usable(read: Iterable[Found | Skipped], skipped: list[Skipped]) -> Iterator[Found]:
    """Yield what can be looked at; note the rest."""
    for one in read:
        if isinstance(one, Found):
            yield one
        else:
            skipped.append(one)


def _look_at(tools: _Tools, task: tuple[Found, ...]) -> list[SeenPicture | Skipped]:
    seen = [_decode(tools.look, found) for found in task]
    return seen if tools.encoder is None else _embed(seen, tools.encoder)


def _decode(look: _Look, found: Found) -> SeenPicture | Skipped:
    least = DETAIL * max(look.fit.width, look.fit.height, look.thumbnail_px)
    try:
        data = found.read()
        decoded = decode_picture(data, least_px=least, ground=look.ground)
    except (InputError, OSError) as error:
        return Skipped(found.path.name, found.name, str(error))
    picture, px = decoded.picture, look.thumbnail_px
    small = ImageOps.fit(picture, (px, px), Image.Resampling.BICUBIC)
    # Without the encoded bytes, which need not come back from a worker process.
    light, digest = replace(found, data=None), hashlib.sha256(data).hexdigest()
    crops = crops_of(picture, look.crops, int(digest[:16], 16))
    return SeenPicture(
        light,
        digest,
        difference_hash(picture),
        encode_webp(small, look.quality),
        look.fit(picture),
        None,
        "; ".join(decoded.notes),
        tuple(look.fit(crop) for crop in crops),
    )


def _embed(seen: list[SeenPicture | Skipped], encoder: Encoder) -> list[SeenPicture | Skipped]:
    """Embed decoded pictures as one batch; one whose embedding is no number or zero is skipped."""
    used = [one for one in seen if isinstance(one, SeenPicture) and one.levels is not None]
    if not used:
        return seen
    whole = [one.levels for one in used if one.levels is not None]
    with one_thread() if encoder.device == "cpu" else nullcontext():
        vectors = iter(embed_levels(encoder, np.stack(whole)).astype(np.float16))
        # One crop of each at a time: batches stay as large as for whole pictures.
        cut = [
            embed_levels(encoder, np.stack(levels)).astype(np.float16)
            for levels in zip(*(one.crops for one in used), strict=True)
        ]
    crops = iter(np.stack(cut, axis=1) if cut else [None] * len(used))
    found: list[SeenPicture | Skipped] = []
    for one in seen:
        if isinstance(one, Skipped):
            found.append(one)
            continue
        vector, around = next(vectors), next(crops)
        if np.isfinite(vector).all() and vector.any():
            found.append(replace(one, levels=None, vector=vector, crops=(), crop_vectors=around))
        else:
            why = "the encoder gives it an embedding that is not finite, or zero"
            found.append(Skipped(one.found.path.name, one.found.name, why))
    return found
