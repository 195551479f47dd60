"""The where stage: which part of a top image a feature responds to, found by covering patches of it.

An embedding describes a whole picture and says nothing about places. A patch of the picture's
mean color is therefore moved over it, each covered picture is encoded again, and the activation
that is lost shows how much the covered place matters. Covering anything disturbs the encoder,
so each map's strongest place is covered once more, in plain gray, and so is the strongest place
of another feature that fires on the same picture. What is lost at the latter is the null.

Pictures are the atlas's thumbnails, so activations differ from those of the scan.
Writes where.parquet and where.json.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.base.picture_store import PictureStore, open_pictures
from atlas.icons.covering import Activations, map_feature
from atlas.inputs.encoder import embed_levels, fit_of, load_encoder
from atlas.run.stage import Job
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import make_encoder

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def run(job: Job) -> None:
    """Map each chosen feature on its top images, a part a feature; write the table and the figures."""
    chosen = choose_images(job)
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
                write_parquet(
                    path, where_table(_map_images(job, feature, images, small, activations))
                )

            key = {name: job.digests[name] for name in ("embed", "sae", "encoder")}
            whole_key = {**key, "images": images, "seed": job.settings.seed}
            tables.append(read_parquet(job.part(f"feature-{feature}", ".parquet", whole_key, make)))
            job.progress.advance()
    job.progress.stop()
    import pyarrow as pa

    table = pa.concat_tables([where_table([]), *tables])
    write_parquet(job.out_dir / "where.parquet", table)
    write_json(job.out_dir / "where.json", {"figures": figures(table)})


def choose_images(job: Job) -> dict[int, list[tuple[int, float]]]:
    """Return a random sample of live features, each with its strongest (image, activation).

    Sensitive images and duplicates are left out.
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
    chosen: dict[int, list[tuple[int, float]]] = {}
    for feature in np.sort(drawn).tolist():
        mine = kept & (numbers == feature)
        pairs = zip(image[mine].tolist(), top["activation"].to_numpy()[mine].tolist(), strict=True)
        chosen[feature] = list(pairs)[: job.settings.images]
    return chosen


def open_activations(job: Job) -> Activations:
    """Open the encoder and the SAE; return the function from pictures to activations."""
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


def _map_images(
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
        # A generator for each map: its null is the same whichever other maps are made.
        random = np.random.default_rng([job.settings.seed, feature, image])
        found = map_feature(levels, feature, random, activations)
        if found is None:
            continue
        rows.append(
            {
                "feature": feature,
                "rank": len(rows),
                "image": image,
                "activation": activation,
                "on_thumbnail": found.shown,
                "lost": found.lost.ravel().tolist(),
                "lost_gray": found.lost_gray,
                "other": None if found.other < 0 else found.other,
                "lost_gray_null": None if found.other < 0 else found.lost_gray_null,
            }
        )
    return rows


def where_table(rows: list[Row]) -> pa.Table:
    """Return the maps as a table, with the same columns when there are none."""
    import pyarrow as pa

    single = pa.float32()
    kinds = {
        "feature": pa.int32(), "rank": pa.int32(), "image": pa.int64(), "activation": single,
        "on_thumbnail": single, "lost": pa.list_(single), "lost_gray": single,
        "other": pa.int32(), "lost_gray_null": single,
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema([*kinds.items()]))


def figures(table: pa.Table) -> list[Row]:
    """Return the figures that the maps add to the report; none without a null."""
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
