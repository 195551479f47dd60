"""Settings of the images: section [embed]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


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
