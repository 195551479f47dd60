"""The where stage: which part of a top image a feature responds to, found by covering patches of it.

An embedding is of a whole picture and has no places. So a patch of the picture's mean color is
moved over it, each covered picture is encoded again, and the activation that is lost tells how
much the covered place matters. Anything covered disturbs an encoder: each map's strongest place
is therefore covered once more, in plain gray, and so is the strongest place of another feature
that fires on the same picture. What is lost there is the null.

Pictures are the atlas's thumbnails, so activations differ from those of the scan.
Writes where.parquet and where.json.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.base.picture_store import PictureStore, open_pictures
from atlas.inputs.encoder import embed_levels, fit_of, load_encoder
from atlas.run.stage import Job
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import make_encoder

if TYPE_CHECKING:
    import pyarrow as pa

CELLS = 8
"""Of a map, along each side."""
PATCH = 2
"""Cells that are covered at once, along each side."""
GRAY = 128

Activations = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(picture, height, width, 3) levels -> (picture, feature)."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spot:
    """What covering shows of one feature on one picture."""

    shown: float
    """Activation on the picture, nothing covered; above 0."""
    lost: NDArray[np.float32]
    """(CELLS, CELLS) share of it that is lost where a cell is covered, mean over the patches
    that cover it; below 0 where it grows."""
    other: int
    """The feature that the null is taken from; -1 where no other fires."""
    lost_gray: float
    """Share lost under gray at this map's strongest place."""
    lost_gray_null: float
    """Share lost under gray at the strongest place of the other feature; nan without one."""


def edges(px: int) -> NDArray[np.int64]:
    """Return (CELLS + 1,) where cells begin and end along a side of so many pixels."""
    return np.round(np.linspace(0, px, CELLS + 1)).astype(np.int64)


def cover(levels: NDArray[np.uint8], row: int, column: int, color: Any) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) with the patch whose first cell is given covered."""
    down, across = edges(levels.shape[0]), edges(levels.shape[1])
    covered = levels.copy()
    covered[down[row] : down[row + PATCH], across[column] : across[column + PATCH]] = color
    return covered


PLACES = [(r, c) for r in range(CELLS - PATCH + 1) for c in range(CELLS - PATCH + 1)]
"""Every place of the patch, by its first cell."""


def look(
    levels: NDArray[np.uint8], feature: int, draw: np.random.Generator, activations: Activations
) -> Spot | None:
    """Return where a feature looks on a picture; None where it does not fire on it.

    Args:
        levels: (height, width, 3).
        feature: Its number.
        draw: Of the lot of the other feature.
        activations: The encoder and the SAE; called with all covered pictures at once, and once
            more with two.
    """
    mean = levels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    covered = [cover(levels, row, column, mean) for row, column in PLACES]
    found = activations(np.stack([levels, *covered]))
    whole, plain = found[0], found[1:]
    if whole[feature] <= 0:
        return None
    firing = np.flatnonzero(whole > 0)
    others = firing[firing != feature]
    other = int(draw.choice(others)) if len(others) else -1
    strongest = [PLACES[int(plain[:, one].argmin())] for one in (feature, other)]
    gray = np.stack([cover(levels, row, column, GRAY) for row, column in strongest])
    gone = 1 - activations(gray)[:, feature] / whole[feature]
    return Spot(
        shown=float(whole[feature]),
        lost=spread(1 - plain[:, feature] / whole[feature]),
        other=other,
        lost_gray=float(gone[0]),
        lost_gray_null=float(gone[1]) if other >= 0 else float("nan"),
    )


def spread(lost: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (CELLS, CELLS) for each cell the mean of what is lost by the patches that cover it."""
    total, times = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), value in zip(PLACES, lost.tolist(), strict=True):
        patch = np.s_[row : row + PATCH, column : column + PATCH]
        total[patch] += value
        times[patch] += 1
    return (total / times).astype(np.float32)


def run(job: Job) -> None:
    """Write the maps, a feature's at a time, and what they say on the whole."""
    chosen = choose(job)
    wanted = {image for images in chosen.values() for image, _ in images}
    parts = sorted((job.inputs["embed"] / "parts").glob("thumbnails-*.parquet"))
    activations: Activations | None = None
    job.progress.start("where", total=len(chosen), unit="features")
    tables = []
    with open_pictures(parts, "image", wanted) as small:
        for feature, images in chosen.items():

            def make(
                path: Path, feature: int = feature, images: list[tuple[int, float]] = images
            ) -> None:
                nonlocal activations
                activations = activations or open_activations(job)
                write_parquet(path, _table(_rows(job, feature, images, small, activations)))

            key = {name: job.digests[name] for name in ("embed", "sae", "encoder")}
            whole_key = {**key, "images": images, "seed": job.settings.seed}
            tables.append(read_parquet(job.part(f"feature-{feature}", ".parquet", whole_key, make)))
            job.progress.advance()
    job.progress.stop()
    import pyarrow as pa

    table = pa.concat_tables([_table([]), *tables])
    write_parquet(job.out_dir / "where.parquet", table)
    write_json(job.out_dir / "where.json", {"figures": figures(table)})


def choose(job: Job) -> dict[int, list[tuple[int, float]]]:
    """Return the sampled features, each with its strongest (image, activation).

    Sensitive images, and those that repeat another one, are left out.
    """
    images = read_parquet(job.inputs["embed"] / "images.parquet", ["sensitive", "duplicate_of"])
    left_out = images["sensitive"].to_numpy() | images["duplicate_of"].is_valid().to_numpy()
    top = read_parquet(
        job.inputs["scan"] / "top_images.parquet", ["feature", "rank", "image", "activation"]
    )
    numbers, image = top["feature"].to_numpy(), top["image"].to_numpy()
    live = np.unique(numbers)
    drawn = np.random.default_rng(job.settings.seed).permutation(live)[: job.settings.features]
    kept = ~left_out[image]
    held: dict[int, list[tuple[int, float]]] = {}
    for feature in np.sort(drawn).tolist():
        mine = kept & (numbers == feature)
        pairs = zip(image[mine].tolist(), top["activation"].to_numpy()[mine].tolist(), strict=True)
        held[feature] = list(pairs)[: job.settings.images]
    return held


def open_activations(job: Job) -> Activations:
    """Open the encoder and the SAE."""
    encoder = load_encoder(job.inputs["encoder"], device=job.runtime.device)
    sae = load_sae(job.inputs["sae"])
    reader, fit = make_encoder(sae, job.runtime.device), fit_of(encoder)

    def activations(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        fitted = np.stack([fit(Image.fromarray(one, "RGB")) for one in levels])
        found = reader.fire(embed_levels(encoder, fitted))
        dense = np.zeros((len(levels), sae.n_features), np.float32)
        dense[found.image, found.feature] = found.activation
        return dense

    return activations


def _rows(
    job: Job,
    feature: int,
    images: list[tuple[int, float]],
    small: PictureStore,
    activations: Activations,
) -> list[Row]:
    rows: list[Row] = []
    for image, activation in images:
        if image not in small:
            continue
        with Image.open(io.BytesIO(small[image]), formats=("WEBP",)) as opened:
            levels = np.asarray(opened.convert("RGB"), np.uint8)
        draw = np.random.default_rng([job.settings.seed, feature, image])
        spot = look(levels, feature, draw, activations)
        if spot is None:
            continue
        rows.append(
            {
                "feature": feature,
                "rank": len(rows),
                "image": image,
                "activation": activation,
                "on_thumbnail": spot.shown,
                "lost": spot.lost.ravel().tolist(),
                "lost_gray": spot.lost_gray,
                "other": None if spot.other < 0 else spot.other,
                "lost_gray_null": None if spot.other < 0 else spot.lost_gray_null,
            }
        )
    return rows


def _table(rows: list[Row]) -> pa.Table:
    import pyarrow as pa

    single = pa.float32()
    kinds = {
        "feature": pa.int32(), "rank": pa.int32(), "image": pa.int64(), "activation": single,
        "on_thumbnail": single, "lost": pa.list_(single), "lost_gray": single,
        "other": pa.int32(), "lost_gray_null": single,
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema([*kinds.items()]))


def figures(table: pa.Table) -> list[Row]:
    """Return the rows that the maps add to the report."""
    judged = [row for row in table.to_pylist() if row["other"] is not None]
    if not judged:
        return []
    own, null = (
        float(np.median([row[name] for row in judged])) for name in ("lost_gray", "lost_gray_null")
    )
    return [
        {
            "name": "where_lost",
            "value": own,
            "unit": "share",
            "n": len(judged),
            "null_value": null,
            "null_name": "where another feature of the same picture looks",
            "command": "atlas report",
            "note": "median share of the activation that is lost where the map of a top image is strongest, covered in another color than the map was made with",
        }
    ]
