"""The embed stage: the images that the atlas is about, as vectors, a table and thumbnails."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from atlas.base.errors import ConfigError
from atlas.base.files import digest_file, draft, read_parquet
from atlas.base.text import REPLACED, clean_text
from atlas.inputs.beside import lie_beside, thumbnails_beside
from atlas.inputs.drawn import embed_drawn, make_thumbnails
from atlas.inputs.duplicates import Twins, find_twins
from atlas.inputs.embeddings import check_vectors
from atlas.inputs.found import Skipped
from atlas.inputs.image_table import write_image_table
from atlas.inputs.ingest import gather
from atlas.inputs.outside_vectors import outside_vectors
from atlas.inputs.picture_parts import count_notes, skipped_rows, used_rows
from atlas.inputs.picture_sets import is_picture_set
from atlas.inputs.shard_index import (
    IMAGE_COLUMNS,
    Embedded,
    ShardFile,
    embedding_set,
    number_images,
    write_index,
)
from atlas.inputs.unsafe import UNKNOWN
from atlas.run.stage import Job

SKIPPED = "skipped.jsonl"
EXAMPLES_SHOWN = 3
SKIPPED_SHOWN = 5
"""Skipped files printed on the screen; the others are in skipped.jsonl."""


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
    write_index(job, found.shards, list(found.crops))
    twins = find_twins(embedding_set(found.shards), found.hashes, settings.duplicate_cosine)
    write_image_table(job.out_dir / "images.parquet", number_images(found, settings, twins))
    report_skipped(job, found.skipped)
    report_notes(job, found.hashes)
    report_captions(job, job.out_dir / "images.parquet")
    report_withheld(job, job.out_dir / "images.parquet")
    report_twins(job, twins)
    if settings.pictures is None or found.hashes:
        return
    if lie_beside(settings, sum(shard.rows for shard in found.shards)):
        thumbnails_beside(job)
    else:
        make_thumbnails(job, found.shards)


def embed_set(job: Job) -> Embedded:
    """Embed pictures as people keep them: a folder, archives, or tables that hold them."""
    gathered = gather(job)
    used = [one for one in gathered if one.n_images]
    shards = [_shard_file(one.name, one.vectors, one.n_images) for one in used]
    skipped = [
        Skipped(row["file"], row["name"], row["why"])
        for one in gathered
        for row in skipped_rows(one.rows)
    ]
    tables = [used_rows(one.rows, IMAGE_COLUMNS) for one in used]
    crops = tuple(_shard_file(one.name, one.crops) for one in used if one.crops is not None)
    return Embedded(shards, tables, skipped, tuple(one.rows for one in used), crops)


def _shard_file(name: str, path: Path, rows: int | None = None) -> ShardFile:
    vectors = check_vectors(path, rows=rows)
    return ShardFile(name, path, len(vectors), vectors.shape[1], digest_file(path))


def report_skipped(job: Job, skipped: list[Skipped]) -> None:
    """Write what was skipped and why, and say it."""
    with (
        draft(job.out_dir / SKIPPED) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="replace") as file,
    ):
        for one in skipped:
            row = {"file": one.file, "name": one.name, "why": one.why}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for one in skipped[:SKIPPED_SHOWN]:
        job.progress.say(
            f"embed: skipped {' '.join(dict.fromkeys(filter(None, (one.file, one.name))))}: {one.why}"
        )
    if len(skipped) > SKIPPED_SHOWN:
        job.progress.say(f"embed: skipped {len(skipped):,} in all; embed/{SKIPPED} names each")


def report_notes(job: Job, rows: tuple[Path, ...]) -> None:
    """Say how many pictures were used although their files are odd, by what is odd."""
    notes: Counter[str] = sum(map(count_notes, rows), Counter())
    for note, count in sorted(notes.items(), key=lambda one: (-one[1], one[0])):
        job.progress.say(f"embed: {count:,} pictures: {note}")


def report_captions(job: Job, table: Path) -> None:
    """Say how many images have no caption, and how many have one that could not be read whole."""
    import pyarrow.compute as pc

    rows = read_parquet(table, ["name", "caption"])
    without = rows.filter(pc.equal(rows["caption"], ""))["name"]
    if len(without):
        job.progress.say(
            f"embed: {len(without):,} of {len(rows):,} images have no caption, for instance "
            + ", ".join(clean_text(name) for name in without[:EXAMPLES_SHOWN].to_pylist())
        )
    broken = pc.sum(pc.match_substring(rows["caption"], REPLACED)).as_py() or 0
    if broken:
        job.progress.say(
            f"embed: captions that hold what is no character, shown as {REPLACED}: {broken:,}"
        )


def report_withheld(job: Job, table: Path) -> None:
    """Say how many images are withheld, and by which marks that were not understood."""
    import pyarrow.compute as pc

    why = read_parquet(table, ["withheld"])["withheld"]
    n = pc.sum(pc.not_equal(why, "")).as_py() or 0
    if not n:
        return
    unknown = Counter(why.filter(pc.ends_with(why, UNKNOWN)).to_pylist())
    examples = [one.removesuffix(f", {UNKNOWN}") for one, _ in unknown.most_common(EXAMPLES_SHOWN)]
    of_these = f", {sum(unknown.values()):,} for a mark that is not known: {'; '.join(examples)}"
    job.progress.say(
        f"embed: {n:,} of {len(why):,} images are withheld{of_these if unknown else ''} "
        "(column withheld of embed/images.parquet says why)"
    )


def report_twins(job: Job, twins: Twins) -> None:
    """Say how many images repeat another."""
    if twins.count:
        job.progress.say(f"embed: {twins.count:,} images repeat another one; they are marked")
