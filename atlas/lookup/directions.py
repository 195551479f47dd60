"""Decoder rows of chosen features, for steering with other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import draft
from atlas.sae.model import SAE


def export_directions(sae: SAE, features: Sequence[int], path: Path, *, unit: bool) -> None:
    """Write decoder rows (feature, d) as float32 .npy, in the order given.

    Raises:
        ConfigError: The name's ending is not .npy.
        MissingError: There is no such feature.
    """
    if path.suffix != ".npy":
        raise ConfigError(f"cannot write {path}: its name must end in .npy")
    for feature in features:
        require_feature(sae, feature)
    rows = sae.W_dec[list(features)].astype(np.float32)
    if unit:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with draft(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, rows)


def require_feature(sae: SAE, feature: int) -> None:
    """Refuse a number that is no feature.

    Raises:
        MissingError: The SAE has no such feature.
    """
    if feature >= sae.n_features:
        raise MissingError(f"no feature {feature}; this SAE has features 0 to {sae.n_features - 1}")
