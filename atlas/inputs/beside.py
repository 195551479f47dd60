"""Thumbnails for embeddings made elsewhere, from pictures that lie beside them.

Pictures and images of the table are matched by url, else by key; any number of images may have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps

from atlas.base.errors import InputError
from atlas.base.files import digest_file
from atlas.inputs.captions import Captions
from atlas.inputs.found import Found, Skipped
from atlas.inputs.ingest import DETAIL, list_shards
from atlas.inputs.picture import decode_picture, encode_webp
from atlas.inputs.picture_sets import PictureShard, containers, read_shard
from atlas.inputs.unsafe import why_withheld
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers
from atlas.settings.inputs import EmbedSettings

PICTURES_PER_TASK = 64
STRANGERS = b"strangers"
"""Metadata of a part: how many of its pictures are of no image, and the names of the first."""
STRANGERS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ImageKeys:
    """The images that a key or a url stands for, found by its hash."""

    hashes: NDArray[np.uint64]
    """(entry,) ascending."""
    images: NDArray[np.int64]
    """(entry,)."""

    def images_of(self, text: str) -> list[int]:
        """Return the images of a key or url, ascending."""
        wanted = _hash(text)
        first, last = np.searchsorted(self.hashes, [wanted, wanted], side="left")
        last = np.searchsorted(self.hashes, wanted, side="right")
        return sorted(self.images[first:last].tolist())


def _hash(text: str) -> np.uint64:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _keys_of(texts: Iterable[tuple[int, str]]) -> ImageKeys:
    pairs = [(image, _hash(text)) for image, text in texts]
    images = np.array([image for image, _ in pairs], np.int64)
    hashes = np.array([value for _, value in pairs], np.uint64)
    order = np.argsort(hashes, kind="stable")
    return ImageKeys(hashes[order], images[order])


def key_of(name: str) -> str:
    """Return a picture's key: its name without folder and ending, and without leading zeros."""
    stem = name.rsplit("/", 1)[-1]
    stem = stem.rsplit(".", 1)[0] if "." in stem else stem
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem


def read_keys(table: Path) -> tuple[ImageKeys, ImageKeys]:
    """Return the images by url and by key.

    Args:
        table: Parquet with the columns image, name and url.
    """

    def texts(column: str) -> Iterator[tuple[int, str]]:
        for batch in pq.ParquetFile(table).iter_batches(columns=["image", column]):
            for image, text in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                if text:
                    yield image, text if column == "url" else key_of(text)

    return _keys_of(texts("url")), _keys_of(texts("name"))


def lie_beside(settings: EmbedSettings, n_images: int) -> bool:
    """Return whether the pictures have to be matched to the images of vectors made elsewhere.

    A Parquet table with a column webp and a row for every image needs no matching.
    """
    path = settings.pictures
    if settings.vectors is None or settings.compositions is not None or path is None:
        return False
    if path.suffix != ".parquet" or not path.is_file():
        return True
    table = pq.ParquetFile(path)
    return "webp" not in table.schema_arrow.names or table.metadata.num_rows != n_images


def thumbnails_beside(job: Job) -> None:
    """Write a part of thumbnails for every archive, table or run of loose pictures.

    Raises:
        InputError: No picture is one of an image.
    """
    root, files = job.inputs["pictures"], job.files["pictures"]
    root = root if root.is_dir() else files[0].parent
    table = job.out_dir / "images.parquet"
    by_url, by_key = read_keys(table)
    captions = Captions(root, () if containers(files) else files)
    shards = list_shards(root, files, job)
    n_images = pq.read_metadata(table).num_rows
    settings = job.settings
    key = {
        "table": digest_file(table),
        "px": settings.thumbnail_px,
        "quality": settings.thumbnail_quality,
        "ground": settings.ground,
    }
    seen = np.zeros(n_images, bool)
    strangers: list[str] = []
    n_strangers = 0
    job.progress.start("thumbnails", total=len(shards), unit="shards")
    for shard in shards:
        part = job.part(
            f"thumbnails-{shard.name}",
            ".parquet",
            {**key, "pictures": shard.digest},
            partial(_write_part, job, root, shard, captions, (by_url, by_key)),
        )
        found = pq.read_table(part, columns=["image"])
        seen[found["image"].to_numpy()] = True
        unknown = json.loads(pq.read_metadata(part).metadata[STRANGERS])
        n_strangers += unknown["count"]
        strangers += unknown["first"][: STRANGERS_SHOWN - len(strangers)]
        job.progress.advance(note=f"{int(seen.sum()):,} of {n_images:,} images")
    job.progress.stop()
    _report(job, int(seen.sum()), n_images, strangers, n_strangers)


def _report(job: Job, n_seen: int, n_images: int, strangers: list[str], n_strangers: int) -> None:
    examples = f", for instance {', '.join(strangers)}" if strangers else ""
    if not n_seen:
        raise InputError(
            f"none of the pictures in {job.inputs['pictures']} has the url or the key of an image"
            f"{examples}; name the table that lists them in embed.images, or drop embed.pictures"
        )
    job.progress.say(
        f"embed: pictures of {n_seen:,} of {n_images:,} images"
        + (f"; {n_strangers:,} pictures are of no image{examples}" if n_strangers else "")
    )


def _write_part(
    job: Job,
    root: Path,
    shard: PictureShard,
    captions: Captions,
    keys: tuple[ImageKeys, ImageKeys],
    path: Path,
) -> None:
    settings = job.settings
    draw = partial(
        _thumbnails,
        px=settings.thumbnail_px,
        quality=settings.thumbnail_quality,
        ground=settings.ground,
    )
    strangers: list[str] = []
    tasks = _tasks(read_shard(root, shard, captions), keys, strangers)
    devices = devices_of(job.runtime.model_copy(update={"device": "cpu"}))
    # One picture for each image: of several, the first.
    webps: dict[int, bytes] = {}
    for drawn in in_workers(devices, _nothing, draw, tasks):
        for image, webp in drawn:
            webps.setdefault(image, webp)
    images = sorted(webps)
    table = pa.table(
        {
            "image": pa.array(images, pa.int64()),
            "webp": pa.array([webps[image] for image in images], pa.binary()),
        }
    )
    told = {"count": len(strangers), "first": strangers[:STRANGERS_SHOWN]}
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as file:
        file.write_table(table)
        file.add_key_value_metadata({STRANGERS: json.dumps(told)})


Task = list[tuple[list[int], Found]]


def _tasks(
    read: Iterator[Found | Skipped], keys: tuple[ImageKeys, ImageKeys], strangers: list[str]
) -> Iterator[Task]:
    """Yield runs of pictures with the images that each is of, unsafe ones left out; note those of none."""
    by_url, by_key = keys
    held: Task = []
    for one in read:
        if isinstance(one, Skipped) or why_withheld(one.facts):
            continue
        url = one.facts.get("url")
        images = by_url.images_of(url) if isinstance(url, str) and url else []
        images = images or by_key.images_of(key_of(one.name))
        if not images:
            strangers.append(one.name)
            continue
        held.append((images, one))
        if len(held) == PICTURES_PER_TASK:
            yield held
            held = []
    if held:
        yield held


def _nothing(_device: str) -> None:
    """Make no tools: drawing a thumbnail needs none."""


def _thumbnails(_: None, task: Task, px: int, quality: int, ground: str) -> list[tuple[int, bytes]]:
    """Return (image, WebP) of the pictures that can be decoded."""
    drawn: list[tuple[int, bytes]] = []
    for images, found in task:
        try:
            webp = draw_thumbnail(found.read(), px, quality, ground)
        except (InputError, OSError):
            continue
        drawn += [(image, webp) for image in images]
    return drawn


def draw_thumbnail(data: bytes, px: int, quality: int, ground: str) -> bytes:
    """Return the square WebP of a picture's file, as the settings of [embed] have it.

    Raises:
        InputError: It is no picture.
    """
    picture = decode_picture(data, least_px=DETAIL * px, ground=ground).picture
    return encode_webp(ImageOps.fit(picture, (px, px), Image.Resampling.BICUBIC), quality)
