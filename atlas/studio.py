"""Where pictures of embeddings are made: draw, encode again, keep; used by icons and concepts.

A sheet is what is drawn together: the unit of resuming, one part of a stage. While one sheet is
in the decoder, the one before it is compressed and written in the background.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.checkpoints import load_sae
from atlas.clip import Encoder, embed_images, load_encoder, read_encoder_note
from atlas.config import IconsSettings
from atlas.errors import ConfigError, InputError
from atlas.files import read_parquet, write_parquet
from atlas.renderers import Renderer, open_renderer
from atlas.renderers.drawing import Drawing
from atlas.sae import SAE, Firings, make_encoder
from atlas.stage import Job
from atlas.steering import Template, make_template

if TYPE_CHECKING:
    import pyarrow as pa

PLAIN, GRAY = (255, 255, 255), (127, 127, 127)
"""The template where none is named; the picture whose embedding is the pipeline's negative."""
LEAST_CONTRAST = 1.0
"""Standard deviation of a picture's values, 0 to 255: below it the picture is one flat color."""
DECIDING = ("renderer", "px", "steps", "guidance", "precision", "compiled", "quality")
"""The settings that decide how a picture looks, besides the embedding and the seed."""
INPUTS = ("sae", "encoder", "decoder")
"""The inputs that decide how a picture looks and what is found in it."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Everything that pictures are drawn with."""

    sae: SAE
    template: Template
    negative: NDArray[np.float32]
    """(d,) the embedding of the mean-gray picture."""
    renderer: Renderer
    encoder: Encoder
    drawing: Drawing
    settings: IconsSettings
    clock: Clock


@dataclass(slots=True)
class Clock:
    """Where the time goes."""

    models_s: float = 0.0
    """Inside the decoder and the encoder."""
    all_s: float = 0.0
    drawn: int = 0
    """Pictures."""

    def line(self) -> str:
        """Return what to print at the end; nothing if nothing was drawn."""
        if not self.drawn:
            return ""
        share = self.models_s / self.all_s
        return f"{self.drawn:,} pictures drawn, {self.drawn / self.all_s:.1f}/s, {share:.1%} of the time inside decoder and encoder"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Pictures that are drawn together."""

    name: str
    """Of the part that keeps them."""
    embeddings: NDArray[np.float32]
    """(picture, d)."""
    labels: tuple[str, ...]
    """What each picture is, for the error that names it."""
    seed: int | None = None
    """Of the noise; none for the drawing's own."""


def open_studio(settings: IconsSettings, inputs: Mapping[str, Path], device: str) -> Studio:
    """Open SAE, encoder and decoder, and take the template's codes.

    Args:
        settings: How to draw.
        inputs: Folders or files by name: sae, encoder, decoder and, if one is chosen, template.
        device: Torch device.

    Raises:
        ConfigError: No encoder is named, or the decoder doesn't fit the SAE.
        MissingError: A package, a folder or the template is not there.
    """
    if "encoder" not in inputs:
        raise ConfigError(
            "icons are encoded again once drawn, and no encoder is named; set embed.encoder"
        )
    sae = load_sae(inputs["sae"])
    encoder = load_encoder(inputs["encoder"], device=device)
    renderer = open_renderer(
        settings.renderer,
        inputs["decoder"],
        sae.width,
        encoder=str(read_encoder_note(inputs["encoder"]).get("id", "")),
        device=device,
        dtype=settings.precision,
        compiled=settings.compiled,
    )
    found, gray = embed_images(
        encoder,
        [neutral_picture(encoder, inputs.get("template")), _plain(encoder, GRAY)],
    )
    template = make_template(sae, found, settings.template_scale)
    drawing = Drawing(settings.px, settings.steps, settings.guidance, settings.seed)
    return Studio(sae, template, gray, renderer, encoder, drawing, settings, Clock())


def _plain(encoder: Encoder, color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (encoder.image_px, encoder.image_px), color)


def neutral_picture(encoder: Encoder, path: Path | None) -> Image.Image:
    """Return the template's picture, plain white where none is chosen.

    Raises:
        InputError: The file is no picture.
    """
    if path is None:
        return _plain(encoder, PLAIN)
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise InputError(
            f"cannot read the picture {path}: {error}; name a PNG, JPEG or WebP"
        ) from error


def draw(studio: Studio, sheet: Sheet) -> list[Image.Image]:
    """Return the pictures of a sheet.

    Raises:
        InputError: An embedding is not finite, or a picture comes out as one flat color.
    """
    drawing = studio.drawing
    if sheet.seed is not None:
        drawing = replace(drawing, seed=sheet.seed)
    finite = np.isfinite(sheet.embeddings).all(axis=1)
    if not finite.all():
        label = sheet.labels[int(np.argmin(finite))]
        raise InputError(
            f"the embedding of {label} is not finite; look at its row of the SAE's decoder"
        )
    began = time.perf_counter()
    pictures = studio.renderer.draw(sheet.embeddings, studio.negative, drawing)
    studio.clock.models_s += time.perf_counter() - began
    studio.clock.drawn += len(pictures)
    for label, picture in zip(sheet.labels, pictures, strict=True):
        _refuse_flat(label, picture)
    return pictures


def _refuse_flat(label: str, picture: Image.Image) -> None:
    # The bare template may well be an empty page.
    if np.asarray(picture, np.float32).std() < LEAST_CONTRAST and label != TEMPLATE:
        raise InputError(
            f"{label} is drawn as one flat color, which is what an embedding that is not "
            "finite gives; try icons.precision = 'float32' or a lower icons.strength"
        )


TEMPLATE = "the template"
"""Label of the template with no feature set."""


def encode_again(studio: Studio, pictures: Sequence[Image.Image]) -> Firings:
    """Return what the SAE finds in pictures."""
    began = time.perf_counter()
    vectors = embed_images(studio.encoder, pictures)
    studio.clock.models_s += time.perf_counter() - began
    return make_encoder(studio.sae).fire(vectors)


@dataclass(slots=True)
class _Desk:
    """Sheets on their way to the disk."""

    job: Job
    studio: Studio
    pool: ThreadPoolExecutor
    waiting: list[Future[Path]] = field(default_factory=list)


def draw_sheets(job: Job, studio: Studio, sheets: Sequence[Sheet]) -> list[pa.Table]:
    """Return a table for each sheet, drawn if no earlier run has: webp, fired, activation.

    The columns fired and activation list the features that fire on the picture once it is
    encoded again, before it was compressed.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        desk = _Desk(job, studio, pool)
        for sheet in sheets:
            desk.waiting.append(_begin(desk, sheet))
            if len(desk.waiting) > 1:  # a full disk must not wait for the last sheet
                desk.waiting[-2].result()
            job.progress.advance(len(sheet.labels))
        paths = [done.result() for done in desk.waiting]
    studio.clock.all_s += time.perf_counter() - began
    return [read_parquet(path) for path in paths]


def _begin(desk: _Desk, sheet: Sheet) -> Future[Path]:
    job, key = desk.job, sheet_key(desk.job, desk.studio, sheet)
    if job.has_part(sheet.name, ".parquet", key):
        return desk.pool.submit(job.part, sheet.name, ".parquet", key, _never)
    pictures = draw(desk.studio, sheet)
    fired = encode_again(desk.studio, pictures)

    def write(path: Path) -> None:
        write_parquet(path, _table(pictures, fired, desk.studio.settings.quality))

    return desk.pool.submit(job.part, sheet.name, ".parquet", key, write)


def _never(path: Path) -> None:
    raise AssertionError(path)


def sheet_key(job: Job, studio: Studio, sheet: Sheet) -> dict[str, Any]:
    """Return all that decides a sheet's bytes."""
    return {
        "embeddings": hashlib.sha256(np.ascontiguousarray(sheet.embeddings).tobytes()).hexdigest(),
        "negative": hashlib.sha256(studio.negative.tobytes()).hexdigest(),
        "seed": studio.drawing.seed if sheet.seed is None else sheet.seed,
        "settings": {name: getattr(studio.settings, name) for name in DECIDING},
        "inputs": {name: job.digests[name] for name in INPUTS if name in job.digests},
    }


def _table(pictures: Sequence[Image.Image], fired: Firings, quality: int) -> pa.Table:
    import pyarrow as pa

    bounds = np.searchsorted(fired.image, np.arange(len(pictures) + 1))
    spans = [slice(*bounds[i : i + 2]) for i in range(len(pictures))]
    return pa.table(
        {
            "webp": pa.array([webp(picture, quality) for picture in pictures], pa.binary()),
            "fired": pa.array([fired.feature[s] for s in spans], pa.list_(pa.int32())),
            "activation": pa.array([fired.activation[s] for s in spans], pa.list_(pa.float32())),
        }
    )


def webp(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as WebP."""
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()
