"""A second encoder's view of icons: does an icon look like its own feature's top images?

The first encoder conditions the decoder and judges the round trip; this one had no part in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import read_parquet
from atlas.icons.roundtrip import partners
from atlas.inputs.encoder import Encoder, embed_images, load_encoder, trunk_features
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers, one_thread

SEEN_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class SecondJudgment:
    """Shares, 0 to 1; one half is chance."""

    two_choice: float
    """How often, of two icons, the right one is more like a feature's top images."""
    null_two_choice: float
    """The same after the icons are shuffled."""
    nearest_two_choice: float
    """The same with the image nearest to the icon's embedding in each icon's place."""
    auc: float
    """How often an icon is more like one of its own top images than like another feature's."""
    null_auc: float


def judge_again(
    job: Job,
    *,
    features: NDArray[np.int64],
    moved: NDArray[np.float32],
    webps: Sequence[bytes],
    nearest: NDArray[np.int64],
) -> SecondJudgment | None:
    """Return what the second encoder says of some icons; None where there is no such encoder.

    Args:
        job: The icons stage's.
        features: (icon,) numbers, ascending.
        moved: (icon,) how far each moved the embedding, by which rivals are matched.
        webps: (icon,) as they are published.
        nearest: (icon,) an image in place of each.
    """
    if "second_encoder" not in job.inputs or len(features) < 2:
        return None
    tops = top_images(job, features)
    wanted = np.unique(np.concatenate([*tops, nearest]))
    job.progress.say(f"  second encoder: {len(features):,} icons beside {len(wanted):,} images")
    every = _see(job, [*webps, *_thumbnails(job, wanted)])
    seen, images = every[: len(webps)], every[len(webps) :]
    rivals = rivals_of(moved)
    shown = [images[np.searchsorted(wanted, top)] for top in tops]
    stand_ins = images[np.searchsorted(wanted, nearest)]
    given_round = seen[partners(len(seen))]
    return SecondJudgment(
        two_choice=two_choice(seen, shown, rivals),
        null_two_choice=two_choice(given_round, shown, rivals),
        nearest_two_choice=two_choice(stand_ins, shown, rivals),
        auc=auc(seen, shown, rivals),
        null_auc=auc(given_round, shown, rivals),
    )


def top_images(job: Job, features: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the strongest images of each feature, as many as are compared."""
    table = read_parquet(job.inputs["scan"] / "top_images.parquet", ["feature", "image", "rank"])
    feature, image = table["feature"].to_numpy(), table["image"].to_numpy()
    kept = table["rank"].to_numpy() < job.settings.second_images
    feature, image = feature[kept], image[kept]
    return [image[feature == number] for number in features]


def rivals_of(moved: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return for each icon another one: the next in how far it moved the embedding."""
    order = np.argsort(moved, kind="stable")
    rival = np.empty(len(order), np.int64)
    rival[order] = np.roll(order, -1)
    return rival


def two_choice(
    icons: NDArray[np.float32],
    shown: Sequence[NDArray[np.float32]],
    rivals: NDArray[np.int64],
) -> float:
    """Return how often, of its own and the rival's icon, a feature's own is more like its images.

    Args:
        icons: (feature, d) of the icons.
        shown: (image, d) of each feature's top images.
        rivals: (feature,) whose icon is the other choice.
    """
    seen, images = _directions(icons, shown)
    right = []
    for i, mine in enumerate(images):
        own, other = (seen[[i, rivals[i]]] @ mine.T).mean(axis=1)
        right.append(1.0 if own > other else 0.5 if own == other else 0.0)
    return float(np.mean(right))


def auc(
    icons: NDArray[np.float32],
    shown: Sequence[NDArray[np.float32]],
    rivals: NDArray[np.int64],
) -> float:
    """Return how often an icon is more like one of its own images than like one of the rival's."""
    seen, images = _directions(icons, shown)
    shares = []
    for i, mine in enumerate(images):
        own, other = seen[i] @ mine.T, seen[i] @ images[rivals[i]].T
        above = (own[:, None] > other).mean() + 0.5 * (own[:, None] == other).mean()
        shares.append(above)
    return float(np.mean(shares))


def _directions(
    icons: NDArray[np.float32], shown: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return unit vectors, each kind around its own mean: icons look unlike photographs as such."""
    mean = np.concatenate(list(shown)).mean(axis=0)
    return _unit(icons - icons.mean(axis=0)), [_unit(images - mean) for images in shown]


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    found: NDArray[np.float32] = x / lengths
    return found


def _see(job: Job, webps: Sequence[bytes]) -> NDArray[np.float32]:
    """Return (picture, width) what the second encoder makes of WebP pictures."""
    take_encoder = partial(_take_encoder, job.inputs["second_encoder"])
    look = partial(_look, layer=job.settings.second_layer)
    tasks = [webps[start : start + SEEN_AT_ONCE] for start in range(0, len(webps), SEEN_AT_ONCE)]
    found = []
    job.progress.start("second encoder", total=len(webps), unit="pictures")
    for seen in in_workers(devices_of(job.runtime), take_encoder, look, tasks):
        found.append(seen)
        job.progress.advance(len(seen))
    job.progress.stop()
    return np.concatenate(found)


def _take_encoder(folder: Path, device: str) -> Encoder:
    return load_encoder(folder, device=device)


def _look(encoder: Encoder, webps: Sequence[bytes], layer: str) -> NDArray[np.float32]:
    look = trunk_features if layer == "trunk" else embed_images
    with one_thread():
        return look(encoder, [_decode(webp) for webp in webps])


def _decode(webp: bytes) -> Image.Image:
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
        return picture.convert("RGB")


def _thumbnails(job: Job, images: NDArray[np.int64]) -> list[bytes]:
    """Return the thumbnails of images, which are ascending."""
    found: dict[int, bytes] = {}
    for part in sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet")):
        table = read_parquet(part)
        numbers = table["image"].to_numpy()
        rows = np.flatnonzero(np.isin(numbers, images))
        found |= zip(numbers[rows].tolist(), table["webp"].take(rows).to_pylist(), strict=True)
    return [found[image] for image in images.tolist()]
