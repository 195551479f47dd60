"""Free text through the text tower of an atlas's encoder, where it has one and is here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.errors import AtlasError
from atlas.base.files import read_json
from atlas.inputs.vocabulary import CENTER, FACTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_tower(atlas_dir: Path) -> Callable[[str], NDArray[np.float32]] | None:
    """Return what encodes a text as its atlas's vocabulary was encoded, (d,) unit and centered.

    None where that vocabulary was not made by a text tower, or the encoder or torch is not here.
    """
    words = atlas_dir / "catalog" / "search" / "vocabulary"
    facts = read_json(words / FACTS) if (words / FACTS).exists() else {}
    if not facts.get("text_tower") or not (words / CENTER).exists():
        return None
    place = read_json(atlas_dir / "concepts" / "concepts.json")["places"].get("encoder")
    if place is None:
        return None
    try:
        from atlas.inputs.text_tower import TextTower

        tower = TextTower((atlas_dir / "concepts" / place).resolve())
    except (AtlasError, ImportError):
        return None
    center = np.load(words / CENTER, allow_pickle=False)

    def encode(text: str) -> NDArray[np.float32]:
        vector = tower.encode([text], facts["templates"])[0] - center
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit

    return encode
