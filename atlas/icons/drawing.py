"""Draw pictures of embeddings and encode them again, sheet by sheet; used by icons and concepts.

A sheet is what is drawn together: the unit of resuming, one part of a stage. Worker processes,
one a card or a core, draw sheets and encode them again; this process meanwhile compresses and
writes those that are done. A process on the CPU computes with one thread, so that neither their
number nor that of the threads changes a byte.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import read_parquet, write_parquet
from atlas.icons.decoder import Renderer, open_renderer
from atlas.icons.renderers.drawing import Drawing
from atlas.icons.template import READY_SUFFIXES, Template, make_template, read_embedding
from atlas.inputs.encoder import Encoder, embed_images, load_encoder, read_encoder_note
from atlas.inputs.picture import read_picture
from atlas.run.engines import Report, cores, help_until_done
from atlas.run.stage import Job
from atlas.run.workers import devices_of, in_workers, one_thread
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import Encoder as SparseEncoder
from atlas.sae.encoding import Firings, make_encoder
from atlas.sae.model import SAE
from atlas.settings.icons import IconsSettings
from atlas.settings.runtime import Runtime

if TYPE_CHECKING:
    import pyarrow as pa

WORTH_WORKERS = 8
"""Sheets from which on the start of worker processes is worth its seconds."""
PLAIN, GRAY = (255, 255, 255), (127, 127, 127)
"""The template where none is named; the picture whose embedding is the pipeline's negative."""
LEAST_CONTRAST = 1.0
"""Standard deviation of a picture's values, 0 to 255: below it the picture is one flat color."""
DECIDING = ("renderer", "px", "steps", "guidance", "precision", "compiled", "quality")
"""The settings that decide how a picture looks, besides the embedding and the seed."""
INPUTS = ("sae", "encoder", "decoder")
"""The inputs that decide how a picture looks and what is found in it."""


@dataclass(frozen=True, slots=True)
class DrawingModels:
    """The models that pictures are drawn and encoded with, and their settings."""

    sae: SAE
    neutral: NDArray[np.float32]
    """(d,) the embedding of the template's picture."""
    template: Template
    negative: NDArray[np.float32]
    """(d,) the embedding of the mean-gray picture."""
    codes: SparseEncoder
    """The SAE made ready to find what a drawn picture fires."""
    renderer: Renderer
    encoder: Encoder
    drawing: Drawing
    settings: IconsSettings


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


def load_models(settings: IconsSettings, inputs: Mapping[str, Path], device: str) -> DrawingModels:
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
    plain, path = _plain(encoder, PLAIN), inputs.get("template")
    ready = path is not None and path.suffix in READY_SUFFIXES
    with one_thread():
        neutral, gray = embed_images(
            encoder,
            [plain if path is None or ready else read_picture(path), _plain(encoder, GRAY)],
        )
    if path is not None and ready:
        neutral = read_embedding(path, sae.width)
    template = make_template(sae, neutral, settings.template_scale)
    drawing = Drawing(settings.px, settings.steps, settings.guidance, settings.seed)
    codes = make_encoder(sae)
    return DrawingModels(sae, neutral, template, gray, codes, renderer, encoder, drawing, settings)


def _plain(encoder: Encoder, color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (encoder.image_px, encoder.image_px), color)


@dataclass(frozen=True, slots=True)
class DrawnSheet:
    """A sheet, drawn and encoded again."""

    pictures: NDArray[np.uint8]
    """(picture, px, px, 3)."""
    fired: Firings
    """What the SAE finds in each."""
    models_s: float
    """Seconds inside the decoder and the encoder."""


def draw(models: DrawingModels, sheet: Sheet) -> DrawnSheet:
    """Draw a sheet and encode its pictures again.

    Raises:
        InputError: An embedding is not finite, or a picture comes out as one flat color.
    """
    drawing = models.drawing
    if sheet.seed is not None:
        drawing = replace(drawing, seed=sheet.seed)
    finite = np.isfinite(sheet.embeddings).all(axis=1)
    if not finite.all():
        label = sheet.labels[int(np.argmin(finite))]
        raise InputError(
            f"the embedding of {label} is not finite; look at its row of the SAE's decoder"
        )
    began = time.perf_counter()
    with one_thread():
        pictures = models.renderer.draw(sheet.embeddings, models.negative, drawing)
        for label, picture in zip(sheet.labels, pictures, strict=True):
            _refuse_flat(label, picture)
        vectors = embed_images(models.encoder, pictures)
        models_s = time.perf_counter() - began
        fired = models.codes.fire(vectors)
    return DrawnSheet(np.stack([np.asarray(picture) for picture in pictures]), fired, models_s)


def _refuse_flat(label: str, picture: Image.Image) -> None:
    # The bare template may well be an empty page.
    if np.asarray(picture, np.float32).std() < LEAST_CONTRAST and label != TEMPLATE:
        raise InputError(
            f"{label} is drawn as one flat color, which is what an embedding that is not "
            "finite gives; try icons.precision = 'float32' or a lower icons.strength"
        )


TEMPLATE = "the template"
"""Label of the template with no feature set."""


def draw_sheets(job: Job, models: DrawingModels, sheets: Sequence[Sheet]) -> list[pa.Table]:
    """Return a table for each sheet, drawn if no earlier run has: webp, fired, activation.

    The columns fired and activation list the features that fire on the picture once it is
    encoded again, before it was compressed. Says at the end where the time went.
    """
    keys = {sheet.name: sheet_key(job, models, sheet) for sheet in sheets}
    missing = [s for s in sheets if not job.has_part(s.name, ".parquet", keys[s.name])]
    n_pictures = sum(len(sheet.labels) for sheet in missing)
    began, models_s = time.perf_counter(), 0.0
    job.progress.start("pictures", total=n_pictures, unit="pictures")
    with ThreadPoolExecutor(1) as writer:
        waiting: list[Future[Path]] = []
        for sheet, drawn in zip(
            missing, draw_in_workers(models, job.inputs, job.runtime, missing), strict=True
        ):
            write = partial(_write, drawn=drawn, quality=models.settings.quality)
            waiting.append(writer.submit(job.part, sheet.name, ".parquet", keys[sheet.name], write))
            if len(waiting) > 1:  # a full disk must not wait for the last sheet
                waiting[-2].result()
            models_s += drawn.models_s
            job.progress.advance(len(sheet.labels))
        for done in waiting:
            done.result()
    took_s = time.perf_counter() - began
    job.progress.stop()
    if n_pictures:
        job.progress.say(
            _where_time_went(n_pictures, took_s, models_s / len(workers_for(job.runtime, missing)))
        )
    return [read_parquet(job.part(s.name, ".parquet", keys[s.name], _never)) for s in sheets]


def share_sheets(job: Job, models: DrawingModels, sheets: Sequence[Sheet]) -> None:
    """Draw sheets beside the other processes that torchrun started, until none is missing."""
    keys = {sheet.name: sheet_key(job, models, sheet) for sheet in sheets}
    missing = [s for s in sheets if not job.has_part(s.name, ".parquet", keys[s.name])]
    job.progress.start("pictures", total=sum(len(s.labels) for s in missing), unit="pictures")

    def make(job: Job, number: int, tell: Report) -> bool:
        sheet = missing[number]

        def write(path: Path) -> None:
            _write(path, draw(models, sheet), models.settings.quality)

        made = job.make_part(sheet.name, ".parquet", keys[sheet.name], write, wait=False)
        if made is not None:
            tell([len(sheet.labels)])
        return made is not None

    help_until_done(job, make, range(len(missing)), lambda drawn: job.progress.advance(sum(drawn)))
    job.progress.stop()


def draw_in_workers(
    models: DrawingModels, inputs: Mapping[str, Path], runtime: Runtime, sheets: Sequence[Sheet]
) -> Iterator[DrawnSheet]:
    """Yield each sheet drawn, in order, by as many processes as are worth starting."""
    devices = workers_for(runtime, sheets)
    if len(devices) == 1:
        return map(partial(draw, models), sheets)
    if devices[0] != "cpu":
        # The worker processes open their own; this one's would take room on the first card.
        models.renderer.leave_card()
        models.encoder.model.to("cpu")
    opening = partial(load_models, models.settings, inputs)
    return in_workers(devices, opening, draw, sheets)


def workers_for(runtime: Runtime, sheets: Sequence[Sheet]) -> list[str]:
    """Return the device of each process that draws."""
    devices = devices_of(runtime)
    return devices if len(sheets) >= WORTH_WORKERS else devices[:1]


def _where_time_went(drawn: int, took_s: float, models_s: float) -> str:
    return (
        f"  {drawn:,} pictures drawn, {drawn / took_s:.1f}/s, "
        f"{models_s / took_s:.1%} of the time inside decoder and encoder"
    )


def _never(path: Path) -> None:
    raise AssertionError(path)


def sheet_key(job: Job, models: DrawingModels, sheet: Sheet) -> dict[str, Any]:
    """Return all that decides a sheet's bytes."""
    return {
        "embeddings": hashlib.sha256(np.ascontiguousarray(sheet.embeddings).tobytes()).hexdigest(),
        "negative": hashlib.sha256(models.negative.tobytes()).hexdigest(),
        "seed": models.drawing.seed if sheet.seed is None else sheet.seed,
        "settings": {name: getattr(models.settings, name) for name in DECIDING},
        "inputs": {name: job.digests[name] for name in INPUTS if name in job.digests},
    }


def _write(path: Path, drawn: DrawnSheet, quality: int) -> None:
    import pyarrow as pa

    fired, n = drawn.fired, len(drawn.pictures)
    bounds = np.searchsorted(fired.image, np.arange(n + 1))
    spans = [slice(*bounds[i : i + 2]) for i in range(n)]
    with ThreadPoolExecutor(min(n, cores())) as pool:
        webps = list(pool.map(partial(webp, quality=quality), map(Image.fromarray, drawn.pictures)))
    table = pa.table(
        {
            "webp": pa.array(webps, pa.binary()),
            "fired": pa.array([fired.feature[s] for s in spans], pa.list_(pa.int32())),
            "activation": pa.array([fired.activation[s] for s in spans], pa.list_(pa.float32())),
        }
    )
    write_parquet(path, table)


def webp(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as WebP."""
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()
