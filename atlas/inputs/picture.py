"""Reading a picture, in one way everywhere: as it is meant to be seen, at the size that an encoder reads.

The first frame, turned as EXIF says, in sRGB, 8 bits a channel, on an even ground where it is
transparent. What is odd but readable is noted, and nothing is printed.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from atlas.base.errors import InputError, MissingError
from atlas.inputs.gif import HEADS, first_frame

MOST_PIXELS = 80_000_000
"""A picture that claims more is refused before it is decoded."""
MOST_SIDE = 65_535
"""So is one with a longer side."""
THIN = 16
"""Of a picture longer than so many times its width only the middle is kept before it is resized."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
KNOWN = "PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC"
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
OTHER_FRAMES = "only the first of several frames is used"
WHITE = "#ffffff"
NOTE_LETTERS = 80
CROP_AREA = (1 / 3, 0.9)
CROP_LOG_RATIO = (-0.3, 0.3)
"""Log of by how much a crop is taller than its picture's own shape."""
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error)
"""What Pillow raises for files that are not what they say."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, and what was odd about its file."""

    picture: Image.Image
    """RGB."""
    notes: tuple[str, ...]
    """Short, without numbers, so that equal oddities can be counted."""


def read_picture(path: Path, ground: str = WHITE) -> Image.Image:
    """Return a picture from disk as RGB, as it is meant to be seen.

    Raises:
        MissingError: There is no such file.
        InputError: It is no picture, or one of absurd size.
    """
    if not path.is_file():
        raise MissingError(f"no picture at {path}; name a {KNOWN} file")
    try:
        return decode_picture(path.read_bytes(), ground=ground).picture
    except InputError as error:
        raise InputError(f"cannot read the picture {path}: {error}; name a {KNOWN} file") from error


def decode_picture(data: bytes, *, least_px: int | None = None, ground: str = WHITE) -> Decoded:
    """Return an encoded picture as RGB, as it is meant to be seen.

    Args:
        data: A file of one of the formats in KNOWN.
        least_px: A JPEG may be decoded smaller, halved as often as both its sides keep so many
            pixels; None decodes each pixel.
        ground: What lies behind transparency, #rrggbb.

    Raises:
        InputError: It is no picture, is damaged, or claims an absurd size.
    """
    with _listen() as notes:
        try:
            if data.startswith(HEADS):
                data, animated = first_frame(data)
                notes += [OTHER_FRAMES] * animated
            with _open(data) as opened:
                _refuse_absurd(opened)
                if least_px is not None:
                    opened.draft(None, (least_px, least_px))
                opened.load()
                picture = _upright(opened, notes)
                if opened.format != "MPO" and getattr(opened, "is_animated", False):
                    notes.append(OTHER_FRAMES)
                picture = to_rgb(picture, ground, notes)
        except UnidentifiedImageError as error:
            raise InputError(f"it is no {KNOWN}") from error
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise InputError((str(error) or type(error).__name__).splitlines()[0]) from error
    return Decoded(picture, tuple(dict.fromkeys(map(_short, notes))))


@contextmanager
def _listen() -> Iterator[list[str]]:
    """Give a list that collects what Pillow warns of or logs meanwhile, so that none is printed."""
    heard: list[str] = []
    handler, logger = _Ear(heard), logging.getLogger("PIL")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # It only warns of what is refused here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield heard
        heard += [str(one.message) for one in caught]
    finally:
        logger.removeHandler(handler)


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


def _short(note: str) -> str:
    """Return the first sentence of a note with N for numbers."""
    first = re.split(r"[.:;]\s|\n", note.strip())[0].rstrip(".")
    return re.sub(r"\d+", "N", first)[:NOTE_LETTERS]


def _open(data: bytes) -> Image.Image:
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        _ensure_heic()
    elif data[4:12] in (b"ftypavif", b"ftypavis") and not _reads_avif():
        raise InputError("it is AVIF, which this Pillow can't read; pip install pillow-avif-plugin")
    else:
        formats = tuple(one for one in FORMATS if one != "HEIF")
    return Image.open(io.BytesIO(data), formats=formats)


@cache
def _reads_avif() -> bool:
    Image.init()
    if "AVIF" not in Image.OPEN:
        try:
            import pillow_avif  # noqa: F401 - registers itself
        except ImportError:
            return False
    return "AVIF" in Image.OPEN


def _ensure_heic() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError("it is HEIC; pip install 'feature-atlas[heic]' to read it") from error
    register_heif_opener()


def _refuse_absurd(opened: Image.Image) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise InputError(
            f"it claims {width} x {height} pixels, at most {MOST_PIXELS:,} are decoded"
        )
    if max(width, height) > MOST_SIDE:
        raise InputError(
            f"it claims {width} x {height} pixels, at most {MOST_SIDE:,} a side are decoded"
        )


def _upright(opened: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(opened)
    except DAMAGED:
        notes.append("its EXIF is damaged, so it may lie on its side")
        return opened


def to_rgb(
    picture: Image.Image, ground: str = WHITE, notes: list[str] | None = None
) -> Image.Image:
    """Return a decoded picture of any mode as RGB.

    16 bits are scaled by their range; wider numbers and floats too, if they lie in 0 to 1 (floats),
    255 or 65535, else from their least to their greatest. Colors are converted to sRGB by the
    picture's own profile. Transparency shows the ground.

    Args:
        picture: As Pillow decoded it.
        ground: #rrggbb.
        notes: Gets what was odd.
    """
    if picture.mode == "RGB" and not picture.info.keys() & {"transparency", "icc_profile"}:
        return picture
    if picture.mode[0] in "IF":
        picture = _eight_bits(picture)
    if picture.mode in ("P", "PA", "1"):
        profile = picture.info.get("icc_profile")
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        picture.info["icc_profile"] = profile
    seen_through = picture.has_transparency_data
    if seen_through:
        picture = _in_srgb(picture.convert("RGBA"), notes)
        base = Image.new("RGBA", picture.size, ground)
        base.alpha_composite(picture)
        return base.convert("RGB")
    return _in_srgb(picture, notes).convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return a picture of one wide channel as 8-bit gray; what its file calls transparent stays so."""
    values = np.asarray(picture)
    clear = picture.info.get("transparency")
    hole = np.zeros(values.shape, bool) if not isinstance(clear, int) else values == clear
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    least, most = float(wide.min()), float(wide.max())
    if picture.mode.startswith("I;16"):
        least, most = 0.0, 65535.0
    elif least >= 0:
        ends = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
        fitting = [end for end in ends if most <= end]
        least, most = (0.0, fitting[0]) if fitting else (least, most)
    levels = (255 * (wide - least) / ((most - least) or 1.0) + 0.5).astype(np.uint8)
    gray = Image.fromarray(levels)
    if hole.any():
        gray.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    return gray


def _in_srgb(picture: Image.Image, notes: list[str] | None) -> Image.Image:
    """Return a picture with its colors in sRGB; as it is where it has no profile that fits it."""
    data = picture.info.get("icc_profile")
    if picture.mode == "LAB":
        return _transform(picture, ImageCms.createProfile("LAB"))
    if not isinstance(data, bytes) or picture.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return picture
        space = profile.profile.xcolor_space.strip()
        if space != {"L": "GRAY", "CMYK": "CMYK"}.get(picture.mode, "RGB"):
            raise ValueError(space)
        return _transform(picture, profile)
    except (ImageCms.PyCMSError, *DAMAGED):
        if notes is not None:
            notes.append("its color profile does not fit or is damaged, and is left out")
        return picture


def _transform(picture: Image.Image, profile: Any) -> Image.Image:
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    srgb = ImageCms.createProfile("sRGB")
    turned = ImageCms.profileToProfile(picture, profile, srgb, outputMode=mode)
    assert turned is not None
    return turned


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
        how = Image.Resampling[self.interpolation.upper()]
        if self.resize_mode == "squash":
            fitted = _resized(picture, self.width, self.height, how)
        elif self.resize_mode == "longest":
            fitted = self._crop_or_pad(_kept_ratio(picture, self.width, self.height, how, max))
        elif self.height == self.width:
            fitted = self._crop_or_pad(_shortest(_middle(picture), self.height, how))
        else:
            thick = _middle(picture)
            fitted = self._crop_or_pad(_kept_ratio(thick, self.width, self.height, how, min))
        return np.asarray(fitted, np.uint8)

    def _crop_or_pad(self, picture: Image.Image) -> Image.Image:
        canvas = picture
        if picture.width < self.width or picture.height < self.height:
            size = (max(picture.width, self.width), max(picture.height, self.height))
            canvas = Image.new("RGB", size, (self.fill, self.fill, self.fill))
            canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        left, top = round((canvas.width - self.width) / 2), round((canvas.height - self.height) / 2)
        return canvas.crop((left, top, left + self.width, top + self.height))


def _resized(picture: Image.Image, width: int, height: int, how: Image.Resampling) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), how)


def _middle(picture: Image.Image) -> Image.Image:
    """Return the middle of a very long picture: its ends would be cut off, after filling the memory."""
    width, height = picture.size
    wide, high = min(width, THIN * height), min(height, THIN * width)
    left, top = (width - wide) // 2, (height - high) // 2
    return (
        picture
        if picture.size == (wide, high)
        else picture.crop((left, top, left + wide, top + high))
    )


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
    wide, high = (max(1, round(side / ratio)) for side in picture.size)
    return _resized(picture, wide, high, how)


def crops_of(picture: Image.Image, n: int, seed: int) -> Iterator[Image.Image]:
    """Yield n crops of a picture for training: a third to nine tenths of its area, half of them mirrored."""
    random = np.random.default_rng(seed)
    width, height = picture.size
    for _ in range(n):
        share, tall = random.uniform(*CROP_AREA), random.uniform(*CROP_LOG_RATIO)
        wide = min(width, max(1, round(width * np.sqrt(share * np.exp(-tall)))))
        high = min(height, max(1, round(height * np.sqrt(share * np.exp(tall)))))
        left, top = (int(random.integers(0, most + 1)) for most in (width - wide, height - high))
        crop = picture.crop((left, top, left + wide, top + high))
        mirrored = random.random() < 0.5
        yield crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop


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
