"""Contact sheets: many small pictures joined in one WebP, so that a site has fewer files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

from PIL import Image

from atlas.base.files import digest_json


def join_pictures(webps: Sequence[bytes | None], columns: int, px: int, quality: int) -> bytes:
    """Join pictures in one WebP, row by row.

    Args:
        webps: Square pictures; None leaves a white cell.
        columns: Pictures in a row.
        px: Side of each picture in the sheet.
        quality: WebP quality, 1 to 100.
    """
    sheet = Image.new("RGB", (columns * px, -(-len(webps) // columns) * px), "white")
    for number, webp in enumerate(webps):
        if webp is None:
            continue
        with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
            small = picture.convert("RGB")
        if small.size != (px, px):
            small = small.resize((px, px), Image.Resampling.LANCZOS)
        sheet.paste(small, (number % columns * px, number // columns * px))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()


def sheet_key(webps: Sequence[bytes | None], columns: int, px: int, quality: int) -> str:
    """Return a digest of everything that decides the bytes of a sheet."""
    digests = [hashlib.sha256(webp).hexdigest() if webp else "" for webp in webps]
    return digest_json([digests, columns, px, quality])
