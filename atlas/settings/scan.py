"""Settings of the scan: section [scan]."""

from __future__ import annotations

from pydantic import Field

from atlas.settings.section import Section


class ScanSettings(Section):
    """What the scan keeps of every feature."""

    top_images: int = Field(
        default=64, ge=1, le=4096, description="Top images kept per feature, strongest first."
    )
    quantiles: int = Field(
        default=10,
        ge=1,
        le=100,
        description="Quantiles into which the firings of each feature are divided.",
    )
    quantile_images: int = Field(
        default=8, ge=0, description="Images picked at random from each quantile, at most."
    )
    seed: int = Field(default=0, ge=0, description="Seed of these picks.")
    own_l0: float | None = Field(
        default=None,
        gt=0,
        description="Mean number of features that fire on an image of the kind that the SAE was trained on; if unset, expected.l0, or what its training measured. At more than 1.5 times of it the atlas warns that the SAE does not fit.",
    )
