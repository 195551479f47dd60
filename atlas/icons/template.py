"""The template-scaled pass: the embedding that a feature's icon is drawn from.

t are the SAE's codes of a neutral picture, c = scale * t; of a feature's icon c_j is set to
the strength (set, not added), and x = W_dec c + b_dec: the bias once, never scaled. An edit of
a real picture keeps the SAE's error: x + sum of (gain - 1) a_i d_i, which is x at gain 1.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError, MissingError
from atlas.base.npy import map_npy
from atlas.sae.encoding import Firings, make_encoder
from atlas.sae.model import SAE

READY_SUFFIXES = (".npy", ".pt", ".pth")
"""Of a template that is given as its embedding."""
StrengthUnit = Literal["activation", "norm", "natural"]


@dataclass(frozen=True, slots=True)
class Template:
    """A neutral picture, scaled down."""

    codes: NDArray[np.float32]
    """(feature,) scale * t."""
    base: NDArray[np.float32]
    """(d,) W_dec codes + b_dec: the template without a feature set."""


def read_embedding(path: Path, width: int) -> NDArray[np.float32]:
    """Return a template that is given as its raw embedding (d,), as .npy or as torch.save wrote it.

    Raises:
        MissingError: There is no such file.
        InputError: It is no embedding of that width.
    """
    if not path.exists():
        raise MissingError(f"no template at {path}; change icons.template")
    try:
        if path.suffix == ".npy":
            held = map_npy(path)
        else:
            import torch

            held = torch.load(path, map_location="cpu", weights_only=True).float().numpy()
        vector = np.asarray(held, np.float32).reshape(-1)
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        AttributeError,
        TypeError,
        IndexError,
        KeyError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(
            f"{path} holds no embedding ({type(error).__name__}); save it again"
        ) from error
    if vector.shape != (width,) or not np.isfinite(vector).all() or not vector.any():
        raise InputError(
            f"{path} holds {vector.size} numbers, expected {width} finite ones that are not all 0"
        )
    return vector


def make_template(sae: SAE, embedding: NDArray[np.float32], scale: float) -> Template:
    """Return the template of a neutral picture.

    Args:
        sae: The SAE.
        embedding: (d,) raw, of the picture.
        scale: What its codes are multiplied by; the seed's is a fifth.
    """
    # The seed scales the codes, never the decoder bias, which base adds once.
    codes = dense(make_encoder(sae).fire(embedding[None]), 1, sae.n_features)[0] * np.float32(scale)
    on = np.flatnonzero(codes)
    # float64: the same base whatever the number of threads that sum it.
    base = codes[on].astype(np.float64) @ sae.W_dec[on].astype(np.float64) + sae.b_dec
    return Template(codes, base.astype(np.float32))


def dense(firings: Firings, n_images: int, n_features: int) -> NDArray[np.float32]:
    """Return firings as an (image, feature) table, for few images."""
    found = np.zeros((n_images, n_features), np.float32)
    found[firings.image, firings.feature] = firings.activation
    return found


def set_strengths(
    sae: SAE,
    features: NDArray[np.int64],
    largest: NDArray[np.float32],
    strength: float,
    unit: StrengthUnit,
) -> NDArray[np.float32]:
    """Return the activation that each feature is set to.

    Args:
        sae: The SAE.
        features: (feature,) numbers.
        largest: (feature,) the largest activation of each on the scanned images.
        strength: In the unit.
        unit: activation: as it is. norm: the length of strength * direction, so that every
            feature moves the embedding equally far. natural: times the largest activation.
    """
    if unit == "activation":
        return np.full(len(features), strength, np.float32)
    per_feature = largest
    if unit == "norm":
        per_feature = 1 / np.linalg.norm(sae.W_dec[features], axis=1)
    found: NDArray[np.float32] = (strength * per_feature).astype(np.float32)
    return found


def icon_embeddings(
    sae: SAE, template: Template, features: NDArray[np.int64], strengths: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (feature, d): the template with one feature set to its strength."""
    change = strengths - template.codes[features]
    found: NDArray[np.float32] = template.base + change[:, None] * sae.W_dec[features]
    return found


def group_embedding(
    sae: SAE,
    template: Template,
    features: NDArray[np.int64],
    strengths: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return (d,): the template with several features set together, each to its strength."""
    change = strengths - template.codes[features]
    found: NDArray[np.float32] = (template.base + change @ sae.W_dec[features]).astype(np.float32)
    return found


def edit(
    sae: SAE,
    embedding: NDArray[np.float32],
    features: NDArray[np.int64],
    activations: NDArray[np.float32],
    gain: float,
) -> NDArray[np.float32]:
    """Return (d,) an embedding with some of its features turned up or down; itself at gain 1.

    Args:
        sae: The SAE.
        embedding: (d,) raw.
        features: (feature,) which of its features.
        activations: (feature,) their activations on it.
        gain: 0 removes them, 1 leaves all as it is, 2 doubles them.
    """
    found: NDArray[np.float32] = embedding + np.float32(gain - 1) * (
        activations @ sae.W_dec[features]
    )
    return found
