"""A picture where it was found, or why something was skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".avif", ".heic", ".heif"),
)
OTHER_PICTURES = {
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".pdf"), "a drawing, not pixels"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "a camera's raw file"
    ),
    **dict.fromkeys(
        (".psd", ".xcf", ".jxl", ".jp2", ".ico", ".tga", ".ppm", ".pgm", ".exr", ".hdr"),
        "a kind of picture that is not read",
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".webm", ".mkv"), "a film"),
}
"""Endings that are no mistake in a folder of pictures, and why they are skipped."""


@dataclass(frozen=True, slots=True)
class Found:
    """A picture, still encoded, where it was found."""

    name: str
    facts: Mapping[str, Any]
    """Caption and whatever else is known of it, by column."""
    data: bytes | None
    """The encoded picture, where it is not to be read from a file."""
    path: Path
    offset: int = 0
    size: int = -1
    """Bytes of the picture from offset on; -1 for all that follows."""

    def read(self) -> bytes:
        """Return the encoded picture.

        Raises:
            OSError: It can't be read.
        """
        if self.data is not None:
            return self.data
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not used, and why."""

    file: str
    """File, below the folder that is read."""
    name: str
    """What it holds that was skipped; empty where it is the file as a whole, or its rest."""
    why: str
