"""The first frame of a GIF: what comes after it costs nothing, and what comes before it is bounded.

Pillow reads every block up to the second frame, to tell whether there is one: some millions of
empty comments would take minutes and gigabytes.
"""

from __future__ import annotations

import re

from atlas.base.errors import InputError

HEADS = (b"GIF87a", b"GIF89a")
IMAGE, END = b",", b";"
BLOCK = re.compile(b"[!,;]")
"""How an extension, a frame and the end begin."""
HEADER_BYTES, IMAGE_BYTES = 13, 10
"""Of the header, and of what describes a frame, without their tables of colors."""
MOST_BLOCKS = 10_000
"""Blocks before the first frame, or looked through after it; pictures have a handful."""


def first_frame(data: bytes) -> tuple[bytes, bool]:
    """Return a GIF that ends with its first frame, and whether another frame followed.

    Raises:
        InputError: An absurd number of blocks comes before the first frame.
    """
    begin, n_blocks = _next_image(data, HEADER_BYTES + _colors(data, 10))
    if n_blocks >= MOST_BLOCKS:
        raise InputError(f"its first frame comes after {MOST_BLOCKS:,} other blocks")
    if begin == len(data):
        return data, False
    # A byte between the colors and the blocks of pixels says how wide their codes are.
    end = _after_blocks(data, begin + IMAGE_BYTES + _colors(data, begin + 9) + 1)
    follows, _ = _next_image(data, end)
    return data[:end] + END, follows < len(data)


def _colors(data: bytes, at: int) -> int:
    """Return the bytes of the table of colors that the flags at a place announce."""
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _next_image(data: bytes, at: int) -> tuple[int, int]:
    """Return where the next frame begins, the file's length if none does, and the blocks before it."""
    for n_blocks in range(MOST_BLOCKS):
        found = BLOCK.search(data, at)  # readers pass over what is no block
        if found is None or found[0] == END:
            return len(data), n_blocks
        if found[0] == IMAGE:
            return found.start(), n_blocks
        at = _after_blocks(data, found.end() + 1)
    return len(data), MOST_BLOCKS


def _after_blocks(data: bytes, at: int) -> int:
    """Return where a row of blocks ends: each begins with its length, the last is empty."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return min(at + 1, len(data))
