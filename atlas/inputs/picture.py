"""Reading a picture: decoded, turned upright, brought to the size that an encoder reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import InputError, MissingError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 80_000_000
"""A picture that claims more is refused before it is decoded."""


def read_picture(path: Path) -> Image.Image:
    """Return a picture from disk as RGB, as it is meant to be seen (turned as its EXIF says).

    Raises:
        MissingError: There is no such file.
        InputError: It is no picture, or one of absurd size.
    """
    if not path.is_file():
        raise MissingError(f"no picture at {path}; name a PNG, JPEG or WebP file")
    try:
        return decode_picture(path.read_bytes())
    except InputError as error:
        raise InputError(
            f"cannot read the picture {path}: {error}; name a PNG, JPEG or WebP file"
        ) from error


def decode_picture(data: bytes, *, least_px: int | None = None) -> Image.Image:
    """Return an encoded picture as RGB, as it is meant to be seen (turned as its EXIF says).

    Args:
        data: PNG, JPEG or WebP.
        least_px: A JPEG may be decoded smaller, halved as often as both its sides keep so many
            pixels; None decodes each pixel.

    Raises:
        InputError: It is no picture, is damaged, or claims an absurd size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow only warns of what is refused below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opening = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        with opening as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise InputError(
                    f"it claims {opened.width} x {opened.height} pixels, "
                    f"at most {MOST_PIXELS:,} are decoded"
                )
            if least_px is not None:
                opened.draft(None, (least_px, least_px))
            return ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError as error:
        raise InputError("it is no PNG, JPEG or WebP") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(str(error).splitlines()[0]) from error


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture is brought to the size that an encoder reads; open_clip's preprocessing."""

    height: int
    width: int
    interpolation: str
    """bicubic or bilinear."""
    resize_mode: str
    """shortest: its shorter side fits and the rest is cropped. longest: padded. squash: stretched."""
    fill: int
    """Gray level of the padding, 0 to 255."""

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Return a picture's (height, width, 3) levels."""
        from PIL import Image

        how = Image.Resampling[self.interpolation.upper()]
        if self.resize_mode == "squash":
            fitted = _resized(picture, self.width, self.height, how)
        elif self.resize_mode == "longest":
            fitted = self._crop_or_pad(_kept_ratio(picture, self.width, self.height, how, max))
        elif self.height == self.width:
            fitted = self._crop_or_pad(_shortest(picture, self.height, how))
        else:
            fitted = self._crop_or_pad(_kept_ratio(picture, self.width, self.height, how, min))
        return np.asarray(fitted, np.uint8)

    def _crop_or_pad(self, picture: Image.Image) -> Image.Image:
        from PIL import Image

        canvas = picture
        if picture.width < self.width or picture.height < self.height:
            size = (max(picture.width, self.width), max(picture.height, self.height))
            canvas = Image.new("RGB", size, (self.fill, self.fill, self.fill))
            canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        left, top = round((canvas.width - self.width) / 2), round((canvas.height - self.height) / 2)
        return canvas.crop((left, top, left + self.width, top + self.height))


def _resized(picture: Image.Image, width: int, height: int, how: Image.Resampling) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), how)


def _shortest(picture: Image.Image, px: int, how: Image.Resampling) -> Image.Image:
    if picture.width <= picture.height:
        return _resized(picture, px, int(px * picture.height / picture.width), how)
    return _resized(picture, int(px * picture.width / picture.height), px, how)


def _kept_ratio(
    picture: Image.Image,
    width: int,
    height: int,
    how: Image.Resampling,
    choose: Callable[[float, float], float],
) -> Image.Image:
    ratio = choose(picture.width / width, picture.height / height)
    return _resized(picture, round(picture.width / ratio), round(picture.height / ratio), how)


def difference_hash(picture: Image.Image) -> int:
    """Return 64 bits that say where a picture brightens from left to right, in nine columns and eight rows."""
    small = picture.convert("L").resize((9, 8), Image.Resampling.BOX)
    levels = np.asarray(small, np.int16)
    return int.from_bytes(np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes(), "big", signed=True)


def encode_webp(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as WebP bytes; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    # Method 4 takes twice as long and saves 4 % of the bytes.
    picture.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
