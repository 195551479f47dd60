"""Images drawn from recipes: which pictures, where, how large, on what ground.

An image that is composed is stored as its recipe, a few numbers, and drawn again wherever it
is needed. Drawing is a pure function of the recipe and the pictures: no random number is
drawn here.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from atlas.base.errors import InputError
from atlas.base.files import digest_json, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)
PICTURES_HELD = 4096
"""Decoded pictures kept in memory; the oldest goes first."""
MOST_PIXELS = 40_000_000
"""A picture that claims more is refused before it is decoded."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One picture in an image; lengths in thousandths of the image's side."""

    picture: int
    """Row of the picture in the table of pictures."""
    x: int
    """Of its center, from the left."""
    y: int
    """Of its center, from the top."""
    size: int
    """Its side."""
    flip: bool
    """Mirrored left to right."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image: a ground and the pictures on it, the last on top."""

    top: Color
    """Color of the ground at its upper edge, 0 to 255 each."""
    bottom: Color
    """Color at its lower edge; equal to top for a plain ground."""
    placed: tuple[Placed, ...]


def single(picture: int) -> Recipe:
    """Return the recipe of one picture that fills a white image."""
    return Recipe(WHITE, WHITE, (Placed(picture, 500, 500, 1000, flip=False),))


def compose(recipe: Recipe, pictures: Pictures, px: int) -> Image.Image:
    """Return the image of a recipe as RGB, px on each side."""
    canvas = _ground(recipe.top, recipe.bottom, px)
    for placed in recipe.placed:
        side = max(1, round(placed.size * px / 1000))
        picture = pictures.decode(placed.picture).resize((side, side), Image.Resampling.BICUBIC)
        if placed.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        corner = (round(placed.x * px / 1000 - side / 2), round(placed.y * px / 1000 - side / 2))
        canvas.paste(picture, corner, picture)
    return canvas


def _ground(top: Color, bottom: Color, px: int) -> Image.Image:
    if top == bottom:
        return Image.new("RGB", (px, px), top)
    ramp = Image.linear_gradient("L").resize((px, px), Image.Resampling.BILINEAR)
    return Image.composite(
        Image.new("RGB", (px, px), bottom), Image.new("RGB", (px, px), top), ramp
    )


class Pictures:
    """A table of encoded pictures (column webp), decoded when asked for."""

    def __init__(self, webps: list[bytes]) -> None:
        """Hold the encoded pictures, by row."""
        self._webps = webps
        self._decoded: OrderedDict[int, Image.Image] = OrderedDict()
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._webps)

    def encoded(self, picture: int) -> bytes:
        """Return the bytes of a picture, as stored."""
        return self._webps[picture]

    def digest(self, picture: int) -> str:
        """Return one SHA-256 of a picture, as stored."""
        if picture not in self._digests:
            self._digests[picture] = digest_json(self._webps[picture].hex())
        return self._digests[picture]

    def decode(self, picture: int) -> Image.Image:
        """Return a picture as a square RGBA image, padded with transparency.

        Raises:
            InputError: The stored bytes are no picture, or one of absurd size.
        """
        if picture not in self._decoded:
            self._decoded[picture] = _square(_decode(self._webps[picture], picture))
            if len(self._decoded) > PICTURES_HELD:
                self._decoded.popitem(last=False)
        return self._decoded[picture]


def _decode(data: bytes, picture: int) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(data), formats=("WEBP", "PNG", "JPEG"))
        if opened.width * opened.height > MOST_PIXELS:
            raise InputError(
                f"picture {picture} claims {opened.width} x {opened.height} pixels, "
                f"at most {MOST_PIXELS:,} are decoded; drop it"
            )
        return opened.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"picture {picture} can't be decoded ({error}); drop it") from error


def _square(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    if picture.size == (side, side):
        return picture
    padded = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    padded.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return padded


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Draws image i of a set."""

    pictures: Pictures
    recipes: tuple[Recipe, ...]

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.recipes)

    def draw(self, image: int, px: int) -> Image.Image:
        """Return an image as RGB, px on each side."""
        return compose(self.recipes[image], self.pictures, px)

    def digest(self, first: int, count: int) -> str:
        """Return one SHA-256 of all that decides how these images look."""
        parts: list[Any] = []
        for recipe in self.recipes[first : first + count]:
            used = [self.pictures.digest(p.picture) for p in recipe.placed]
            parts.append([recipe.top, recipe.bottom, used, [_numbers(p) for p in recipe.placed]])
        return digest_json(parts)


def _numbers(placed: Placed) -> list[int]:
    return [placed.x, placed.y, placed.size, int(placed.flip)]


def open_pictures(pictures: Path, compositions: Path | None = None) -> PictureSource:
    """Open what draws the images of a set.

    Args:
        pictures: Parquet table with the column webp (bytes of WebP, PNG or JPEG).
        compositions: Parquet table of recipes, one an image; without it image i is picture i.

    Raises:
        MissingError: A file is not there.
        InputError: A file is damaged, or a recipe names a picture that is not there.
    """
    held = Pictures(read_parquet(pictures, ["webp"])["webp"].to_pylist())
    if compositions is None:
        return PictureSource(held, tuple(single(picture) for picture in range(len(held))))
    recipes = read_recipes(compositions)
    for image, recipe in enumerate(recipes):
        for placed in recipe.placed:
            if not 0 <= placed.picture < len(held):
                raise InputError(
                    f"{compositions}: image {image} is made of picture {placed.picture}, "
                    f"{pictures} has {len(held)}; use the two files that belong together"
                )
    return PictureSource(held, recipes)


def read_recipes(path: Path) -> tuple[Recipe, ...]:
    """Read a table of recipes: ground (6 numbers), and lists picture, x, y, size, flip."""
    columns = [read_parquet(path)[name].to_pylist() for name in RECIPE_COLUMNS]
    recipes = []
    for ground, *lists in zip(*columns, strict=True):
        r, g, b, r2, g2, b2 = ground
        placed = tuple(Placed(*values) for values in zip(*lists, strict=True))
        recipes.append(Recipe((r, g, b), (r2, g2, b2), placed))
    return tuple(recipes)


RECIPE_COLUMNS = ("ground", "picture", "x", "y", "size", "flip")


def recipe_table(recipes: list[Recipe]) -> pa.Table:
    """Return recipes as the table that read_recipes reads."""
    import pyarrow as pa

    small, number = pa.list_(pa.uint8()), pa.list_(pa.int32())
    lists = {
        name: pa.array([[getattr(p, name) for p in recipe.placed] for recipe in recipes], number)
        for name in RECIPE_COLUMNS[1:5]
    }
    flips = [[p.flip for p in recipe.placed] for recipe in recipes]
    grounds = [[*recipe.top, *recipe.bottom] for recipe in recipes]
    return pa.table(
        {
            "ground": pa.array(grounds, small),
            **lists,
            "flip": pa.array(flips, pa.list_(pa.bool_())),
        }
    )
