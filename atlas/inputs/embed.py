"""The embed stage: the images that the atlas is about, as vectors, a table and thumbnails.

Vectors that somebody else made are checked and referenced where they lie, never copied,
except from Parquet, which can't be mapped. Otherwise the pictures are embedded here, a shard
at a time. Writes embeddings.json, images.parquet, skipped.jsonl and a part of thumbnails for
every shard.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_file, draft, write_json, write_parquet
from atlas.inputs.compositions import PictureSource, open_pictures
from atlas.inputs.duplicates import Twins, find_twins
from atlas.inputs.embeddings import INDEX, EmbeddingSet, Shard, check_vectors
from atlas.inputs.encoder import Encoder, embed_images, load_encoder, read_encoder_note
from atlas.inputs.image_table import find_column, raw_batches, read_tables, write_image_table
from atlas.inputs.ingest import Gathered, encode_webp, gather, skipped_rows, used_rows
from atlas.inputs.picture_sets import Skipped, is_picture_set
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES_PER_TASK = 256
SKIPPED = "skipped.jsonl"
SKIPPED_SHOWN = 5
"""Skipped files told on the screen; the others are in skipped.jsonl."""
IMAGE_COLUMNS = ["name", "caption", "url", "tags", "terms", "split", "sensitive"]
VECTOR_COLUMNS = (
    *("embedding", "embeddings", "image_embedding", "image_embeddings", "img_emb"),
    *("clip_embedding", "vector", "emb", "features"),
)
"""Columns of a Parquet file that hold embeddings, in lower case."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard of vectors, wherever it lies."""

    name: str
    path: Path
    rows: int
    width: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a source of images gives."""

    shards: list[ShardFile]
    tables: list[Iterator[pa.Table]]
    """Of each shard, or a single one for all: the columns of image_columns, in the order of the vectors."""
    skipped: list[Skipped]
    hashes: tuple[Path, ...] = ()
    """Tables with sha256 and dhash of each image; none where the pictures were not seen."""


def run(job: Job) -> None:
    """Write the image table, the index of the shards, what was skipped, and the thumbnails."""
    settings = job.settings
    as_set = settings.images is None and settings.compositions is None
    if settings.vectors is not None:
        found = outside_vectors(job)
    elif settings.encoder is None:
        raise ConfigError(
            "embed has neither vectors nor encoder; set embed.vectors, or embed.encoder and embed.pictures"
        )
    elif settings.pictures is not None and as_set and is_picture_set(settings.pictures):
        found = embed_set(job)
    else:
        found = embed_drawn(job)
    write_index(job, found.shards)
    twins = find_twins(_as_set(found.shards), found.hashes, settings.duplicate_cosine)
    write_image_table(job.out_dir / "images.parquet", number_images(found, settings, twins))
    tell_skipped(job, found.skipped)
    tell_twins(job, twins)
    if settings.pictures is not None and not found.hashes:
        make_thumbnails(job, found.shards)


def embed_set(job: Job) -> Embedded:
    """Embed pictures as people keep them: a folder, archives, or tables that hold them."""
    gathered = gather(job)
    used = [one for one in gathered if one.n_images]
    shards = [_gathered_shard(one) for one in used]
    skipped = [
        Skipped(row["file"], row["name"], row["why"])
        for one in gathered
        for row in skipped_rows(one.rows)
    ]
    tables = [used_rows(one.rows, IMAGE_COLUMNS) for one in used]
    return Embedded(shards, tables, skipped, tuple(one.rows for one in used))


def _gathered_shard(one: Gathered) -> ShardFile:
    vectors = check_vectors(one.vectors, rows=one.n_images)
    return ShardFile(
        one.name, one.vectors, len(vectors), vectors.shape[1], digest_file(one.vectors)
    )


def outside_vectors(job: Job) -> Embedded:
    """Check vectors made elsewhere, row by row, and pair them with the tables that describe them.

    A single table describes all shards, in the order of their names. Of several, each goes with
    the shard of its number, as clip-retrieval has them; what has no partner is skipped.

    Raises:
        InputError: A file is damaged, or no shard has a partner.
        ConfigError: There is no table, and the vectors' files hold none.
    """
    vectors = dict(zip(job.files["vectors"], job.file_digests["vectors"], strict=True))
    tables = job.files.get("images", ())
    skipped: list[Skipped] = []
    if len(tables) > 1:
        pairs, skipped = pair_by_number(tuple(vectors), tables)
    elif tables:
        pairs = dict.fromkeys(vectors, tables[0])
    elif all(path.suffix == ".parquet" for path in vectors):
        pairs = {path: path for path in vectors}
    else:
        raise ConfigError("embed has no table of images; set embed.images or embed.pictures")
    job.progress.start("check", total=len(pairs), unit="shards")
    shards: list[ShardFile] = []
    for path in pairs:
        width = shards[0].width if shards else None
        shards.append(_outside_shard(job, path, vectors[path], width))
        job.progress.advance()
    job.progress.stop()
    read = [read_tables(path) for path in dict.fromkeys(pairs.values())]
    return Embedded(shards, read, skipped)


def _outside_shard(job: Job, path: Path, digest: str, width: int | None) -> ShardFile:
    if path.suffix == ".parquet":
        part = job.part(f"vectors-{path.stem}", ".npy", {"file": digest}, partial(_unpack, path))
        path, digest = part, digest_file(part)
    vectors = check_vectors(path, width)
    return ShardFile(path.stem, path, len(vectors), vectors.shape[1], digest)


def _unpack(source: Path, path: Path) -> None:
    """Write the column of embeddings of a Parquet file as .npy.

    Raises:
        InputError: There is no such column, or its rows are of several lengths.
    """
    import pyarrow.parquet as pq

    names = pq.read_schema(source).names
    column = find_column(names, VECTOR_COLUMNS)
    if column is None:
        raise InputError(
            f"{source} has no column of embeddings ({', '.join(VECTOR_COLUMNS)}); it has {names}"
        )
    rows, width = pq.read_metadata(source).num_rows, 0
    with path.open("wb") as file:
        for batch in raw_batches(source, [column]):
            lists = batch[column].combine_chunks()
            flat = lists.flatten().to_numpy(zero_copy_only=False)
            block = flat.astype(np.float16 if flat.dtype == np.float16 else np.float32)
            if not width:
                width = len(flat) // len(batch)
                shape = {"descr": block.dtype.str, "fortran_order": False, "shape": (rows, width)}
                np.lib.format.write_array_header_1_0(file, shape)
            lengths = set(lists.value_lengths().to_pylist()) if lists.type.num_fields else {width}
            if lengths != {width} or len(flat) != len(batch) * width:
                raise InputError(
                    f"{source}: the embeddings have several lengths; drop the odd ones"
                )
            file.write(block.tobytes())


def pair_by_number(
    vectors: Sequence[Path], tables: Sequence[Path]
) -> tuple[dict[Path, Path], list[Skipped]]:
    """Pair files by the last number in their names, whatever the zeros before it.

    Never by position: where one shard's table is missing, every later caption would shift.

    Returns:
        (vectors -> table, what has no partner)

    Raises:
        InputError: A name has no number, a number is twice there, or nothing pairs.
    """
    left, right = _by_number(vectors), _by_number(tables)
    both = sorted(left.keys() & right.keys())
    if not both:
        raise InputError(
            f"no number of {vectors[0].name} and its like is that of a table ({tables[0].name}); "
            "name the files' shards by number"
        )
    skipped = [
        Skipped(files[number].name, "", f"there is no {what} of shard {number}")
        for files, other, what in ((left, right, "table"), (right, left, "file of vectors"))
        for number in sorted(files.keys() - other.keys())
    ]
    return {left[number]: right[number] for number in both}, skipped


def _by_number(paths: Sequence[Path]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in paths:
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise InputError(f"{path} has no shard number in its name; give it one")
        if int(numbers[-1]) in found:
            raise InputError(
                f"{path} and {found[int(numbers[-1])]} are both of shard {numbers[-1]}"
            )
        found[int(numbers[-1])] = path
    return found


def number_images(found: Embedded, settings: Any, twins: Twins) -> Iterator[pa.Table]:
    """Yield the image table with the columns image, shard and row in front, duplicate_of behind.

    Raises:
        InputError: A table and its vectors disagree on how many images there are.
    """
    if len(found.tables) == 1:
        yield from _numbered(found.tables[0], found.shards, 0, settings, twins)
        return
    for number, (table, shard) in enumerate(zip(found.tables, found.shards, strict=True)):
        yield from _numbered(table, [shard], number, settings, twins)


def _numbered(
    tables: Iterable[pa.Table], shards: list[ShardFile], number: int, settings: Any, twins: Twins
) -> Iterator[pa.Table]:
    """Number the rows that describe some shards, of which the first has a number."""
    import pyarrow as pa

    ends = np.cumsum([shard.rows for shard in shards])
    expected, rows = int(ends[-1]), 0
    first = twins.first_image(number)
    for table in tables:
        row = rows + np.arange(len(table), dtype=np.int64)
        rows += len(table)
        if rows > expected:
            continue  # counted on, for the error
        of = np.searchsorted(ends, row, side="right")
        starts = ends - [shard.rows for shard in shards]
        numbers = {
            "image": pa.array(first + row),
            "shard": pa.array((number + of).astype(np.int32)),
            "row": pa.array((row - starts[of]).astype(np.int32)),
        }
        twin = twins.original[first + row]
        own = twin == first + row
        columns = {name: table[name] for name in IMAGE_COLUMNS}
        yield pa.table(numbers | columns | {"duplicate_of": pa.array(twin, mask=own)})
    if rows != expected:
        what = settings.images or settings.vectors
        raise InputError(
            f"{what} has {rows} rows, the vectors have {expected}"
            + (f" in {shards[0].name}" if len(shards) == 1 and number else "")
            + "; they must describe the same images"
        )


def tell_skipped(job: Job, skipped: list[Skipped]) -> None:
    """Write what was skipped and why, and say it."""
    with draft(job.out_dir / SKIPPED) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for one in skipped:
            row = {"file": one.file, "name": one.name, "why": one.why}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for one in skipped[:SKIPPED_SHOWN]:
        job.progress.say(
            f"embed: skipped {' '.join(dict.fromkeys(filter(None, (one.file, one.name))))}: {one.why}"
        )
    if len(skipped) > SKIPPED_SHOWN:
        job.progress.say(f"embed: skipped {len(skipped):,} in all; embed/{SKIPPED} names each")


def tell_twins(job: Job, twins: Twins) -> None:
    """Say how many images repeat another."""
    if twins.count:
        job.progress.say(f"embed: {twins.count:,} images repeat another one; they are marked")


def _as_set(files: list[ShardFile]) -> EmbeddingSet:
    """Return the vectors as later stages will read them, wherever they lie now."""
    firsts = np.cumsum([0, *(one.rows for one in files)])
    shards = tuple(
        Shard(one.name, one.path, one.rows, int(first), one.sha256)
        for one, first in zip(files, firsts[:-1], strict=True)
    )
    return EmbeddingSet(files[0].width, int(firsts[-1]), {}, False, shards)


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
    encoder = job.settings.encoder
    note = {} if encoder is None else read_encoder_note(encoder)
    value = {
        "width": shards[0].width,
        "rows": first,
        "encoder": note,
        "normalized": bool(note.get("normalized", False)),
        "shards": listed,
    }
    write_json(job.out_dir / INDEX, value)


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
