"""Settings of what is computed from a scan: sections [neighbors], [families], [compare] and [names]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


class NeighborsSettings(Section):
    """How many neighbors to keep of every feature."""

    feature_neighbors: int = Field(
        default=32, ge=1, description="Live features kept nearest to each, by decoder direction."
    )
    coactivations: int = Field(
        default=32, ge=1, description="Features kept that fire most often together with each."
    )
    near_misses: int = Field(
        default=16, ge=0, description="Similar images kept on which the feature does not fire."
    )
    near_miss_top_images: int = Field(
        default=16, ge=1, description="Top images of a feature whose surroundings are searched."
    )
    near_miss_pool: int = Field(
        default=64, ge=1, description="Nearest images of a top image that are considered."
    )
    duplicate_cosine: float = Field(
        default=0.98,
        ge=0,
        le=1,
        description="Images as alike as this are duplicates, by cosine of centered embeddings; a duplicate is no near miss.",
    )


class FamiliesSettings(Section):
    """What makes two features relatives, and who judges how pure each one is."""

    second_vectors: str | None = Field(
        default=None,
        description="Vectors of the same images by another encoder, which monosemanticity is judged by: a glob of .npy shards of (image, d), float16 or float32. Without it there is no such score.",
    )
    duplicate_cosine: float = Field(
        default=0.95, gt=0, le=1, description="Decoder cosine above which two may be duplicates."
    )
    duplicate_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of each duplicate's images on which the other fires too, at least.",
    )
    antipode_cosine: float = Field(
        default=0.5, gt=0, le=1, description="An antipode's decoder cosine is minus this, or less."
    )
    strong_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of a feature's firings, the strongest, on which its parents are looked for; 1 takes all.",
    )
    parent_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the child's strong images on which a parent fires, at least.",
    )
    child_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the parent's strong images on which the child fires, at most.",
    )
    relatives: int = Field(
        default=8, ge=1, description="Relatives of one kind kept of each feature."
    )
    seed: int = Field(default=0, ge=0, description="Seed of clusters, nulls and intervals.")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"second_vectors"}


class CompareSettings(Section):
    """Another atlas that this one is held against; used where it is named."""

    other: Path | None = Field(
        default=None,
        description="Folder of another finished atlas of the same images; a page then shows which features both have, and what each lacks.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the null's permutations and of the pairs shown."
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"other"}


class NamesSettings(Section):
    """Words for features; used where a vocabulary or names from outside are given."""

    images: int = Field(
        default=256, ge=1, description="Strongest images of a feature that its name is chosen on."
    )
    temperature: float = Field(
        default=10.0,
        gt=0,
        description="What the cosines of image and words are multiplied by before they become probabilities.",
    )
    prior_weight: float = Field(
        default=1.0, ge=0, description="Weight of a word's log prior: more favors rarer words."
    )
    fewest_captions: int = Field(
        default=1,
        ge=0,
        description="Images whose caption or tags must hold a word before it may be a name; 0 lets every word of the vocabulary.",
    )
    least_auroc: float = Field(
        default=0.75,
        ge=0.5,
        le=1,
        description="How well, on the images that chose it, a first word must tell firing images from silent ones; below it there is no name.",
    )
    graded_images: int = Field(
        default=200, ge=1, description="Firing images, at most, that grade a feature's name."
    )
    silent_images: int = Field(
        default=2048, ge=1, description="Images drawn by lot that firing ones are told from."
    )
    sibling_cosine: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Least cosine of two decoder directions for one feature to be suspected of firing in the other's place.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of every lot.")
    imported: tuple[Path, ...] = Field(
        default=(),
        description="Names from outside, .csv or .jsonl, shown before the others; see atlas names.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"imported"}
