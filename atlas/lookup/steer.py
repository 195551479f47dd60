"""Steer one picture: turn its concepts and features, draw the result, encode it again.

An edit keeps the SAE's error: x + the sum of (new - old activation) * direction over what is
turned, which is x itself if nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import draft, read_json, read_parquet
from atlas.concepts.grouping import Group, groups_of, keep, sweep
from atlas.icons.drawing import DrawingModels, Sheet, draw, load_models
from atlas.icons.template import dense
from atlas.inputs.embeddings import read_embeddings
from atlas.inputs.encoder import embed_images
from atlas.inputs.picture import WHITE, read_picture
from atlas.lookup.directions import require_feature
from atlas.run.workers import one_thread
from atlas.sae.encoding import make_encoder
from atlas.sae.model import SAE
from atlas.settings.load import Config
from atlas.settings.outside import drawing_inputs

Target = Literal["concept", "feature"]
SUFFIXES = {".webp": "WEBP", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One knob and how far it is turned."""

    target: Target
    number: int
    how: Literal["times", "plus", "to"]
    """times: what is there is multiplied. plus: the value is added. to: it is set."""
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one turned knob shows: activation of a feature, mass of a concept."""

    knob: str
    """concept 3, feature 17."""
    before: float
    """On the picture itself."""
    wanted: float
    """What it was turned to."""
    drawn_before: float
    """On the picture drawn with nothing turned."""
    drawn: float
    """On the picture drawn with everything turned."""


@dataclass(frozen=True, slots=True)
class Steered:
    """A turned picture."""

    picture: Image.Image
    readings: tuple[Reading, ...]
    moved: float
    """Length of what was added to the embedding."""
    norm: float
    """Length of the embedding that was drawn."""
    norm_percentile: float
    """Share of the atlas's images whose embedding is shorter, 0 to 1."""


def read_turn(target: Target, text: str) -> Turn:
    """Return a knob from the command line: 3=2.0 of a concept, 17=40, 17=+40 or 17=x2 of a feature.

    Raises:
        ConfigError: It is something else.
    """
    found = re.fullmatch(r"(\d+)=([x+-]?)(\d+(?:\.\d*)?|\.\d+)", text.strip())
    if found is None or (target == "concept" and found[2] not in ("", "x")):
        example = "3=2.0 (times)" if target == "concept" else "17=40 (to), 17=+40 (plus), 17=x2"
        raise ConfigError(f"--{target} takes {example}, got {text!r}")
    value = float(found[3]) * (-1 if found[2] == "-" else 1)
    if target == "concept" or found[2] == "x":
        return Turn(target, int(found[1]), "times", value)
    return Turn(target, int(found[1]), "plus" if found[2] else "to", value)


def steer(config: Config, picture: str, turns: Sequence[Turn], seed: int | None = None) -> Steered:
    """Return a picture with its knobs turned.

    Args:
        config: What the atlas was built with.
        picture: Number of an image of the atlas, or a file.
        turns: What to turn; each knob once.
        seed: Of the noise; the icons' own if none is given.

    Raises:
        ConfigError: The atlas has no decoder, or two turns are of one feature.
        InputError: The picture can't be read.
        MissingError: There is no such image, concept or feature.
    """
    if config.icons.decoder is None:
        raise ConfigError("this atlas was built without a decoder; set icons.decoder and build it")
    models = load_models(config.icons, drawing_inputs(config), config.runtime.device)
    x = embedding_of(config, models, picture)
    codes = _codes(models, x)
    groups = _groups(config, models.sae, codes)
    changes = _changes(models.sae, codes, groups, turns)
    turned = codes.copy()
    for change in changes:
        turned[change.features] = np.maximum(change.activations, 0)
    # float64: the same sum whatever the order that a library adds in.
    step = (turned - codes).astype(np.float64) @ models.sae.W_dec.astype(np.float64)
    wanted = (x + step).astype(np.float32)
    drawn = draw(models, Sheet("steer", np.stack([x, wanted]), ("the picture", "the edit"), seed))
    seen = dense(drawn.fired, 2, models.sae.n_features)
    norms = read_parquet(config.out_dir / "scan" / "images.parquet", ["norm"])["norm"].to_numpy()
    norm = float(np.linalg.norm(wanted))
    return Steered(
        picture=Image.fromarray(drawn.pictures[1]),
        readings=tuple(
            Reading(
                f"{turn.target} {turn.number}",
                *(_mass(row, change.features) for row in (codes, turned, seen[0], seen[1])),
            )
            for turn, change in zip(turns, changes, strict=True)
        ),
        moved=float(np.linalg.norm(step)),
        norm=norm,
        norm_percentile=float((norms < norm).mean()),
    )


def picture_kind(path: Path) -> str:
    """Return the format that a file's ending asks for.

    Raises:
        ConfigError: The ending is none of .webp, .png, .jpg.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"cannot write {path}: its name must end in .webp, .png or .jpg")
    return kind


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all; errors as picture_kind."""
    kind = picture_kind(path)
    with draft(path) as unfinished, unfinished.open("wb") as file:
        picture.save(file, kind, quality=90)


def embedding_of(config: Config, models: DrawingModels, picture: str) -> NDArray[np.float32]:
    """Return the raw embedding (d,) of an image of the atlas, by number, or of a file."""
    embeddings = read_embeddings(config.out_dir / "embed")
    if not picture.isdigit():
        opened = read_picture(Path(picture), embeddings.ground or WHITE)
        with one_thread():
            found: NDArray[np.float32] = embed_images(models.encoder, [opened])[0]
        return found
    image = int(picture)
    if image >= embeddings.rows:
        raise MissingError(
            f"no image {image}; this atlas has images 0 to {embeddings.rows - 1}; a file needs its ending"
        )
    row: NDArray[np.float32] = embeddings.take([image])[0]
    return row


def _codes(models: DrawingModels, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (feature,) the activations of one embedding."""
    codes: NDArray[np.float32] = dense(
        make_encoder(models.sae).fire(x[None]), 1, len(models.sae.W_dec)
    )[0]
    return codes


def _groups(config: Config, sae: SAE, codes: NDArray[np.float32]) -> list[Group]:
    """Return the picture's coarse concepts, numbered as its page numbers them."""
    on = np.flatnonzero(codes)
    kept = read_json(config.out_dir / "concepts" / "concepts.json")
    tau = kept["tau_coarse"]
    most = int(codes[on].sum(dtype=np.float64) / tau)
    runs = sweep(sae.W_dec[on], codes[on], most, restarts=kept["restarts"], seed=kept["seed"])
    grouping = keep(runs, codes[on], tau)
    return groups_of(on, codes[on], grouping.labels)[: grouping.k]


def _changes(
    sae: SAE, codes: NDArray[np.float32], groups: Sequence[Group], turns: Sequence[Turn]
) -> list[Group]:
    """Return for each turn its features and what they are turned to."""
    found: list[Group] = []
    taken: set[int] = set()
    for turn in turns:
        if turn.target == "concept":
            if turn.number >= len(groups):
                raise MissingError(
                    f"no concept {turn.number}; this picture has concepts 0 to {len(groups) - 1}"
                )
            features = groups[turn.number].features
        else:
            require_feature(sae, turn.number)
            features = np.array([turn.number])
        twice = taken & set(features.tolist())
        if twice:
            raise ConfigError(f"feature {min(twice)} is turned twice; leave one of the knobs out")
        taken |= set(features.tolist())
        now = codes[features]
        to = {"times": now * turn.value, "plus": now + turn.value, "to": 0 * now + turn.value}
        found.append(Group(features, to[turn.how].astype(np.float32)))
    return found


def _mass(row: NDArray[np.float32], features: NDArray[np.int64]) -> float:
    return float(row[features].sum(dtype=np.float64))
