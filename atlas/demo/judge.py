"""Step judge: how well the demo's decoder draws the picture it is given, trained on and not.

Each picture's own raw embedding is drawn and encoded again. Beside it stand another picture's
drawing, the nearest other picture, and real pictures: does it draw, or fetch what it has seen?
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import read_parquet, write_json
from atlas.demo import movq, towers
from atlas.demo.places import DECODER, DEMO, ENCODER, IMAGES, PICTURES, RECIPES, SAE, VECTORS
from atlas.demo.softened import soften
from atlas.icons.drawing import Sheet, draw_in_workers, load_models
from atlas.inputs.compositions import open_pictures
from atlas.inputs.encoder import embed_images, load_encoder
from atlas.sae.activations import FeatureActivations
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import make_encoder
from atlas.settings.load import load_config
from atlas.settings.outside import drawing_inputs

PICTURES_JUDGED = 200
"""Of each side of the split, drawn at random among those without skin tone."""
NEAREST = 10
NEAR_COPY = 0.06
"""Root mean squared difference of two pictures, of full scale, below which one is a near copy."""
BLOCK = 20


def run() -> None:
    """Write figures.json beside the decoder."""
    config = load_config(DEMO / "atlas.toml")
    models = load_models(config.icons, drawing_inputs(config), config.runtime.device)
    vectors = np.concatenate([np.load(p) for p in sorted(VECTORS.glob("*.npy"))]).astype(np.float32)
    rows = read_parquet(PICTURES, ["split", "skin_tone"]).to_pylist()
    single = np.arange(len(rows))  # the first images are the pictures alone, in order
    split = np.array([row["split"] for row in rows])
    plain = np.array([not row["skin_tone"] for row in rows])
    mean = vectors[np.array(read_parquet(IMAGES, ["split"])["split"].to_pylist()) == "train"].mean(
        0
    )
    known = _directions(vectors[single] - mean)
    pixels = movq.draw_all()
    training = _flat(np.asarray(pixels[single[split == "train"]]))
    figures = []
    for side in ("train", "heldout"):
        pool = np.flatnonzero((split == side) & plain)
        chosen = np.sort(np.random.default_rng(0).permutation(pool)[:PICTURES_JUDGED])
        sheets = [
            Sheet("judge", vectors[some], tuple(f"picture {i}" for i in some))
            for some in np.array_split(chosen, max(1, len(chosen) // BLOCK))
        ]
        drawn = np.concatenate(
            [
                drawn.pictures
                for drawn in draw_in_workers(models, drawing_inputs(config), config.runtime, sheets)
            ]
        )
        seen = embed_images(models.encoder, [Image.fromarray(p) for p in drawn])
        found = _directions(seen - mean)
        real = _flat(np.asarray(pixels[chosen]))
        figures += side_figures(side, chosen, found, known)
        figures.append(copy_figure(side, _flat(drawn), real, training))
    figures.append(softened_figure(config.out_dir / "scan"))
    write_json(DECODER / "figures.json", {"figures": figures})
    for figure in figures:
        print(f"{figure['name']}: {figure['value']} (baseline {figure['null_value']})")


def side_figures(
    side: str, chosen: NDArray[np.int64], found: NDArray[np.float32], known: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Return the figures of one side of the split.

    Args:
        side: train or heldout.
        chosen: (picture,) rows of known.
        found: (picture, d) directions of what was drawn, encoded again.
        known: (any picture, d) directions of all pictures, centered.
    """
    n = len(chosen)
    among = known[chosen] @ known.T
    among[np.arange(n), chosen] = -np.inf
    nearest = among.argmax(axis=1)
    right = (found * known[chosen]).sum(axis=1)
    other = (np.roll(found, 1, axis=0) * known[chosen]).sum(axis=1)
    near = (known[nearest] * known[chosen]).sum(axis=1)
    cosine = "cosine, of centered embeddings"
    return [
        _figure(
            f"decoder_{side}_cosine", right, other, "another picture's drawing", n, unit=cosine
        ),
        _figure(
            f"decoder_{side}_nearest_picture_cosine",
            near,
            other,
            "another picture's drawing",
            n,
            unit=cosine,
            note="the nearest other picture in the drawing's place: what a retriever would reach",
        ),
        _figure(
            f"decoder_{side}_right_among_{NEAREST}",
            _among_nearest(found, chosen, known),
            _among_nearest(np.roll(found, 1, axis=0), chosen, known),
            "another picture's drawing",
            n,
            note=f"the picture itself is among the {NEAREST} of {len(known):,} nearest to its drawing",
        ),
    ]


def copy_figure(
    side: str, drawn: NDArray[np.float32], real: NDArray[np.float32], training: NDArray[np.float32]
) -> dict[str, Any]:
    """Return how many drawings are near copies of a training picture, beside real pictures.

    Args:
        side: train or heldout.
        drawn: (picture, value) 0 to 1.
        real: (picture, value) of the pictures themselves.
        training: (any picture, value).
    """
    held_out = side == "heldout"
    return _figure(
        f"decoder_{side}_near_copies",
        _distance_to(drawn, training) < NEAR_COPY,
        (_distance_to(real, training) < NEAR_COPY) if held_out else None,
        "the pictures themselves" if held_out else "",
        len(drawn),
        note=f"a training picture lies within {NEAR_COPY:g} of full scale, root mean square at 64 px",
    )


def softened_figure(scan: Path) -> dict[str, Any]:
    """Return how many features a perfect drawing could show, as the autoencoder would render it.

    Each feature's strongest image stands for its icon: softened and encoded again,
    does the feature still fire above its median, among the image's ten strongest?
    """
    by_feature = FeatureActivations(scan)
    every = [by_feature[feature] for feature in range(len(by_feature))]
    live = np.flatnonzero([len(images) > 0 for images, _ in every])
    n, firings = len(live), [every[feature] for feature in live.tolist()]
    best = np.array([images[np.lexsort((images, -a))[0]] for images, a in firings])
    usual, high = (np.array([np.quantile(a, q) for _, a in firings]) for q in (0.5, 0.99))
    found = make_encoder(load_sae(SAE)).fire(embed_softened(best))
    codes = np.zeros((n, len(every)), np.float32)
    codes[found.image, found.feature] = found.activation
    codes = codes[:, live]

    def shown(images: NDArray[np.int64]) -> NDArray[np.bool_]:
        own = codes[images, np.arange(n)]
        rank = (codes[images] / high >= (own / high)[:, None]).sum(axis=1)
        passed: NDArray[np.bool_] = (own >= usual) & (rank <= NEAREST)
        return passed

    return _figure(
        "autoencoder_top_image_shown",
        shown(np.arange(n)),
        shown(np.roll(np.arange(n), 1)),
        "another feature's strongest image",
        n,
        note="features above their median firing, and among the ten strongest, on their strongest image as the autoencoder gives it back: what a perfect drawing could reach",
    )


def embed_softened(images: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return raw embeddings (image, d) of images as the decoder could draw them at best."""
    source, softener = open_pictures(PICTURES, RECIPES), movq.read()
    encoder, random = load_encoder(ENCODER), np.random.default_rng(0)
    found = []
    for some in np.array_split(images, max(1, len(images) // BLOCK)):
        drawn = [np.asarray(source.draw(image, towers.IMAGE_PX)) for image in some.tolist()]
        seen = soften(softener, np.stack(drawn), random)
        found.append(embed_images(encoder, [Image.fromarray(one) for one in seen]))
    return np.concatenate(found)


def _figure(
    name: str,
    values: NDArray[Any],
    nulls: NDArray[Any] | None,
    null_name: str,
    n: int,
    *,
    unit: str = "share",
    note: str = "",
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(float(values.mean()), 4),
        "unit": unit,
        "n": n,
        "null_value": None if nulls is None else round(float(nulls.mean()), 4),
        "null_name": null_name,
        "command": "python -m atlas.demo judge",
        "note": note or "the picture's own embedding drawn and encoded again",
    }


def _among_nearest(
    found: NDArray[np.float32], chosen: NDArray[np.int64], known: NDArray[np.float32]
) -> NDArray[np.bool_]:
    scores = found @ known.T
    own = scores[np.arange(len(chosen)), chosen][:, None]
    near: NDArray[np.bool_] = (scores >= own).sum(axis=1) <= NEAREST  # ties count against us
    return near


def _distance_to(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (picture,) the root mean squared difference to the nearest of the others."""
    lengths = (others * others).sum(axis=1)
    squares = (some * some).sum(axis=1)[:, None] - 2 * some @ others.T + lengths
    distance: NDArray[np.float32] = np.sqrt(np.maximum(squares.min(axis=1), 0) / some.shape[1])
    return distance


def _directions(x: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return found


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)
