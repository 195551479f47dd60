"""Settings of the scan: section [scan]."""

from __future__ import annotations

from pydantic import Field

from atlas.settings.section import Section


class ScanSettings(Section):
    """What to keep of every feature."""

    top_images: int = Field(
        default=64, ge=1, le=4096, description="Images kept of each feature, strongest first."
    )
    quantiles: int = Field(
        default=10, ge=1, le=100, description="Equal parts a feature's own firings are cut into."
    )
    quantile_images: int = Field(
        default=8, ge=0, description="Images picked from each of these parts, at most."
    )
    seed: int = Field(default=0, ge=0, description="Seed of these picks.")
