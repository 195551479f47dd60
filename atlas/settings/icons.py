"""Settings of the stages that draw or encode images: sections [icons], [where] and [concepts]."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from atlas.settings.section import Section


class IconsSettings(Section):
    """An icon of every live feature, drawn by a decoder; used if decoder is set."""

    decoder: Path | None = Field(
        default=None,
        description="Folder of the decoder (a diffusers pipeline as written by save_pretrained). If unset, the stage does not run, and a top image stands in for each icon.",
    )
    renderer: Literal["kandinsky22", "ip_adapter_sdxl", "stable_cascade", "stable_unclip"] = Field(
        default="kandinsky22",
        description="Kind of decoder: the name of a module of atlas.icons.renderers.",
    )
    template: Path | None = Field(
        default=None,
        description="Neutral picture from whose scaled activations every icon starts, or its raw embedding as .npy or .pt. If unset, plain white.",
    )
    template_scale: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Factor that the activations of the template are multiplied by.",
    )
    strength: float = Field(
        default=100.0, gt=0, description="What a feature is set to, in strength_unit."
    )
    strength_unit: Literal["activation", "norm", "natural"] = Field(
        default="activation",
        description="activation: the activation itself. norm: the length of what the feature adds to the embedding. natural: a multiple of the largest activation of the feature.",
    )
    px: int = Field(default=512, ge=16, le=2048, description="Side of an icon, in pixels.")
    steps: int = Field(default=12, ge=1, le=200, description="Diffusion steps.")
    guidance: float = Field(
        default=4.0,
        ge=1,
        description="Guidance scale against the mean-gray picture; 1 is none.",
    )
    seed: int = Field(default=1, ge=0, description="Seed of the noise, the same for every icon.")
    block_features: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Icons drawn in a batch and saved together as one part; another number can change the last bit of a pixel.",
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the decoder."
    )
    compiled: bool = Field(
        default=False,
        description="Compile the decoder with torch.compile; can change the last bit of a pixel.",
    )
    quality: int = Field(
        default=85, ge=1, le=100, description="WebP quality of the icons, 1 to 100."
    )
    sample_features: int = Field(
        default=200,
        ge=0,
        description="Features, drawn at random, that are also drawn with the replicate seeds, compared with random directions and nearest pictures, and shown to the second encoder.",
    )
    replicate_seeds: tuple[int, ...] = Field(
        default=(2, 3),
        description="Further seeds for the icons of the sample; a feature of the sample must pass with each of them.",
    )
    strip_features: int = Field(
        default=64,
        ge=0,
        description="Features, drawn at random, that get a strip of icons at five strengths.",
    )
    second_encoder: Path | None = Field(
        default=None,
        description="Folder of a second encoder, which takes no part in drawing. It judges whether the icons of the sample look like the images of their features.",
    )
    second_layer: Literal["embedding", "trunk"] = Field(
        default="embedding",
        description="Which output of the second encoder is used: its embedding, or the input of its last linear layer.",
    )
    second_images: int = Field(
        default=9,
        ge=1,
        description="Top images of a feature that the second encoder compares with.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"decoder", "template", "second_encoder"}


class WhereSettings(Section):
    """Maps of the part of a top image that drives a feature; needs an encoder and pictures."""

    features: int = Field(
        default=0,
        ge=0,
        description="Features, drawn at random, whose top images get a map of where the feature looks; each map takes 52 runs of the encoder. 0 for none.",
    )
    images: int = Field(
        default=3, ge=1, le=9, description="Top images of each of these features that get a map."
    )
    seed: int = Field(default=0, ge=0, description="Seed of all random draws.")


class ConceptsSettings(Section):
    """Groups of the features of each image; examples, with knobs if icons.decoder is set."""

    tau_coarse: float = Field(
        default=20.0,
        gt=0,
        description="Minimum mass of a coarse concept, before scaling by reference_mass.",
    )
    tau_fine: float = Field(
        default=5.0,
        gt=0,
        description="Minimum mass of a fine concept, before scaling by reference_mass.",
    )
    reference_mass: float = Field(
        default=100.0,
        ge=0,
        description="Median mass of an image for which tau_coarse and tau_fine are meant: both are multiplied by the median image mass of this atlas over it. The seed's own is unpublished; 100 is an assumption. 0 for the seed's SAE: no scaling.",
    )
    restarts: int = Field(
        default=5, ge=1, le=100, description="Runs of k-means for each number of groups."
    )
    seed: int = Field(default=0, ge=0, description="Seed of k-means and of all random draws.")
    matched_images: int = Field(
        default=2000,
        ge=1,
        description="Images, drawn at random, whose fine concepts are clustered into recurring ones and searched for nearest neighbors.",
    )
    match_cosine: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Minimum cosine of the centers of two concepts that count as one recurring concept.",
    )
    recurring: int = Field(
        default=200, ge=0, description="Recurring concepts kept, those with the most images first."
    )
    examples: int = Field(
        default=100,
        ge=0,
        description="Images whose concepts are kept in full: those in chosen, then by greedy coverage of the features.",
    )
    chosen: tuple[int, ...] = Field(
        default=(), description="Row numbers of images chosen by hand; their pages say so."
    )
    drawn_examples: int = Field(
        default=12,
        ge=0,
        description="Examples drawn with knobs if there is a decoder: of those with two to five coarse concepts first the ones whose own drawing shows half of each concept's mass or more.",
    )


class DrawnConcepts(Section):
    """What the concepts stage depends on: its own section, and how pictures are drawn."""

    concepts: ConceptsSettings
    icons: IconsSettings

    @classmethod
    def places(cls) -> Any:
        """Return the fields that locate inputs, and those that only the icons stage uses."""
        alone = {"sample_features", "replicate_seeds", "strip_features", "block_features"}
        alone |= {"second_layer", "second_images"}
        return {"icons": IconsSettings.places() | alone}
