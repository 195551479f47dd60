"""Settings of the SAE: sections [sae] and [train]."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from atlas.settings.section import Section

CheckpointFormat = Literal[
    "auto",
    "atlas",
    "clipscope",
    "dictionary_learning",
    "msae",
    "overcomplete",
    "patchsae",
    "prisma",
    "saelens",
    "saev",
    "seed",
    "sparsify",
]


class TrainSettings(Section):
    """A new SAE; used when [sae] names no checkpoint."""

    n_features: int = Field(default=4096, ge=1, description="Features of the new SAE.")
    activation: Literal["relu", "topk", "batchtopk"] = Field(
        default="relu",
        description="relu: the published recipe, made sparse by l1. topk, batchtopk: made sparse by k instead, with decoder directions of length 1; a batch top-k is kept with the threshold that it ends with.",
    )
    k: int = Field(
        default=32,
        ge=1,
        description="Features that fire on an image: at most, for topk; on average in a batch, for batchtopk.",
    )
    steps: int = Field(default=4000, ge=1, description="Steps of the optimizer.")
    batch_images: int = Field(
        default=512, ge=1, description="Images in a step; part of the loss, which sums over them."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Adam's learning rate.")
    warmup_steps: int = Field(
        default=200, ge=0, description="Steps over which the learning rate rises from zero."
    )
    decay_steps: int = Field(
        default=800, ge=0, description="Last steps, over which the learning rate falls to zero."
    )
    l1: float = Field(
        default=4e-5,
        ge=0,
        description="Weight of the sparsity term, for relu: the sum over batch and features of activation times decoder norm.",
    )
    l1_warmup_steps: int = Field(
        default=400, ge=0, description="Steps over which the sparsity weight rises from zero."
    )
    tied: bool = Field(
        default=False, description="True keeps the decoder equal to the transposed encoder."
    )
    resample_steps: tuple[int, ...] = Field(
        default=(),
        description="Steps at which features that have not fired since the step before are given new directions.",
    )
    aux_k: int = Field(
        default=0,
        ge=0,
        description="Dead features that are to explain, on each image, what the others leave over; 0 for no such loss.",
    )
    aux_weight: float = Field(
        default=1 / 32, gt=0, description="Weight of that loss beside the squared error."
    )
    dead_after_images: int = Field(
        default=100_000,
        ge=1,
        description="Images without a firing from which on that loss takes a feature for dead.",
    )
    buffer_images: int = Field(
        default=262_144,
        ge=1,
        description="Images in memory at once, in which they are shuffled; a set of more is read in pieces, in another order each time.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of the products while training; bfloat16 (autocast) only on cards that have it.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of directions and of the order of images.")
    storage: Literal["float16", "float32"] = Field(
        default="float32", description="Precision in which the weights are kept."
    )


class SaeSettings(Section):
    """The SAE whose features the atlas shows, and what its checkpoint does not say of itself."""

    path: Path | None = Field(
        default=None,
        description="Checkpoint: a folder or a file of weights, in any format of the table. Without path, repo or url the train stage makes one.",
    )
    repo: str | None = Field(
        default=None,
        description="Checkpoint on the Hugging Face Hub, as owner/name; kept in the Hub's own cache.",
    )
    revision: str = Field(default="main", description="Branch, tag or commit of sae.repo.")
    url: str | None = Field(
        default=None,
        description="Checkpoint as one file at an https address; sae.sha256 goes with it.",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file at sae.url, 64 hex characters.",
    )
    file: str | None = Field(
        default=None,
        description="Folder or file inside of the checkpoint, where it holds more than one.",
    )
    format: CheckpointFormat = Field(
        default="auto", description="Format; auto tells it by what the files hold."
    )
    k: int | None = Field(
        default=None, ge=1, description="Features that fire on an image, where a file lacks it."
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        description="Activation above which a feature fires, where a file lacks it.",
    )
    activation: Literal["relu"] | None = Field(
        default=None, description="relu where a file doesn't say how activations are chosen."
    )
    pre_bias: bool | None = Field(
        default=None,
        description="Whether the decoder's bias is subtracted from the input; unset: as the format has it.",
    )
    input_mean: Path | None = Field(
        default=None,
        description="Mean subtracted from embeddings before the SAE, a .npy of (d,), where a file lacks it.",
    )
    input_scale: float | None = Field(
        default=None,
        gt=0,
        description="Factor that embeddings are multiplied by before the SAE, where a file lacks it.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"path", "input_mean", "repo", "revision", "url", "sha256"}
