"""Reading one picture: every mode as it is meant to be seen, what is odd counted, what is absurd refused."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from atlas.base.errors import InputError
from atlas.inputs.picture import Fit, decode_picture, to_rgb

DARK = (20, 20, 20)


def saved(picture, kind, **how):
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return data.getvalue()


def read(picture, kind, **how):
    return np.asarray(decode_picture(saved(picture, kind, **how)).picture)


def disc():
    """A dark disc on nothing, the pixels below the nothing being black."""
    found = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(found).ellipse((16, 16, 48, 48), fill=(*DARK, 255))
    return found


def flat_with_hole(mode):
    """A dark square that its file calls transparent in one color (black)."""
    found = Image.new(mode, (64, 64), 0)
    ImageDraw.Draw(found).rectangle((16, 16, 48, 48), fill=20 if mode == "L" else DARK)
    return found


TRANSPARENT = {
    "rgba png": (disc(), "PNG", {}),
    "rgba webp": (disc(), "WEBP", {"lossless": True}),
    "rgba avif": (disc(), "AVIF", {"quality": 100}),
    "rgba tiff": (disc(), "TIFF", {}),
    "gray and alpha": (disc().convert("LA"), "PNG", {}),
    "palette": (disc().quantize(8), "PNG", {}),
    "gif": (disc(), "GIF", {}),
    "one color of rgb": (flat_with_hole("RGB"), "PNG", {"transparency": (0, 0, 0)}),
    "one level of gray": (flat_with_hole("L"), "PNG", {"transparency": 0}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_shows_white_and_not_the_color_below(name):
    picture, kind, how = TRANSPARENT[name]
    found = read(picture, kind, **how)
    assert found.shape == (64, 64, 3)
    assert (np.abs(found[:8].astype(int) - 255) <= 2).all()
    assert (np.abs(found[32, 32].astype(int) - 20) <= 3).all()


def test_transparency_shows_another_ground_where_one_is_set():
    found = decode_picture(saved(disc(), "PNG"), ground="#804020").picture
    assert found.getpixel((0, 0)) == (0x80, 0x40, 0x20)
    assert found.getpixel((32, 32)) == DARK


RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((65535 * RAMP).astype(np.uint16), "PNG"),
        ((65535 * RAMP).astype(np.uint16), "TIFF"),
        ((65535 * RAMP).astype(np.int32), "TIFF"),
        ((2_000_000 * RAMP - 5000).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((255 * RAMP).astype(np.float32), "TIFF"),
        ((3000 * RAMP - 1000).astype(np.float32), "TIFF"),
        ((255 * RAMP).astype(np.uint8), "BMP"),
    ],
)
def test_wide_levels_are_scaled_and_never_clipped(values, kind):
    found = read(Image.fromarray(values), kind)
    assert np.abs(found.mean(axis=2) - 255 * RAMP).max() <= 1.5


def test_a_float_that_is_no_number_is_black():
    values = RAMP.astype(np.float32)
    values[0, 5] = np.nan
    assert read(Image.fromarray(values), "TIFF")[0, 5].tolist() == [0, 0, 0]


def wide_profile():
    """A profile of which red and green are swapped: that of sRGB with its two columns exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(data.replace(b"s\0R\0G\0B", b"o\0t\0h\0e"))
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * count, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_colors_are_converted_by_the_pictures_own_profile():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    found = read(red, "PNG", icc_profile=wide_profile())[0, 0]
    assert found[1] > 250, "the profile says that its first channel is green"
    assert found[0] < 5


def test_a_profile_that_does_not_fit_is_left_out_and_said():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    found = decode_picture(saved(red, "PNG", icc_profile=b"no profile at all, but long enough"))
    assert found.picture.getpixel((0, 0)) == (255, 0, 0)
    assert found.notes == ("its color profile does not fit or is damaged, and is left out",)


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF")]
)
def test_other_color_spaces_become_rgb(mode, kind):
    color = {"LAB": (255, 128, 128)}.get(mode)
    picture = Image.new(mode, (8, 8), color) if color else Image.new("RGB", (8, 8), (255,) * 3)
    found = read(picture if color else picture.convert(mode), kind)
    assert found.shape == (8, 8, 3)
    assert found.min() >= 250, "white stays white"


@pytest.mark.parametrize(
    ("kind", "how"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]
)
def test_of_an_animation_the_first_frame_is_read(kind, how):
    first, second = Image.new("RGB", (9, 9), (200, 0, 0)), Image.new("RGB", (9, 9), (0, 0, 200))
    found = decode_picture(saved(first, kind, save_all=True, append_images=[second], **how))
    assert found.picture.getpixel((4, 4)) == (200, 0, 0)
    assert found.notes == ("only the first of several frames is used",)


@pytest.mark.parametrize("size", [(1, 79_000_000), (65_536, 2), (9000, 9000)])
def test_absurd_sizes_are_refused_before_they_are_decoded(size):
    head = bytearray(saved(Image.new("1", (1, 1)), "PNG"))
    head[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    import zlib

    head[29:33] = zlib.crc32(bytes(head[12:29])).to_bytes(4, "big")
    with pytest.raises(InputError, match=f"it claims {size[0]} x {size[1]} pixels, at most"):
        decode_picture(bytes(head))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 20_000)])
def test_a_thin_picture_takes_no_more_memory_than_others(mode, size):
    fit = Fit(224, 224, "bicubic", mode, 0)
    assert fit(Image.new("RGB", size, (120, 40, 200))).shape == (224, 224, 3)


def test_what_pillow_warns_of_is_a_note_and_not_printed(capfd):
    broken = Image.new("P", (8, 8))
    broken.putpalette([0, 0, 0] * 256)
    data = saved(broken, "PNG", transparency=bytes([0] * 256))
    jpeg = saved(Image.new("RGB", (8, 8)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09junk")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_picture(data).notes == ()
        assert decode_picture(jpeg).notes == ("Corrupt EXIF data",)
    assert capfd.readouterr() == ("", "")


def test_heic_is_named_where_its_plugin_is_missing():
    with pytest.raises(InputError, match=r"it is HEIC; pip install 'feature-atlas\[heic\]'"):
        decode_picture(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_a_picture_that_comes_opened_is_brought_to_rgb_the_same_way():
    assert to_rgb(disc()).getpixel((0, 0)) == (255, 255, 255)
