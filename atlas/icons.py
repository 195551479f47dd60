"""The icons stage: one picture for every live feature, drawn and then encoded again.

A part is a block of features: their icons and what the SAE finds in each of them. Sensitive
features get none. Writes icons.parquet (feature, webp and its round trip) and icons.json.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.activations import FeatureActivations
from atlas.checkpoints import load_sae
from atlas.clip import Encoder, embed_images, load_encoder
from atlas.errors import ConfigError, InputError
from atlas.files import read_parquet, write_json, write_parquet
from atlas.records import SENSITIVE_SHARE
from atlas.renderers import Renderer, open_renderer
from atlas.renderers.drawing import Drawing
from atlas.roundtrip import MOST_RANK, Fired, Natural, RoundTrips, judge, partners, swap
from atlas.sae import SAE, make_encoder
from atlas.stage import Job
from atlas.steering import Template, icon_embeddings, make_template, set_strengths

if TYPE_CHECKING:
    import pyarrow as pa

PLAIN, GRAY = (255, 255, 255), (127, 127, 127)
"""The template where none is named; the picture whose embedding is the pipeline's negative."""
LEAST_CONTRAST = 1.0
"""Standard deviation of an icon's values, 0 to 255: below it the icon is one flat color."""
ENCODED_AT_ONCE = 4096
TEMPLATE = -1
"""In place of a feature's number: the template with no feature set."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Everything that icons are drawn with."""

    sae: SAE
    template: Template
    negative: NDArray[np.float32]
    """(d,) the embedding of the mean-gray picture."""
    renderer: Renderer
    encoder: Encoder
    drawing: Drawing
    spent_s: list[float]
    """Seconds inside the decoder and the encoder, one entry a call."""


def run(job: Job) -> None:
    """Draw the icons that aren't drawn yet, judge all, and write the tables.

    Raises:
        ConfigError: No encoder is named, or the decoder doesn't fit the SAE.
        InputError: An icon comes out as one flat color.
    """
    studio = open_studio(job)
    table = read_parquet(job.inputs["scan"] / "features.parquet")
    features = features_to_draw(job, table)
    largest = table["max"].to_numpy()[features].astype(np.float32)
    settings = job.settings
    strengths = set_strengths(
        studio.sae, features, largest, settings.strength, settings.strength_unit
    )
    wanted = icon_embeddings(studio.sae, studio.template, features, strengths)
    moved = np.linalg.norm(wanted - studio.template.base, axis=1)
    _say_strengths(job, moved, strengths, largest, wanted)
    job.progress.start("icons", total=len(features), unit="icons")
    began = time.perf_counter()
    bare = draw_block(job, studio, np.array([TEMPLATE]), np.zeros(1, np.float32))
    blocks = [
        draw_block(job, studio, features[start:stop], strengths[start:stop])
        for start in range(0, len(features), settings.block_features)
        for stop in [min(start + settings.block_features, len(features))]
    ]
    job.progress.stop()
    if studio.spent_s:
        share = sum(studio.spent_s) / (time.perf_counter() - began)
        job.progress.say(f"  {share:.1%} of the time inside decoder and encoder")
    fired, natural = _fired(blocks, features), _natural(job, table, features)
    on_template = _on_template(bare, features)
    trips = judge(fired, on_template, natural, moved)
    swapped = judge(
        swap(fired, len(features)), on_template, natural, moved[partners(len(features))]
    )
    columns = {
        "strength": strengths,
        "moved": moved.astype(np.float32),
        "on_template": on_template,
        "on_intended": _on_intended(studio.sae, features, wanted),
        "percentile": _percentiles(job, features, trips.activation),
    }
    write_parquet(job.out_dir / "icons.parquet", _icon_table(blocks, features, columns, trips))
    write_json(job.out_dir / "icons.json", {"figures": figures(trips, swapped)})


def open_studio(job: Job) -> Studio:
    """Open SAE, encoder and decoder, and take the template's codes."""
    settings = job.settings
    if "encoder" not in job.inputs:
        raise ConfigError(
            "icons are encoded again once drawn, and no encoder is named; set embed.encoder"
        )
    device = job.runtime.device
    sae = load_sae(job.inputs["sae"])
    encoder = load_encoder(job.inputs["encoder"], device=device)
    renderer = open_renderer(
        settings.renderer,
        job.inputs["decoder"],
        sae.width,
        device=device,
        dtype=settings.precision,
    )
    side = (encoder.image_px, encoder.image_px)
    neutral = Image.new("RGB", side, PLAIN)
    if "template" in job.inputs:
        with Image.open(job.inputs["template"], formats=("PNG", "JPEG", "WEBP")) as picture:
            neutral = picture.convert("RGB")
    found, gray = embed_images(encoder, [neutral, Image.new("RGB", side, GRAY)])
    template = make_template(sae, found, settings.template_scale)
    drawing = Drawing(settings.px, settings.steps, settings.guidance, settings.seed)
    return Studio(sae, template, gray, renderer, encoder, drawing, [])


def features_to_draw(job: Job, table: pa.Table) -> NDArray[np.int64]:
    """Return the numbers of the live features that aren't sensitive, ascending."""
    top = read_parquet(job.inputs["scan"] / "top_images.parquet", ["feature", "image"])
    images = read_parquet(job.inputs["embed"] / "images.parquet", ["sensitive"])
    feature = top["feature"].to_numpy()
    hidden = images["sensitive"].to_numpy()[top["image"].to_numpy()].astype(np.float64)
    n = len(table)
    kept = np.bincount(feature, minlength=n)
    share = np.bincount(feature, weights=hidden, minlength=n) / np.maximum(kept, 1)
    return np.flatnonzero(table["alive"].to_numpy() & (share < SENSITIVE_SHARE))


def draw_block(
    job: Job, studio: Studio, features: NDArray[np.int64], strengths: NDArray[np.float32]
) -> pa.Table:
    """Return a block: feature, webp, and the features that fire on each icon, drawn if need be."""

    def make(path: Path) -> None:
        wanted = studio.template.base[None]
        if features[0] != TEMPLATE:
            wanted = icon_embeddings(studio.sae, studio.template, features, strengths)
        began = time.perf_counter()
        pictures = studio.renderer.draw(wanted, studio.negative, studio.drawing)
        studio.spent_s.append(time.perf_counter() - began)
        for feature, picture in zip(features.tolist(), pictures, strict=True):
            _refuse_flat(feature, picture)
        write_parquet(path, _block_table(job, studio, features, pictures))

    key = {
        "features": features.tolist(),
        "settings": job.settings.model_dump(mode="json", exclude=job.settings.places()),
        "inputs": {
            name: job.digests[name]
            for name in ("sae", "encoder", "decoder", "template")
            if name in job.digests
        },
        "strengths": strengths.tolist(),
    }
    name = f"block-{features[0]:06d}" if features[0] >= 0 else "template"
    found = read_parquet(job.part(name, ".parquet", key, make))
    job.progress.advance(len(features))
    return found


def _refuse_flat(feature: int, picture: Image.Image) -> None:
    if np.asarray(picture, np.float32).std() >= LEAST_CONTRAST or feature == TEMPLATE:
        return
    raise InputError(
        f"the icon of feature {feature} is one flat color, which is what an embedding that is not "
        "finite gives; try icons.precision = 'float32' or a lower icons.strength"
    )


def _block_table(
    job: Job, studio: Studio, features: NDArray[np.int64], pictures: list[Image.Image]
) -> pa.Table:
    import pyarrow as pa

    began = time.perf_counter()
    vectors = embed_images(studio.encoder, pictures)
    studio.spent_s.append(time.perf_counter() - began)
    found = make_encoder(studio.sae).fire(vectors)
    bounds = np.searchsorted(found.image, np.arange(len(pictures) + 1))
    spans = [slice(*bounds[i : i + 2]) for i in range(len(pictures))]
    return pa.table(
        {
            "feature": pa.array(features, pa.int32()),
            "webp": pa.array([_webp(p, job.settings.quality) for p in pictures], pa.binary()),
            "fired": pa.array([found.feature[s] for s in spans], pa.list_(pa.int32())),
            "activation": pa.array([found.activation[s] for s in spans], pa.list_(pa.float32())),
        }
    )


def _webp(picture: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()


def _fired(blocks: list[pa.Table], features: NDArray[np.int64]) -> Fired:
    """Return what the icons activate among the drawn features, by place."""
    icon, feature, activation = [], [], []
    first = 0
    for block in blocks:
        lists = block["fired"].combine_chunks()
        counts = np.diff(lists.offsets.to_numpy())
        icon.append(first + np.repeat(np.arange(len(block)), counts))
        feature.append(lists.values.to_numpy().astype(np.int64))
        activation.append(block["activation"].combine_chunks().values.to_numpy())
        first += len(block)
    numbers = np.concatenate(feature) if feature else np.zeros(0, np.int64)
    drawn = np.isin(numbers, features)
    return Fired(
        np.concatenate(icon)[drawn] if icon else numbers,
        np.searchsorted(features, numbers[drawn]),
        np.concatenate(activation)[drawn] if activation else np.zeros(0, np.float32),
    )


def _on_template(bare: pa.Table, features: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each feature's activation on the drawn template without a feature set."""
    row = bare.to_pylist()[0]
    known = dict(zip(row["fired"], row["activation"], strict=True))
    return np.array([known.get(feature, 0.0) for feature in features.tolist()], np.float32)


def _on_intended(
    sae: SAE, features: NDArray[np.int64], wanted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each feature's activation on the embedding that its icon was to have."""
    encoder, found = make_encoder(sae), np.zeros(len(features), np.float32)
    for start in range(0, len(features), ENCODED_AT_ONCE):
        fired = encoder.fire(wanted[start : start + ENCODED_AT_ONCE])
        mine = fired.feature == features[start + fired.image]
        found[start + fired.image[mine]] = fired.activation[mine]
    return found


def _natural(job: Job, table: pa.Table, features: NDArray[np.int64]) -> Natural:
    firings = FeatureActivations(job.inputs["scan"])
    q99 = [np.quantile(firings[int(feature)][1], 0.99) for feature in features]
    median = table["median"].to_numpy()[features].astype(np.float32)
    return Natural(median, np.array(q99, np.float32))


def _percentiles(
    job: Job, features: NDArray[np.int64], activation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the share of each feature's own firings that its icon exceeds, 0 to 1."""
    firings = FeatureActivations(job.inputs["scan"])
    found = [
        float((firings[int(feature)][1] < own).mean())
        for feature, own in zip(features, activation, strict=True)
    ]
    return np.array(found, np.float32)


def _icon_table(
    blocks: list[pa.Table],
    features: NDArray[np.int64],
    columns: dict[str, NDArray[np.float32]],
    trips: RoundTrips,
) -> pa.Table:
    import pyarrow as pa

    webps = [webp for block in blocks for webp in block["webp"].to_pylist()]
    return pa.table(
        {
            "feature": pa.array(features, pa.int32()),
            "webp": pa.array(webps, pa.binary()),
            **columns,
            "on_icon": trips.activation,
            "icon_rank": trips.rank.astype(np.int32),
            "p": trips.p,
            "passes": trips.passes,
            "verdict": pa.array(trips.verdict.tolist(), pa.string()),
        }
    )


def figures(trips: RoundTrips, swapped: RoundTrips) -> list[dict[str, Any]]:
    """Return the round trip's figures for the report, each beside another feature's icon's."""
    n = len(trips.verdict)
    if not n:
        return []
    note = "the same encoder conditions and judges: never proof that an icon shows its feature"
    rows = [
        ("icons_round_trip_shown", *((t.verdict == "shown").mean() for t in (trips, swapped))),
        (
            "icons_feature_among_ten_strongest",
            *((t.rank <= MOST_RANK).mean() for t in (trips, swapped)),
        ),
        ("icons_feature_fires", *((t.activation > 0).mean() for t in (trips, swapped))),
    ]
    return [
        {
            "name": name,
            "value": float(value),
            "unit": "share",
            "n": n,
            "null_value": float(null),
            "null_name": "each feature judged by another one's icon",
            "command": "atlas build CONFIG icons",
            "note": note,
        }
        for name, value, null in rows
    ]


def _say_strengths(
    job: Job,
    moved: NDArray[np.float32],
    strengths: NDArray[np.float32],
    largest: NDArray[np.float32],
    wanted: NDArray[np.float32],
) -> None:
    """Print what the strength means for this SAE."""
    norms = np.sort(
        read_parquet(job.inputs["scan"] / "images.parquet", ["norm"])["norm"].to_numpy()
    )
    lengths = np.linalg.norm(wanted, axis=1)
    place = np.searchsorted(norms, np.median(lengths)) / max(len(norms), 1)
    job.progress.say(
        f"  strength: median {np.median(strengths):.3g}, {np.median(strengths / largest):.2g} times the largest "
        f"activation; adds a length of {np.median(moved):.3g}; the embedding's {np.median(lengths):.3g} "
        f"is longer than {place:.0%} of the images'"
    )
