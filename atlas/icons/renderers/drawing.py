"""Settings of a drawing that all renderers share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a picture is drawn; every field changes its bytes."""

    px: int
    """Side of the picture, in pixels."""
    steps: int
    """Steps of diffusion."""
    guidance: float
    """Weight of the condition against the negative one; 1 is none."""
    seed: int
    """Seed of the noise: the same for every icon, so that icons differ by feature."""
