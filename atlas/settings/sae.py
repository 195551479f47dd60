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
    """Training of an SAE; used if [sae] names no checkpoint."""

    n_features: int = Field(default=4096, ge=1, description="Number of features.")
    activation: Literal["relu", "topk", "batchtopk"] = Field(
        default="relu",
        description="relu: the published recipe, with an l1 penalty for sparsity. topk, batchtopk: sparse by k instead, with decoder directions of unit length; a batch top-k SAE is saved with its final threshold.",
    )
    k: int = Field(
        default=32,
        ge=1,
        description="Features that fire on an image: at most, for topk; on average over a batch, for batchtopk.",
    )
    steps: int = Field(default=4000, ge=1, description="Optimizer steps.")
    batch_images: int = Field(
        default=512,
        ge=1,
        description="Images per step; changes the loss, which is summed over them.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate of Adam.")
    warmup_steps: int = Field(
        default=200, ge=0, description="Steps over which the learning rate rises from zero."
    )
    decay_steps: int = Field(
        default=800,
        ge=0,
        description="Steps at the end over which the learning rate falls to zero.",
    )
    l1: float = Field(
        default=4e-5,
        ge=0,
        description="Weight of the sparsity penalty, for relu: activation times decoder norm, summed over batch and features.",
    )
    l1_warmup_steps: int = Field(
        default=400,
        ge=0,
        description="Steps over which the weight of the sparsity penalty rises from zero.",
    )
    tied: bool = Field(default=False, description="Tie the decoder to the transposed encoder.")
    resample_steps: tuple[int, ...] = Field(
        default=(),
        description="Steps at which dead features are resampled: those that have not fired since the previous one of these steps.",
    )
    aux_k: int = Field(
        default=0,
        ge=0,
        description="Dead features that reconstruct the residual of each image in the auxiliary loss; 0 turns the loss off.",
    )
    aux_weight: float = Field(
        default=1 / 32,
        gt=0,
        description="Weight of the auxiliary loss relative to the squared error.",
    )
    dead_after_images: int = Field(
        default=100_000,
        ge=1,
        description="Images without a firing after which the auxiliary loss treats a feature as dead.",
    )
    buffer_images: int = Field(
        default=262_144,
        ge=1,
        description="Images held in memory and shuffled together; a larger set is read in pieces, in a different order each pass.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of matrix products in training; bfloat16 (autocast) only on GPUs that support it.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the initial directions and of the order of images."
    )
    storage: Literal["float16", "float32"] = Field(
        default="float32", description="Precision in which the weights are saved."
    )


class SaeSettings(Section):
    """The SAE whose features the atlas shows, and facts that its checkpoint lacks."""

    path: Path | None = Field(
        default=None,
        description="Checkpoint: a folder or a file of weights, in any of the supported formats. Without path, repo or url, the train stage trains an SAE.",
    )
    repo: str | None = Field(
        default=None,
        description="Checkpoint on the Hugging Face Hub, as owner/name; stored in the Hub's own cache.",
    )
    revision: str = Field(default="main", description="Branch, tag or commit of sae.repo.")
    url: str | None = Field(
        default=None,
        description="Checkpoint as a single file at an https address; requires sae.sha256.",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file at sae.url, 64 hex characters.",
    )
    file: str | None = Field(
        default=None,
        description="Folder or file within the checkpoint, if it holds more than one SAE.",
    )
    format: CheckpointFormat = Field(
        default="auto",
        description="Format of the checkpoint; auto detects it from the contents of the files.",
    )
    k: int | None = Field(
        default=None,
        ge=1,
        description="Features that fire on an image, if the checkpoint does not say.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        description="Activation above which a feature fires, if the checkpoint does not say.",
    )
    activation: Literal["relu"] | None = Field(
        default=None,
        description="Set to relu if the checkpoint does not name its activation function.",
    )
    pre_bias: bool | None = Field(
        default=None,
        description="Whether the decoder bias is subtracted from the input; if unset, the convention of the format applies.",
    )
    input_mean: Path | None = Field(
        default=None,
        description="Mean to subtract from embeddings before the SAE, a .npy of shape (d,), if the checkpoint does not hold it.",
    )
    input_scale: float | None = Field(
        default=None,
        gt=0,
        description="Factor to multiply embeddings by before the SAE, if the checkpoint does not say.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"path", "input_mean", "repo", "revision", "url", "sha256"}
