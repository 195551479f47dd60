"""Check that models and embeddings match: measure again what the SAE's author published.

A wrong encoder, a normalized file or a misread bias raises no error: features still fire. But
how many fire, and how much they explain, then differ from what the SAE's author found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import AtlasError
from atlas.icons.template import make_template
from atlas.inputs.embeddings import INDEX, read_embeddings
from atlas.inputs.encoder import embed_images, load_encoder, read_encoder_note
from atlas.inputs.picture import read_picture
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import make_encoder, reconstruct
from atlas.sae.model import SAE, InputConvention, prepare
from atlas.settings.load import Config
from atlas.settings.outside import outside_files, sae_path

if TYPE_CHECKING:
    from atlas.inputs.encoder import Encoder

SAMPLE_IMAGES = 1024
"""Embeddings that figures are taken from, spread over all."""
L0_FACTOR = 1.5
"""L0 may be so many times the author's, or a part of it: other pictures have other features."""
EXPLAINED_POINTS = 10.0
"""Percent points that explained variance may lie off."""
LENGTH_SHARE = 0.02
"""Share by which the gray picture's length may be off: half precision, and how it is resized."""
TEMPLATE_SHARE = 0.25
"""Share by which the template's length may be off: the author's picture is not ours."""
USUAL_LENGTH = 40.0
"""Of a raw CLIP embedding, where the gray picture's is not known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    fix: str = ""
    """What to do; empty where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How an SAE does on some embeddings."""

    l0: float
    """Features that fire on an image, on average."""
    explained_percent: float
    """100 (1 - squared error / squared distance from the mean embedding); negative if worse."""

    def fits(self, config: Config) -> bool:
        """Return whether these are near what is expected; True of what is not known."""
        expected = config.expected
        near = expected.l0 is None or (
            expected.l0 / L0_FACTOR <= self.l0 <= expected.l0 * L0_FACTOR
        )
        wanted = expected.explained_percent
        return near and (wanted is None or abs(self.explained_percent - wanted) <= EXPLAINED_POINTS)


def check_science(config: Config, device: str) -> list[Finding]:
    """Look at SAE, encoder and embeddings, as far as they are here, and at how they fit together."""
    path = sae_path(config)
    if path is None or not path.exists():
        return []
    try:
        sae = load_sae(path, config.sae)
    except AtlasError as error:
        return [Finding("SAE", False, str(error), "fix what the line names")]
    findings = [_shape(config, sae)]
    findings += _with_encoder(config, sae, device)
    findings += _with_embeddings(config, sae, device)
    return findings


def _shape(config: Config, sae: SAE) -> Finding:
    expected = config.expected
    found = f"{sae.n_features:,} features of width {sae.width:,}, {sae.activation.kind}"
    wanted = (expected.features or sae.n_features, expected.width or sae.width)
    fix = f"{wanted[0]:,} of width {wanted[1]:,} are expected: name another checkpoint"
    return Finding("SAE", wanted == (sae.n_features, sae.width), found, fix)


def _with_encoder(config: Config, sae: SAE, device: str) -> Iterator[Finding]:
    """Yield what the encoder shows: its width, and two lengths where they are expected."""
    folder = config.embed.encoder
    if folder is None or not folder.exists():
        return
    try:
        width = int(read_encoder_note(folder)["width"])
        fix = f"use the encoder that the SAE was trained on: its embeddings have {sae.width}"
        yield Finding("encoder", width == sae.width, f"{width:,} dimensions", fix)
        wanted = (config.expected.gray_norm, config.expected.template_norm)
        if width == sae.width and wanted != (None, None):
            yield from _lengths(config, sae, load_encoder(folder, device=device))
    except (AtlasError, KeyError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        yield Finding("encoder", False, reason, "fetch it again, or choose another device")


def _lengths(config: Config, sae: SAE, encoder: Encoder) -> Iterator[Finding]:
    from PIL import Image

    expected = config.expected
    mean = encoder.model.visual.preprocess_cfg["mean"]  # so that its pixels are all zeros
    color = tuple(round(255 * part) for part in mean)
    gray = Image.new("RGB", (encoder.image_px, encoder.image_px), color)
    if expected.gray_norm is not None:
        length = float(np.linalg.norm(embed_images(encoder, [gray])[0]))
        yield _length("gray picture", length, expected.gray_norm, LENGTH_SHARE)
    if expected.template_norm is not None and config.icons.template is not None:
        neutral = embed_images(encoder, [read_picture(config.icons.template)])[0]
        base = make_template(sae, neutral, config.icons.template_scale).base
        found = float(np.linalg.norm(base))
        yield _length("template", found, expected.template_norm, TEMPLATE_SHARE)


def _length(what: str, found: float, wanted: float, share: float) -> Finding:
    ok = abs(found / wanted - 1) <= share
    said = f"{found:.2f}, {wanted:.2f} expected (within {100 * share:.0f} %)"
    if found < 1.5 and wanted > 2:
        fix = "the encoder normalizes: most likely it is not open_clip's with normalize=False"
    else:
        fix = "most likely another encoder, or other weights of it: fetch the one that is named"
    return Finding(f"length of the {what}'s embedding", ok, said, fix)


def _with_embeddings(config: Config, sae: SAE, device: str) -> Iterator[Finding]:
    """Yield how the SAE does on a sample of the embeddings, and if badly, what is most likely."""
    expected = config.expected
    if expected.l0 is None and expected.explained_percent is None:
        return
    what = "SAE on embeddings"
    try:
        x = _sample(config)
    except AtlasError as error:
        yield Finding(what, False, str(error), "fix what the line names")
        return
    if x is None:
        fix = "atlas build CONFIG embed makes them; then ask again"
        yield Finding(what, False, "no embeddings yet to measure L0 and variance on", fix)
        return
    if x.shape[1] != sae.width:
        fix = "use the encoder that the SAE was trained on"
        yield Finding(what, False, f"{x.shape[1]} dimensions, the SAE reads {sae.width}", fix)
        return
    figures = measure(sae, x, device)
    length = float(np.median(np.linalg.norm(x, axis=1)))
    said = (
        f"L0 {figures.l0:.1f} ({expected.l0 or 0:.0f} expected), explained variance "
        f"{figures.explained_percent:.1f} % ({expected.explained_percent or 0:.0f} % expected, "
        f"0 % is the mean's), median length {length:.2f}; n = {len(x):,}"
    )
    ok = figures.fits(config)
    yield Finding(what, ok, said, "" if ok else _likely_cause(config, sae, x, device))


def measure(sae: SAE, x: NDArray[np.float32], device: str) -> Figures:
    """Return the figures of an SAE on embeddings (image, d)."""
    firings = make_encoder(sae, device).fire(x)
    inputs = prepare(sae, x).astype(np.float64)
    errors = inputs - reconstruct(sae, firings, len(x), device)
    centered = inputs - inputs.mean(axis=0)
    total = float((centered**2).sum())
    unexplained = float((errors**2).sum()) / total if total else np.inf
    return Figures(len(firings.image) / len(x), 100 * (1 - unexplained))


def _likely_cause(config: Config, sae: SAE, x: NDArray[np.float32], device: str) -> str:
    """Return the first change under which the figures are as expected, else what remains."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    usual = config.expected.gray_norm or USUAL_LENGTH
    without = replace(sae, b_pre=np.zeros_like(sae.b_pre))
    subtracting = replace(sae, b_pre=sae.b_dec)
    raw = replace(sae, input=InputConvention("raw"))
    changes = (
        (
            f"the embeddings were normalized, and this SAE wants raw ones: embed the pictures "
            f"again, keeping lengths (as if of {usual:.0f}",
            sae,
            x / lengths * np.float32(usual),
        ),
        (
            "this SAE wants embeddings of length 1: set sae.input_scale, or normalize them (as if",
            sae,
            x / lengths,
        ),
        ("the decoder's bias is to be subtracted first: sae.pre_bias = true (then", subtracting, x),
        ("the decoder's bias is not to be subtracted: sae.pre_bias = false (then", without, x),
        (
            "the SAE reads embeddings as they are: unset sae.input_scale and input_mean (then",
            raw,
            x,
        ),
    )
    for said, changed, seen in changes:
        figures = measure(changed, seen, device)
        if figures.fits(config):
            return f"most likely {said}, L0 {figures.l0:.1f}, {figures.explained_percent:.1f} %)"
    now, wanted = measure(sae, x, device), config.expected.explained_percent
    if wanted is not None and now.explained_percent < wanted / 2:
        return (
            "most likely another encoder, or other weights of it or of the SAE: less than half of "
            "what is expected is explained, and neither lengths nor bias would explain that"
        )
    return (
        "most likely pictures unlike the author's, or another training of the SAE: neither lengths "
        "nor bias would explain it"
    )


def _sample(config: Config) -> NDArray[np.float32] | None:
    """Return (image, d) embeddings spread evenly over all that are here; None where none are."""
    arrays = list(_shards(config))
    n_images = sum(len(array) for array in arrays)
    if not n_images:
        return None
    wanted = np.linspace(0, n_images - 1, min(n_images, SAMPLE_IMAGES)).astype(np.int64)
    found, first = [], 0
    for array in arrays:
        rows = wanted[(wanted >= first) & (wanted < first + len(array))] - first
        found.append(np.asarray(array[rows], np.float32))
        first += len(array)
    return np.concatenate(found)


def _shards(config: Config) -> Iterator[NDArray[np.floating[Any]]]:
    folder = config.out_dir / "embed"
    if (folder / INDEX).exists():
        embeddings = read_embeddings(folder)
        for shard in embeddings.shards:
            yield embeddings.read_shard(shard)
        return
    files: tuple[Path, ...] = outside_files(config).get("vectors", (Path(), ()))[1]
    for path in files:
        if path.suffix == ".npy":
            yield np.load(path, mmap_mode="r", allow_pickle=False)
