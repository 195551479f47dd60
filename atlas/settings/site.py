"""Settings of what is published: sections [catalog] and [site]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from atlas.base.text import clean_text
from atlas.settings.section import Section

CleanText = Annotated[str, AfterValidator(clean_text)]
"""Text of the site: half characters, controls and terminal escapes never get into it."""
HostName = Literal["github", "cloudflare-free", "huggingface", "s3", "local"]


class CatalogSettings(Section):
    """Tables, map, search vocabulary and texts of the site."""

    title: CleanText = Field(default="Feature atlas", description="Title on every page.")
    note: CleanText = Field(
        default="",
        description="One or two sentences shown on every page: what was measured, and what not to conclude.",
    )
    vocabulary: Path | None = Field(
        default=None,
        description="Folder of the vocabulary (words and their vectors in the joint space), for search by meaning. If unset, search finds captions only.",
    )
    figures: tuple[Path, ...] = Field(
        default=(),
        description="JSON files of figures measured elsewhere (encoder, search), each with its null, n and command; shown on the report page.",
    )
    credit: CleanText = Field(
        default="",
        description="Who made the pictures and under which license; shown in the footer of every page.",
    )
    license_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="http or https address of the license of the pictures; linked to in the footer of every page and on the page About.",
    )
    synthetic: bool = Field(
        default=False, description="Put a SYNTHETIC banner and noindex on every page."
    )
    owner_url: str = Field(
        default="",
        description="http or https address for feedback and take-down requests; an address that ends in /issues/new gets the feature as the title.",
    )
    takedown: Path | None = Field(
        default=None,
        description="List of what must not be published, an entry a line: key, url, sha256, dhash, picture, feature or caption, and its value. The next build leaves it out everywhere, and the site names its entries by hashes alone.",
    )
    review: Path | None = Field(
        default=None,
        description="The owner's decisions on images (image, key, show, withhold or unsure), as the page of atlas review saves them. They count at the next build of catalog and site; what is taken down stays so.",
    )
    sensitive_phrases: tuple[str, ...] = Field(
        default=(),
        description="Phrases such as a naked person or a bloody wound: an image near to one, by the text tower of embed.encoder, is withheld until its owner decides on it in atlas review. For sets without marks; none by default.",
    )
    sensitive_share: float = Field(
        default=0.99,
        ge=0.5,
        le=1,
        description="Share of 512 ordinary words to which an image must be less near than to the phrase, 0.5 to 1. An image that has nothing to do with a phrase is above 0.99 once in a hundred times.",
    )
    decomposed_images: int = Field(
        default=2000, ge=0, description="Images that get a page with their features."
    )
    map_neighbors: int = Field(default=15, ge=2, description="n_neighbors of UMAP.")
    map_min_dist: float = Field(default=0.05, ge=0, le=1, description="min_dist of UMAP, 0 to 1.")
    map_seed: int = Field(default=0, ge=0, description="Seed of the layout of the map.")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"vocabulary", "figures", "takedown", "review"}


class SiteSettings(Section):
    """Layout of the site's files, and the host whose limits they must meet."""

    layout: Literal["pages", "groups"] = Field(
        default="pages",
        description="pages: one file per live feature. groups: sixteen features per file.",
    )
    pictures: Literal["files", "sheets"] = Field(
        default="files",
        description="files: each picture is a file. sheets: icons are joined in the order of the map and thumbnails page by page, for hosts that limit the number of files.",
    )
    images: Literal["auto", "thumbnails", "links", "none"] = Field(
        default="auto",
        description="How an image of the data is shown. thumbnails: by its thumbnail, or its caption if it has none. links: by its caption and a link to its url. none: by its caption alone. auto: thumbnails if there are any, else links if there are urls, else none.",
    )
    tables: Literal["shown", "all", "none"] = Field(
        default="shown",
        description="Which Parquet tables can be downloaded from the site. shown: all, but of images and groupings only the rows of images that the pages show. all: all of them whole. none: none.",
    )
    load_images: bool = Field(
        default=False,
        description="With links: pages also load each picture from its https url, so every visit reaches the hosts that have them. Off, a page loads nothing from elsewhere.",
    )
    host: HostName = Field(
        default="local", description="The build fails if the site exceeds the limits of this host."
    )
    base_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/?#]+(/[^\s/?#]+)*)?$",
        description="http or https address at which the site will be published, without a trailing slash: for sitemaps, for short links on hosts that answer a missing address with 404.html, and for sharing: canonical links, cards, frames and oEmbed.",
    )
    media_base_url: str = Field(
        default="",
        pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~-]+)*)?$",
        description="http or https address at which the pictures will be published if not with the pages, made of letters, digits and . _ ~ - only, without a trailing slash: they are written to site/media, and the limits of the host apply to everything else.",
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
        description="Which sheets also have a version for dense screens, NAME@2x.webp: twice the side, or the side of the source pictures if that is smaller; none if the source pictures are no larger.",
    )

    def icon_sides(self, source_px: int) -> tuple[int, ...]:
        """Return the side of an icon in its sheet, and in the 2x sheet if there is one.

        Args:
            source_px: Side of the smallest icon or stand-in.
        """
        return _sides(self.icon_px, source_px, self.sheets_2x != "none")

    def thumbnail_sides(self, source_px: int) -> tuple[int, ...]:
        """Return the side of a thumbnail in its sheet, and in the 2x sheet if there is one.

        Args:
            source_px: Side of a thumbnail.
        """
        return _sides(self.thumbnail_px, source_px, self.sheets_2x == "all")

    def why_once(self, icon_px: int, thumbnail_px: int) -> list[str]:
        """Return a message for each kind of sheet that sheets_2x asks for but that is not made.

        Args:
            icon_px: source_px of icon_sides; 0 if there are no icons.
            thumbnail_px: source_px of thumbnail_sides; 0 if there are no thumbnails.
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
    """Return the sides of a cell at each density; pictures are never enlarged."""
    return (px, min(2 * px, source_px)) if twice and source_px > px else (px,)
