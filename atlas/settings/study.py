"""Settings of the stages that study a scan: [neighbors], [families], [compare], [names]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


class NeighborsSettings(Section):
    """Neighbors, co-activations and near misses of every feature."""

    feature_neighbors: int = Field(
        default=32,
        ge=1,
        description="Nearest live features kept per feature, by cosine of decoder directions.",
    )
    coactivations: int = Field(
        default=32,
        ge=1,
        description="Features kept per feature that fire together with it most often.",
    )
    near_misses: int = Field(
        default=16,
        ge=0,
        description="Near misses kept per feature: images similar to its top images on which it does not fire.",
    )
    near_miss_top_images: int = Field(
        default=16,
        ge=1,
        description="Top images per feature around which near misses are searched.",
    )
    near_miss_pool: int = Field(
        default=64, ge=1, description="Nearest images considered around each of these top images."
    )
    duplicate_cosine: float = Field(
        default=0.98,
        ge=0,
        le=1,
        description="Cosine of centered embeddings from which on two images are duplicates; a duplicate of a top image is not a near miss.",
    )


class FamiliesSettings(Section):
    """Relatives of features, clusters and monosemanticity."""

    second_vectors: str | None = Field(
        default=None,
        description="Embeddings of the same images by another encoder, from which monosemanticity is computed: a glob of .npy shards of shape (image, d), float16 or float32. If unset, there is no such score.",
    )
    replicates: str | None = Field(
        default=None,
        description="Decoder directions of SAEs that differ from this one in their seed alone: a glob of .npy files of shape (feature, d), one an SAE. Each feature's page then says in how many it is found again.",
    )
    duplicate_cosine: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Decoder cosine above which two features may be duplicates.",
    )
    duplicate_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Minimum share of the images of each duplicate on which the other fires too.",
    )
    antipode_cosine: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Two features are antipodes if their decoder cosine is at most minus this.",
    )
    strong_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of the firings of a feature, the strongest, on which parents are searched; 1 takes all.",
    )
    parent_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Minimum share of the strong images of the child on which a parent fires.",
    )
    child_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Maximum share of the strong images of the parent on which the child fires.",
    )
    relatives: int = Field(default=8, ge=1, description="Relatives of each kind kept per feature.")
    seed: int = Field(default=0, ge=0, description="Seed of clusters, nulls and intervals.")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"second_vectors", "replicates"}


class CompareSettings(Section):
    """Comparison with another atlas; used if one is named."""

    other: Path | None = Field(
        default=None,
        description="Folder of another finished atlas of the same images; a page then shows which features the two share and which each lacks.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the permutations of the null and of the pairs shown."
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"other"}


class NamesSettings(Section):
    """Names of features; used if there is a vocabulary or a file of names."""

    captions: bool = Field(
        default=False,
        description="Choose names among the words of captions and tags, else of file names, and call a name good only if half of a feature's strongest images hold it; the vocabulary, if there is one, names features whose images have no text.",
    )
    ignored: tuple[str, ...] = Field(
        default=(),
        description="Phrases that captions and tags are read without: what many of them say of how something is shown, not of what it is.",
    )
    images: int = Field(
        default=256,
        ge=1,
        description="Strongest images of a feature from which its name is chosen.",
    )
    temperature: float = Field(
        default=10.0,
        gt=0,
        description="Factor that cosines of images and words are multiplied by before the softmax.",
    )
    prior_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the log prior of a word; higher favors rarer words.",
    )
    fewest_captions: int = Field(
        default=1,
        ge=0,
        description="Images whose caption or tags must contain a word before it can be a name; 0 allows every word of the vocabulary.",
    )
    least_auroc: float = Field(
        default=0.75,
        ge=0.5,
        le=1,
        description="Minimum AUROC of a first word, firing images against silent ones, on the images that chose it; below it the feature gets no name.",
    )
    graded_images: int = Field(
        default=200,
        ge=1,
        description="Firing images, at most, on which the name of a feature is graded.",
    )
    silent_images: int = Field(
        default=2048,
        ge=1,
        description="Silent images, drawn at random, against which a name is graded.",
    )
    sibling_cosine: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Minimum cosine of two decoder directions for one feature to be suspected of absorbing the other.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of all random draws.")
    imported: tuple[Path, ...] = Field(
        default=(),
        description="Files of names from elsewhere, .csv or .jsonl, shown before the others; see atlas names.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"imported"}
