"""Images that are composed from recipes, or read from a table of pictures: embedded, and their thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.base.files import digest_file, write_parquet
from atlas.inputs.compositions import PictureSource, open_pictures
from atlas.inputs.embeddings import check_vectors
from atlas.inputs.encoder import Encoder, embed_images, load_encoder
from atlas.inputs.image_table import read_tables
from atlas.inputs.picture import encode_webp
from atlas.inputs.shard_index import Embedded, ShardFile
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers

if TYPE_CHECKING:
    pass

IMAGES_PER_TASK = 256


def embed_drawn(job: Job) -> Embedded:
    """Embed the images of a table of pictures, or those composed of it, one part a shard."""
    settings = job.settings
    source = open_source(job)
    encoder: Encoder | None = None
    job.progress.start("embed", total=len(source), unit="images")
    shards: list[ShardFile] = []
    for first in range(0, len(source), settings.images_per_shard):
        rows = min(settings.images_per_shard, len(source) - first)

        def make(path: Path, first: int = first, rows: int = rows) -> None:
            nonlocal encoder
            encoder = encoder or load_encoder(settings.encoder, device=job.runtime.device)
            found = []
            for start in range(first, first + rows, IMAGES_PER_TASK):
                stop = min(start + IMAGES_PER_TASK, first + rows)
                pictures = [source.draw(image, encoder.image_px) for image in range(start, stop)]
                found.append(embed_images(encoder, pictures))
                job.progress.advance(stop - start)
            with path.open("wb") as file:
                np.save(file, np.concatenate(found).astype(np.float16))

        name = f"{len(shards):04d}"
        key = {"first": first, "rows": rows, **_inputs_key(job), "encoder": job.digests["encoder"]}
        path = job.part(f"vectors-{name}", ".npy", key, make)
        vectors = check_vectors(path)
        shards.append(ShardFile(name, path, rows, vectors.shape[1], digest_file(path)))
    job.progress.stop()
    table = settings.images or settings.compositions or settings.pictures
    return Embedded(shards, [read_tables(table)], [])


def _inputs_key(job: Job) -> dict[str, str]:
    names = ("pictures", "compositions")
    return {name: job.digests[name] for name in names if name in job.digests}


def open_source(job: Job) -> PictureSource:
    """Return what draws image i."""
    return open_pictures(job.settings.pictures, job.settings.compositions)


def make_thumbnails(job: Job, shards: list[ShardFile]) -> None:
    """Write a part of thumbnails for every shard, drawn by worker processes that serve all of them."""
    settings = job.settings
    source = open_source(job)
    job.progress.start("thumbnails", total=sum(shard.rows for shard in shards), unit="images")
    parts: list[tuple[ShardFile, int, dict[str, Any]]] = []
    tasks: list[range] = []
    first = 0
    for shard in shards:
        key = {
            "first": first,
            "recipes": source.digest(first, shard.rows),
            "px": settings.thumbnail_px,
            "quality": settings.thumbnail_quality,
        }
        parts.append((shard, first, key))
        end = first + shard.rows
        if not job.has_part(f"thumbnails-{shard.name}", ".parquet", key):
            tasks += [
                range(start, min(start + IMAGES_PER_TASK, end))
                for start in range(first, end, IMAGES_PER_TASK)
            ]
        first = end
    take_source = partial(_take_source, settings.pictures, settings.compositions)
    draw = partial(_draw_some, px=settings.thumbnail_px, quality=settings.thumbnail_quality)
    cores = devices_of(job.runtime.model_copy(update={"device": "cpu"}))
    drawn = in_workers(cores, take_source, draw, tasks) if tasks else iter(())
    for shard, begin, key in parts:
        write = partial(_write_thumbnails, job, drawn, begin, shard.rows)
        job.part(f"thumbnails-{shard.name}", ".parquet", key, write)
    job.progress.stop()


def _write_thumbnails(
    job: Job, drawn: Iterator[list[bytes]], first: int, rows: int, path: Path
) -> None:
    """Write the next rows of what is drawn."""
    import pyarrow as pa

    webps: list[bytes] = []
    while len(webps) < rows:
        webps += next(drawn)
        job.progress.advance(min(IMAGES_PER_TASK, rows))
    numbers = np.arange(first, first + rows, dtype=np.int64)
    table = pa.table({"image": numbers, "webp": pa.array(webps, pa.binary())})
    write_parquet(path, table)


def _take_source(pictures: Path, compositions: Path | None, _device: str) -> PictureSource:
    return open_pictures(pictures, compositions)


def _draw_some(source: PictureSource, images: range, px: int, quality: int) -> list[bytes]:
    return [encode_webp(source.draw(image, px), quality) for image in images]
