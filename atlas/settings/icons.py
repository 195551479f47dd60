"""Settings of drawn images: sections [icons], [where] and [concepts]."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from atlas.settings.section import Section


class IconsSettings(Section):
    """A picture of every live feature, drawn by a decoder; used when decoder is named."""

    decoder: Path | None = Field(
        default=None,
        description="Folder of the decoder (a diffusers pipeline as save_pretrained leaves it). Without it the stage does not run, and a top image stands in for each icon.",
    )
    renderer: Literal["kandinsky22", "ip_adapter_sdxl", "stable_cascade", "stable_unclip"] = Field(
        default="kandinsky22",
        description="Kind of decoder: the name of a module of atlas.icons.renderers.",
    )
    template: Path | None = Field(
        default=None,
        description="Neutral picture whose scaled codes every icon starts from. Without it, plain white.",
    )
    template_scale: float = Field(
        default=0.2, ge=0, le=1, description="What the template's codes are multiplied by."
    )
    strength: float = Field(
        default=100.0, gt=0, description="What a feature is set to, in strength_unit."
    )
    strength_unit: Literal["activation", "norm", "natural"] = Field(
        default="activation",
        description="activation: as it is. norm: the length that the feature adds to the embedding. natural: times the feature's largest activation.",
    )
    px: int = Field(default=512, ge=16, le=2048, description="Side of an icon, in pixels.")
    steps: int = Field(default=12, ge=1, le=200, description="Steps of diffusion.")
    guidance: float = Field(
        default=4.0,
        ge=1,
        description="Weight of the feature against the mean-gray picture; 1 is none.",
    )
    seed: int = Field(default=1, ge=0, description="Seed of the noise, the same for every icon.")
    block_features: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Icons drawn together, and the unit of resuming; another number may change the last bit of a pixel.",
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the decoder's weights and sums."
    )
    compiled: bool = Field(
        default=False,
        description="True makes torch.compile speed up the decoder; it may change the last bit of a pixel.",
    )
    quality: int = Field(
        default=85, ge=1, le=100, description="WebP quality of the icons, 1 to 100."
    )
    sample_features: int = Field(
        default=200,
        ge=0,
        description="Features, drawn by lot, that are rendered with the replicate seeds too, held against random directions and nearest pictures, and shown to the second encoder.",
    )
    replicate_seeds: tuple[int, ...] = Field(
        default=(2, 3),
        description="Seeds of the sample's other icons; a sampled feature must pass in each of them.",
    )
    strip_features: int = Field(
        default=64,
        ge=0,
        description="Features, drawn by lot, that get a strip of five strengths.",
    )
    second_encoder: Path | None = Field(
        default=None,
        description="Folder of a second encoder, which had no part in drawing the icons. It says of the sample whether an icon looks like its feature's images.",
    )
    second_layer: Literal["embedding", "trunk"] = Field(
        default="embedding",
        description="What is taken of the second encoder: its embedding, or what its network gives before its last linear map.",
    )
    second_images: int = Field(
        default=9,
        ge=1,
        description="Top images of a feature that the second encoder compares with.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"decoder", "template", "second_encoder"}


class WhereSettings(Section):
    """Maps of which part of a top image drives a feature; used where an encoder and pictures are."""

    features: int = Field(
        default=0,
        ge=0,
        description="Features, drawn by lot, whose top images get a map of where they look; each map takes the encoder 52 pictures. 0 for none.",
    )
    images: int = Field(
        default=3, ge=1, le=9, description="Top images of each of these features that get a map."
    )
    seed: int = Field(default=0, ge=0, description="Seed of every lot.")


class ConceptsSettings(Section):
    """Every image's features in groups; examples, with knobs where icons.decoder is named."""

    tau_coarse: float = Field(
        default=20.0, gt=0, description="Least mass of a coarse concept, before it is scaled."
    )
    tau_fine: float = Field(
        default=5.0, gt=0, description="Least mass of a fine concept, before it is scaled."
    )
    reference_mass: float = Field(
        default=100.0,
        ge=0,
        description="Median image mass that the two are meant for: both are multiplied by this atlas's median image mass over it. The seed's own is unpublished; 100 is an assumption. 0 for the seed's SAE: nothing is scaled.",
    )
    restarts: int = Field(
        default=5, ge=1, le=100, description="Runs of k-means with each number of groups."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the runs and of all lots.")
    matched_images: int = Field(
        default=2000,
        ge=1,
        description="Images, drawn by lot, whose fine concepts found the recurring ones and are searched for the nearest elsewhere.",
    )
    match_cosine: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Least cosine between the centers of two concepts that count as one that recurs.",
    )
    recurring: int = Field(
        default=200, ge=0, description="Recurring concepts kept, those of the most images."
    )
    examples: int = Field(
        default=100,
        ge=0,
        description="Images whose concepts are kept whole: those chosen by hand, then by greedy coverage of the features.",
    )
    chosen: tuple[int, ...] = Field(
        default=(), description="Numbers of images chosen by hand; their pages say so."
    )
    drawn_examples: int = Field(
        default=12,
        ge=0,
        description="Examples drawn with knobs, where a decoder is named: the first that have two to five coarse concepts.",
    )


class DrawnConcepts(Section):
    """What stage concepts depends on: its own section, and how pictures are drawn."""

    concepts: ConceptsSettings
    icons: IconsSettings

    @classmethod
    def places(cls) -> Any:
        """Return the fields that say where inputs are, and those that concern icons alone."""
        alone = {"sample_features", "replicate_seeds", "strip_features", "block_features"}
        alone |= {"second_layer", "second_images"}
        return {"icons": IconsSettings.places() | alone}
