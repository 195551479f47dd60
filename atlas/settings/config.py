"""What to build: one TOML file, read once and checked before anything runs.

Settings that decide bytes sit in the section of the stage they change and enter its plan.
Settings that only decide speed or place sit in [runtime], or are named by `places()`,
and never do. Paths are relative to the file that names them.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import write_text

REMEMBERED = ".settings.json"
"""In an atlas's folder: the whole configuration of its last build."""

HostName = Literal["github", "cloudflare-free", "huggingface", "s3", "local"]
ScreenKind = Literal["auto", "bf16", "int8", "float32"]
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


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are; their content is digested instead."""
        return set()


class EmbedSettings(Section):
    """Pictures to embed, or embeddings that somebody else made."""

    vectors: str | None = Field(
        default=None,
        description="Embeddings from outside: a glob of .npy shards of (image, d), float16 or float32, raw, read where they lie and never copied; or of Parquet files with a column of embeddings, which are unpacked. Without it the stage embeds the pictures itself.",
    )
    images: Path | None = Field(
        default=None,
        description="Table of the images (Parquet, JSON lines, CSV), a row a vector, in the order of the shards: name, caption, and if known url, tags, terms, split, sensitive, in any case and by other tools' names too. Or a folder or glob of such tables, each of which goes with the shard of its number.",
    )
    pictures: Path | None = Field(
        default=None,
        description="Pictures to embed: a folder (captions beside them as .txt or .json, or in metadata.csv, .jsonl or captions.json), img2dataset's tars, or Parquet and Arrow tables as Hugging Face has them. With images or compositions: a Parquet table of pictures (column webp), or of the constituents that compositions are made of.",
    )
    compositions: Path | None = Field(
        default=None,
        description="Parquet table of recipes: each image is composed from the pictures when it is needed.",
    )
    encoder: Path | None = Field(
        default=None,
        description="Folder of the encoder that made the vectors, or that is to make them, as atlas encoder or a model hub leaves it.",
    )
    thumbnail_px: int = Field(
        default=128, ge=16, le=512, description="Side of the square thumbnails, in pixels."
    )
    thumbnail_quality: int = Field(
        default=80, ge=1, le=100, description="WebP quality of the thumbnails, 1 to 100."
    )
    images_per_shard: int = Field(
        default=8192,
        ge=1,
        description="Images in a shard, where this stage cuts the shards; an archive or table is one.",
    )
    duplicate_cosine: float = Field(
        default=0.98,
        ge=0,
        le=1,
        description="Images as alike as this, by cosine of centered embeddings, repeat each other; rows of top images show the first. Equal files always do.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"vectors", "images", "pictures", "compositions", "encoder"}


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


class CatalogSettings(Section):
    """The tables, the map and the words of search."""

    title: str = Field(default="Feature atlas", description="Title on every page.")
    note: str = Field(
        default="",
        description="One or two sentences, shown on every page, on what was measured and what not to conclude.",
    )
    vocabulary: Path | None = Field(
        default=None,
        description="Folder of the vocabulary (words and their vectors in the joint space), for search by meaning. Without it search knows captions only.",
    )
    figures: tuple[Path, ...] = Field(
        default=(),
        description="JSON files of figures measured elsewhere (encoder, search), each with its null, n and command; shown on the report page.",
    )
    credit: str = Field(
        default="",
        description="Who made the pictures and under which license; at the foot of every page.",
    )
    synthetic: bool = Field(
        default=False, description="True puts a SYNTHETIC banner and noindex on every page."
    )
    owner_url: str = Field(
        default="",
        description="Address for feedback and take-down, http or https; one that ends in /issues/new "
        "gets the feature as the title.",
    )
    decomposed_images: int = Field(
        default=2000, ge=0, description="Images that get a page with their features."
    )
    map_neighbors: int = Field(
        default=15, ge=2, description="Neighbors that UMAP considers for a feature."
    )
    map_min_dist: float = Field(
        default=0.05, ge=0, le=1, description="UMAP's least distance between points, 0 to 1."
    )
    map_seed: int = Field(default=0, ge=0, description="Seed of the map's layout.")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"vocabulary", "figures"}


class SiteSettings(Section):
    """How the catalog becomes files, and which host they are to fit."""

    layout: Literal["pages", "groups"] = Field(
        default="pages",
        description="pages: a file for each live feature. groups: sixteen features in one file.",
    )
    pictures: Literal["files", "sheets"] = Field(
        default="files",
        description="files: each picture as it is. sheets: icons joined in the order of the map and thumbnails joined page by page, for hosts that count files.",
    )
    host: HostName = Field(
        default="local", description="The build fails where the site exceeds this host's limits."
    )
    base_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/?#]+(/[^\s/?#]+)*)?$",
        description="Where the site will be published, http or https, without a slash at the end: for its sitemaps, and for short links on hosts that answer a missing address with 404.html.",
    )
    media_base_url: str = Field(
        default="",
        pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~-]+)*)?$",
        description="Where the pictures will be published if not with the pages, http or https, of letters, digits and . _ ~ - only, without a slash at the end: they are written to site/media, and the host's limits count all else.",
    )
    icon_px: int = Field(
        default=64, ge=16, le=512, description="Side of an icon in a sheet, in pixels."
    )
    thumbnail_px: int = Field(
        default=64, ge=16, le=512, description="Side of a thumbnail in a sheet, in pixels."
    )
    sheet_quality: int = Field(
        default=60, ge=1, le=100, description="WebP quality of the sheets, 1 to 100."
    )
    sheets_2x: Literal["all", "icons", "none"] = Field(
        default="icons",
        description="Which sheets have a second one beside them for dense screens, NAME@2x.webp: twice the side, or that of the pictures it is cut from where they are smaller; none where they are no larger.",
    )

    def icon_sides(self, source_px: int) -> tuple[int, ...]:
        """Return the side of an icon in its sheet, and in the second sheet where there is one.

        Args:
            source_px: Side of the smallest picture among those that stand for features.
        """
        return _sides(self.icon_px, source_px, self.sheets_2x != "none")

    def thumbnail_sides(self, source_px: int) -> tuple[int, ...]:
        """Return the side of a thumbnail in its sheet, and in the second sheet where there is one.

        Args:
            source_px: Side of a thumbnail.
        """
        return _sides(self.thumbnail_px, source_px, self.sheets_2x == "all")

    def why_once(self, icon_px: int, thumbnail_px: int) -> list[str]:
        """Return which sheets have no second one although sheets_2x asks for it, and what to change.

        Args:
            icon_px: As in icon_sides; 0 without pictures.
            thumbnail_px: As in thumbnail_sides; 0 without pictures.
        """
        asked = {"all": ("icon", "thumbnail"), "icons": ("icon",), "none": ()}[self.sheets_2x]
        sizes = {"icon": (self.icon_px, icon_px), "thumbnail": (self.thumbnail_px, thumbnail_px)}
        return [
            f"no 2x sheets of {what}s: the pictures are {source} px wide and site.{what}_px is {px}; "
            "nothing is enlarged, so set it smaller or make larger pictures"
            for what, (px, source) in sizes.items()
            if what in asked and 0 < source <= px
        ]


def _sides(px: int, source_px: int, twice: bool) -> tuple[int, ...]:
    """Return the sides of a cell at each density: nothing is enlarged for dense screens."""
    return (px, min(2 * px, source_px)) if twice and source_px > px else (px,)


class Runtime(Section):
    """How to run. Nothing here changes a byte of what is built."""

    device: str = Field(
        default="cpu",
        description="Torch device: cpu, cuda:0 for one card, cuda for all; pictures are drawn by one process a card.",
    )
    threads: int = Field(
        default=0, ge=0, description="Threads a process may compute with; 0 leaves it to torch."
    )
    workers: int = Field(
        default=0,
        ge=0,
        description="Worker processes for pictures and for a scan; 0 means one a core, for a scan only where it is long.",
    )
    engine: Literal["local", "ranks", "ray"] = Field(
        default="local",
        description="Who scans. local: this machine's workers. ranks: every process that torchrun starts, which also draw icons, one a card. ray: a cluster.",
    )
    address: str = Field(
        default="auto", description="Of the Ray cluster; local starts one on this machine."
    )
    screen: ScreenKind = Field(
        default="auto",
        description="Fast product that a scan looks for candidates with: auto (the fastest here), bf16, int8 or float32.",
    )
    batch_images: int = Field(default=1024, ge=8, description="Images in memory at once.")


class ExpectedSettings(Section):
    """What is known of the inputs beforehand. Nothing here changes a byte of what is built."""

    images: int = Field(
        default=0, ge=0, description="Images that atlas plan reckons with where none are here yet."
    )
    width: int = Field(
        default=0, ge=0, description="Dimensions of the encoder's embeddings; 0 where unknown."
    )
    features: int = Field(default=0, ge=0, description="Features of the SAE; 0 where unknown.")
    encode_gflop: float = Field(
        default=0.0,
        ge=0,
        description="Billions of operations that the encoder takes for an image, for atlas plan.",
    )
    picture_gflop: float = Field(
        default=0.0,
        ge=0,
        description="Billions of operations that the decoder takes for a picture, for atlas plan.",
    )
    gpu_gb: float = Field(
        default=0.0, ge=0, description="Memory that a card should have, in GB; an estimate."
    )
    l0: float | None = Field(
        default=None,
        gt=0,
        description="Features that fire on an image, on average, as the SAE's author says; atlas doctor measures.",
    )
    explained_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Variance explained, in percent, as the SAE's author says; atlas doctor measures.",
    )
    gray_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the encoder's embedding of the mean-gray picture; atlas doctor measures.",
    )
    template_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the template's embedding, its codes scaled; atlas doctor measures.",
    )


class Download(Section):
    """One thing to fetch before a build, with its price. Nothing here changes a byte."""

    what: str = Field(
        description="Input that it becomes, as atlas plan calls it: encoder, decoder, checkpoint, pictures."
    )
    to: Path = Field(description="Folder that it belongs in.")
    command: str = Field(description="Command that fetches it; {to} stands for the folder.")
    size_gb: float = Field(ge=0, description="Bytes to fetch, in GB.")
    license: str = Field(default="", description="License, and who says so.")

    def told(self) -> str:
        """Return the command with the folder in it."""
        return self.command.replace("{to}", str(self.to))

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"to"}


class Config(Section):
    """One atlas."""

    out_dir: Path = Field(default=Path("build/atlas"), description="Folder of the finished atlas.")
    embed: EmbedSettings = Field(default_factory=EmbedSettings, description="Stage embed.")
    sae: SaeSettings = Field(default_factory=SaeSettings, description="The SAE.")
    train: TrainSettings = Field(default_factory=TrainSettings, description="Stage train.")
    scan: ScanSettings = Field(default_factory=ScanSettings, description="Stage scan.")
    neighbors: NeighborsSettings = Field(
        default_factory=NeighborsSettings, description="Stage neighbors."
    )
    families: FamiliesSettings = Field(
        default_factory=FamiliesSettings, description="Stage families."
    )
    compare: CompareSettings = Field(default_factory=CompareSettings, description="Stage compare.")
    names: NamesSettings = Field(default_factory=NamesSettings, description="Stage names.")
    icons: IconsSettings = Field(default_factory=IconsSettings, description="Stage icons.")
    where: WhereSettings = Field(default_factory=WhereSettings, description="Stage where.")
    concepts: ConceptsSettings = Field(
        default_factory=ConceptsSettings, description="Stage concepts."
    )
    catalog: CatalogSettings = Field(default_factory=CatalogSettings, description="Stage catalog.")
    site: SiteSettings = Field(default_factory=SiteSettings, description="Stage site.")
    runtime: Runtime = Field(default_factory=Runtime, description="How to run.")
    expected: ExpectedSettings = Field(
        default_factory=ExpectedSettings, description="What is known of the inputs beforehand."
    )
    downloads: tuple[Download, ...] = Field(
        default=(),
        description="What to fetch beforehand, for atlas plan: what, to, command, size_gb, license.",
    )


def settings_of(config: Config, stage: str) -> Section:
    """Return all settings that decide what a stage writes."""
    if stage == "concepts":
        return DrawnConcepts(concepts=config.concepts, icons=config.icons)
    section: Section = config.sae if stage == "convert" else getattr(config, stage)
    return section


def remember(config: Config) -> None:
    """Keep beside the stages what they are built from, for look-ups that encode or draw."""
    path, text = config.out_dir / REMEMBERED, config.model_dump_json(indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def recall(atlas_dir: Path) -> Config:
    """Return the configuration that an atlas was last built with.

    Raises:
        MissingError: The folder holds none, as a copied catalog doesn't.
        ConfigError: It is of another version of this program.
    """
    path = atlas_dir / REMEMBERED
    try:
        return Config.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(
            f"{atlas_dir} doesn't say what it was built from; build it on this machine first"
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{path} is of another version ({_explain(error)}); build the atlas again"
        ) from error


def load_config(path: Path, changes: Iterable[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: The TOML file.
        changes: Settings that override the file's, each as "section.key=value" with the
            value in TOML, or a bare word for text.

    Raises:
        ConfigError: The file is missing or malformed, or a setting is unknown or impossible.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}; name a .toml file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; name the .toml file in it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(raw, change)
    try:
        # By way of JSON, in which strict still lets text be a path and a list be a tuple.
        config = Config.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{_explain(error)}; see {path}") from error
    return _resolve(config, path.resolve().parent)


def _apply(raw: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set takes section.key=value, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table = raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: {key} is not a section")
    table[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """Return the first problem in one line, with a suggestion for a misspelt key."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = setting_names() if "." in name else list(Config.model_fields)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return f"unknown setting {name}" + (f"; did you mean {near[0]}?" if near else "")
    if first["type"] == "model_type":
        return f"{name} must be a section, got {first['input']!r}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{name}: {message}, got {first['input']!r}"


def setting_names() -> list[str]:
    """Return every setting's full name, in the order of the sections."""
    names = []
    for key, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            names += [f"{key}.{inner}" for inner in kind.model_fields]
        else:
            names.append(key)
    return names


def _resolve(config: Config, base: Path) -> Config:
    """Make every path absolute, counted from the configuration's folder."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Path):
            return Path(os.path.normpath(base / value))  # as people would write it
        if isinstance(value, tuple):
            return tuple(absolute(item) for item in value)
        return value

    changed: dict[str, Any] = {"out_dir": absolute(config.out_dir)}
    for name in Config.model_fields:
        section = getattr(config, name)
        if not isinstance(section, Section):
            continue
        update = {key: absolute(getattr(section, key)) for key in section.places()}
        for key in ("vectors", "second_vectors"):
            if getattr(section, key, None) is not None:
                update[key] = os.path.normpath(base / getattr(section, key))
        changed[name] = section.model_copy(update=update)
    changed["downloads"] = tuple(
        download.model_copy(update={"to": absolute(download.to)}) for download in config.downloads
    )
    return config.model_copy(update=changed)
