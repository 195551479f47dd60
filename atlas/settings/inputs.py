"""Settings of the images: section [embed]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


class EmbedSettings(Section):
    """Pictures to embed, or existing embeddings."""

    vectors: str | None = Field(
        default=None,
        description="Existing embeddings: a glob of .npy shards of shape (image, d), float16 or float32, not normalized, which are read in place; or of Parquet files with a column of embeddings, which are unpacked. If unset, the stage embeds the pictures.",
    )
    images: Path | None = Field(
        default=None,
        description="Table of the images (Parquet, Arrow, JSON lines or CSV), one row per vector, in the order of the shards: name, caption and, if known, url, tags, terms, split, sensitive. Case is ignored, and the column names of other tools are understood. Or a folder or glob of such tables, each matched to the shard of its number.",
    )
    pictures: Path | None = Field(
        default=None,
        description="Pictures to embed: a folder (captions next to them as .txt or .json, or in metadata.csv, metadata.jsonl or captions.json), tar archives of img2dataset, or Parquet and Arrow tables in the layout of Hugging Face. With images or compositions: a Parquet table of pictures (column webp), or of the parts that compositions are made of.",
    )
    compositions: Path | None = Field(
        default=None,
        description="Parquet table of recipes; each image is composed from the pictures when it is needed.",
    )
    encoder: Path | None = Field(
        default=None,
        description="Folder of the encoder that made the vectors, or that embeds the pictures: as written by atlas encoder, or as downloaded from a model hub.",
    )
    thumbnail_px: int = Field(
        default=128, ge=16, le=512, description="Side of the square thumbnails, in pixels."
    )
    thumbnail_quality: int = Field(
        default=80, ge=1, le=100, description="WebP quality of the thumbnails, 1 to 100."
    )
    ground: str = Field(
        default="#ffffff",
        pattern="^#[0-9a-f]{6}$",
        description="Color behind transparent pictures, as #rrggbb; recorded with the embeddings. White, as img2dataset lays them; open_clip drops the transparency and shows the color below, often black, so an SAE trained through open_clip alone may expect #000000.",
    )
    crops: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Seeded crops of each picture that are embedded beside it, for training an SAE alone; they are no images of the atlas. For sets of pictures that are few.",
    )
    images_per_shard: int = Field(
        default=8192,
        ge=1,
        description="Images per shard where this stage makes the shards; an archive or a table is always one shard.",
    )
    duplicate_cosine: float = Field(
        default=0.98,
        ge=0,
        le=1,
        description="Cosine of centered embeddings from which on two images are duplicates; rows of top images show only the first. Identical files are always duplicates.",
    )

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"vectors", "images", "pictures", "compositions", "encoder"}
