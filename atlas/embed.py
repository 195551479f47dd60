"""The embed stage: the images that the atlas is about, as vectors, a table and thumbnails.

Vectors that somebody else made are checked and referenced where they lie, never copied.
Otherwise the pictures are embedded here, a shard at a time. Writes embeddings.json,
images.parquet and a part of thumbnails for every shard.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.compositions import PictureSource, open_pictures
from atlas.embeddings import INDEX, check_vectors
from atlas.errors import ConfigError, InputError
from atlas.files import digest_file, read_json, read_parquet, write_json, write_parquet
from atlas.stage import Job
from atlas.workers import devices_of, in_workers

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES_PER_TASK = 256
TEXT_COLUMNS = ("name", "caption")
"""Columns that the image table must have."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard of vectors, wherever it lies."""

    name: str
    path: Path
    rows: int
    width: int
    sha256: str


def run(job: Job) -> None:
    """Write the image table, the index of the shards, and the thumbnails."""
    settings = job.settings
    images = read_images(settings.images or settings.compositions or settings.pictures)
    if settings.vectors is not None:
        shards = outside_shards(job)
    elif settings.encoder is not None:
        shards = embed_pictures(job, len(images))
    else:
        raise ConfigError(
            "embed has neither vectors nor encoder; set embed.vectors, or embed.encoder and embed.pictures"
        )
    images = number_images(images, shards, str(settings.images))
    write_parquet(job.out_dir / "images.parquet", images)
    write_index(job, shards)
    if settings.pictures is not None:
        make_thumbnails(job, shards)


def read_images(path: Path | None) -> pa.Table:
    """Return the image table with every column that the atlas knows, missing ones filled in.

    Raises:
        ConfigError: No table is configured.
        InputError: A column that must be there is not.
    """
    import pyarrow as pa

    if path is None:
        raise ConfigError("embed has no table of images; set embed.images or embed.pictures")
    table = read_parquet(path)
    for name in TEXT_COLUMNS:
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name}; it has {table.column_names}")
    n = len(table)
    caption = table["caption"].cast(pa.string()).fill_null("")

    def column(name: str, kind: pa.DataType, default: Any) -> pa.ChunkedArray:
        if name in table.column_names:
            return table[name].cast(kind)
        return pa.chunked_array([pa.array([default] * n, kind)])

    texts = pa.list_(pa.string())
    terms = (
        table["terms"].cast(texts)
        if "terms" in table.column_names
        else pa.array([[text] if text else [] for text in caption.to_pylist()], texts)
    )
    return pa.table(
        {
            "name": table["name"].cast(pa.string()),
            "caption": caption,
            "url": column("url", pa.string(), None),
            "tags": column("tags", texts, []),
            "terms": terms,
            "split": column("split", pa.string(), ""),
            "sensitive": column("sensitive", pa.bool_(), False),
        }
    )


def outside_shards(job: Job) -> list[ShardFile]:
    """Check each file of vectors, row by row, and return them in the order of their names."""
    files = job.files["vectors"]
    shards: list[ShardFile] = []
    job.progress.start("check", total=len(files), unit="shards")
    for path in files:
        vectors = check_vectors(path, shards[0].width if shards else None)
        shards.append(ShardFile(path.stem, path, len(vectors), vectors.shape[1], digest_file(path)))
        job.progress.advance()
    job.progress.stop()
    return shards


def number_images(images: pa.Table, shards: list[ShardFile], name: str) -> pa.Table:
    """Return the image table with the columns image, shard and row in front.

    Raises:
        InputError: The table and the shards disagree on how many images there are.
    """
    import pyarrow as pa

    rows = sum(shard.rows for shard in shards)
    if len(images) != rows:
        raise InputError(
            f"{name} has {len(images)} rows, the vectors have {rows}; they must describe the same images"
        )
    shard = np.repeat(np.arange(len(shards), dtype=np.int32), [s.rows for s in shards])
    row = np.concatenate([np.arange(s.rows, dtype=np.int32) for s in shards])
    numbers = {"image": np.arange(rows, dtype=np.int64), "shard": shard, "row": row}
    return pa.table(
        {**{key: pa.array(value) for key, value in numbers.items()}, **columns_of(images)}
    )


def columns_of(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return a table's columns by name."""
    return {name: table[name] for name in table.column_names}


def write_index(job: Job, shards: list[ShardFile]) -> None:
    """Write embeddings.json; paths count from the published folder."""
    first = 0
    listed = []
    for shard in shards:
        made_here = shard.path.is_relative_to(job.out_dir)
        home = job.out_dir if made_here else job.published_home
        listed.append(
            {
                "name": shard.name,
                "path": Path(os.path.relpath(shard.path, home)).as_posix(),
                "rows": shard.rows,
                "first_image": first,
                "sha256": shard.sha256,
            }
        )
        first += shard.rows
    note = encoder_note(job.settings.encoder)
    value = {
        "width": shards[0].width,
        "rows": first,
        "encoder": note,
        "normalized": bool(note.get("normalized", False)),
        "shards": listed,
    }
    write_json(job.out_dir / INDEX, value)


def encoder_note(folder: Path | None) -> dict[str, Any]:
    """Return what is recorded of the encoder; empty where none is named."""
    if folder is None:
        return {}
    note: dict[str, Any] = read_json(folder / "encoder.json")
    return note


def embed_pictures(job: Job, n_images: int) -> list[ShardFile]:
    """Embed every picture, one part a shard, and return the shards."""
    from atlas.clip import embed_images, load_encoder

    settings = job.settings
    encoder = load_encoder(settings.encoder, device=job.runtime.device)
    source = open_source(job)
    job.progress.start("embed", total=n_images, unit="images")
    shards: list[ShardFile] = []
    for first in range(0, n_images, settings.images_per_shard):
        rows = min(settings.images_per_shard, n_images - first)

        def make(path: Path, first: int = first, rows: int = rows) -> None:
            found = []
            for start in range(first, first + rows, job.runtime.batch_images):
                stop = min(start + job.runtime.batch_images, first + rows)
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
    return shards


def _inputs_key(job: Job) -> dict[str, str]:
    names = ("pictures", "compositions")
    return {name: job.digests[name] for name in names if name in job.digests}


def open_source(job: Job) -> PictureSource:
    """Return what draws image i."""
    return open_pictures(job.settings.pictures, job.settings.compositions)


def make_thumbnails(job: Job, shards: list[ShardFile]) -> None:
    """Write a part of thumbnails for every shard, drawn by worker processes."""
    settings = job.settings
    source = open_source(job)
    job.progress.start("thumbnails", total=sum(shard.rows for shard in shards), unit="images")
    first = 0
    for shard in shards:

        def make(path: Path, first: int = first, rows: int = shard.rows) -> None:
            _write_thumbnails(path, job, first, rows)

        key = {
            "first": first,
            "recipes": source.digest(first, shard.rows),
            "px": settings.thumbnail_px,
            "quality": settings.thumbnail_quality,
        }
        job.part(f"thumbnails-{shard.name}", ".parquet", key, make)
        first += shard.rows
    job.progress.stop()


def _write_thumbnails(path: Path, job: Job, first: int, rows: int) -> None:
    import pyarrow as pa

    tasks = [
        range(start, min(start + IMAGES_PER_TASK, first + rows))
        for start in range(first, first + rows, IMAGES_PER_TASK)
    ]
    settings = job.settings
    take_source = partial(_take_source, settings.pictures, settings.compositions)
    draw = partial(_draw_some, px=settings.thumbnail_px, quality=settings.thumbnail_quality)
    cores = devices_of(job.runtime.model_copy(update={"device": "cpu"}))
    webps: list[bytes] = []
    for found in in_workers(cores, take_source, draw, tasks):
        webps += found
        job.progress.advance(len(found))
    numbers = np.arange(first, first + rows, dtype=np.int64)
    table = pa.table({"image": numbers, "webp": pa.array(webps, pa.binary())})
    write_parquet(path, table)


def _take_source(pictures: Path, compositions: Path | None, _device: str) -> PictureSource:
    return open_pictures(pictures, compositions)


def _draw_some(source: PictureSource, images: range, px: int, quality: int) -> list[bytes]:
    return [encode_webp(source.draw(image, px), quality) for image in images]


def encode_webp(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as WebP bytes; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
