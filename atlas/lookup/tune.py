"""Compare template scales and strengths of icons side by side, with measured round trips.

For a new model a person looks at the grid and at the curve and chooses, as the seed's author did.
Writes one page, tune.html, with its pictures beside it, and tune.json with every measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import MissingError
from atlas.base.files import read_parquet, write_bytes, write_json, write_text
from atlas.base.progress import Progress
from atlas.icons.drawing import DrawingModels, DrawnSheet, Sheet, draw_in_workers, load_models, webp
from atlas.icons.roundtrip import MOST_RANK, IconFirings, own_activations, ranks
from atlas.icons.template import icon_embeddings, make_template, set_strengths
from atlas.sae.activations import FeatureActivations
from atlas.sae.encoding import Firings
from atlas.settings.load import Config
from atlas.settings.outside import drawing_inputs
from atlas.settings.paths import template_root
from atlas.site.render import open_templates, render

CURVE_WIDTH, CURVE_HEIGHT = 360, 120


@dataclass(frozen=True, slots=True)
class Point:
    """All features drawn with one template scale and one strength."""

    scale: float
    """Of the template's codes."""
    strength: float
    """In icons.strength_unit."""
    n: int
    """Features drawn."""
    fires: float
    """Share of icons in which their feature fires, 0 to 1."""
    strong: float
    """Share in which it is as strong as its median firing and among the ten strongest."""
    median_ratio: float
    """Activation on the icon over the feature's median firing: its median over features."""
    norm: float
    """Length of the embeddings drawn: their median."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is tried."""

    scales: tuple[float, ...]
    strengths: tuple[float, ...]
    features: tuple[int, ...]
    """Those whose pictures are shown; empty for the first of the random ones."""
    sample: int
    """Number of random features for the curve."""
    shown: int
    """How many random features' pictures are shown, where none are named."""


def tune(config: Config, choice: Choice, out_dir: Path, progress: Progress) -> list[Point]:
    """Draw every feature with every template scale and strength, and write the page.

    Raises:
        ConfigError: The decoder doesn't fit.
        MissingError: The atlas hasn't been scanned, or a feature is dead or unknown.
    """
    models = load_models(config.icons, drawing_inputs(config), config.runtime.device)
    table = read_parquet(config.out_dir / "scan" / "features.parquet", ["alive", "max", "median"])
    features = _features(np.flatnonzero(table["alive"].to_numpy()), choice, config.icons.seed)
    largest = table["max"].to_numpy()[features].astype(np.float32)
    median = table["median"].to_numpy()[features].astype(np.float32)
    pairs = [(scale, strength) for scale in choice.scales for strength in choice.strengths]
    sheets = [
        sheet
        for scale, strength in pairs
        for sheet in _sheets(models, features, largest, scale, strength)
    ]
    total = len(pairs) * len(features)
    progress.start("pictures", total=total, unit="pictures")
    proofs: list[DrawnSheet] = []
    for drawn in draw_in_workers(models, drawing_inputs(config), config.runtime, sheets):
        proofs.append(drawn)
        progress.advance(len(drawn.pictures))
    progress.stop()
    pictures = np.concatenate([drawn.pictures for drawn in proofs]).reshape(
        len(pairs), len(features), *proofs[0].pictures.shape[1:]
    )
    own, rank = _judge(config, proofs, features, len(pairs))
    norms = [np.linalg.norm(sheet.embeddings, axis=1) for sheet in sheets]
    lengths = np.concatenate(norms).reshape(len(pairs), -1)
    points = [
        Point(
            scale=scale,
            strength=strength,
            n=len(features),
            fires=float((own[i] > 0).mean()),
            strong=float(((own[i] >= median) & (rank[i] <= MOST_RANK)).mean()),
            median_ratio=float(np.median(own[i] / median)),
            norm=float(np.median(lengths[i])),
        )
        for i, (scale, strength) in enumerate(pairs)
    ]
    _write(config, choice, out_dir, features, pictures, own, points)
    return points


def _features(alive: NDArray[np.int64], choice: Choice, seed: int) -> NDArray[np.int64]:
    """Return the named features, then a random sample of the live ones."""
    for feature in choice.features:
        if feature not in alive:
            raise MissingError(f"feature {feature} is dead or unknown; name live ones")
    sample = np.random.default_rng(seed).permutation(alive)[: choice.sample]
    rest = [feature for feature in sample.tolist() if feature not in choice.features]
    return np.array([*choice.features, *rest], np.int64)


def _sheets(
    models: DrawingModels,
    features: NDArray[np.int64],
    largest: NDArray[np.float32],
    scale: float,
    strength: float,
) -> list[Sheet]:
    settings = models.settings
    template = make_template(models.sae, models.neutral, scale)
    strengths = set_strengths(models.sae, features, largest, strength, settings.strength_unit)
    wanted = icon_embeddings(models.sae, template, features, strengths)
    labels = [f"feature {feature} at {strength:g}" for feature in features]
    size = settings.block_features
    return [
        Sheet("tune", wanted[start : start + size], tuple(labels[start : start + size]))
        for start in range(0, len(features), size)
    ]


def _judge(
    config: Config, proofs: Sequence[DrawnSheet], features: NDArray[np.int64], n_pairs: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (pair, feature) the activation on the icon, and its rank there over all features."""
    first, parts = 0, []
    for drawn in proofs:
        parts.append((drawn.fired, first))
        first += len(drawn.pictures)
    icon = np.concatenate([fired.image + start for fired, start in parts])
    fired = Firings(
        icon,
        np.concatenate([fired.feature for fired, _ in parts]),
        np.concatenate([fired.activation for fired, _ in parts]),
    )
    firings = FeatureActivations(config.out_dir / "scan")
    q99 = np.ones(len(firings), np.float32)
    for feature in np.unique(np.concatenate([fired.feature, features])).tolist():
        natural = firings[feature][1]
        q99[feature] = np.quantile(natural, 0.99) if len(natural) else np.inf
    whose = np.tile(features, n_pairs)
    by_icon = IconFirings(fired.image, fired.feature, fired.activation)
    own = own_activations(by_icon, whose)
    rank = ranks(by_icon, own, q99, whose)
    return own.reshape(n_pairs, -1), rank.reshape(n_pairs, -1)


def _write(
    config: Config,
    choice: Choice,
    out_dir: Path,
    features: NDArray[np.int64],
    pictures: NDArray[np.uint8],
    own: NDArray[np.float32],
    points: Sequence[Point],
) -> None:
    shown = len(choice.features) or min(choice.shown, len(features))
    n = len(choice.strengths)
    grids = []
    for place in range(shown):
        rows = []
        for i, scale in enumerate(choice.scales):
            cells = []
            for j in range(n):
                name = f"pictures/{features[place]}-{i}-{j}.webp"
                data = webp(Image.fromarray(pictures[i * n + j, place]), config.icons.quality)
                write_bytes(out_dir / name, data)
                cells.append((name, f"{own[i * n + j, place]:.3g}"))
            rows.append((f"{scale:g}", cells))
        grids.append((int(features[place]), rows))
    top = max(point.strong for point in points) or 1.0
    curves = [
        (f"{scale:g}", _line([p.strong / top for p in points if p.scale == scale]))
        for scale in choice.scales
    ]
    view = {
        "page": "tune.html",
        "px": config.icons.px,
        "unit": config.icons.strength_unit,
        "strengths": [f"{strength:g}" for strength in choice.strengths],
        "grids": grids,
        "curves": curves,
        "top": f"{top:.0%}",
        "width": CURVE_WIDTH,
        "height": CURVE_HEIGHT,
        "points": points,
    }
    write_json(out_dir / "tune.json", {"points": [asdict(point) for point in points]})
    write_bytes(out_dir / "tune.css", (template_root() / "tune.css").read_bytes())
    write_text(out_dir / "tune.html", render(open_templates(), "tune", view))


def _line(values: Sequence[float]) -> str:
    """Return the points of an SVG polyline for values from 0 to 1, left to right."""
    step = CURVE_WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{i * step:.1f},{CURVE_HEIGHT * (1 - value):.1f}" for i, value in enumerate(values)
    )
