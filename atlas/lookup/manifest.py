"""The list of a bundle's files: where each goes in an atlas, its size, and the digest that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from atlas.base.errors import InputError
from atlas.base.files import write_json
from atlas.pipeline import STAGES
from atlas.settings.paths import BUNDLED, FETCHED, IMPORTED

MANIFEST = "manifest.json"
VERSION = 1
"""Of the layout of a bundle; a reader refuses a newer one."""
TOPS = frozenset((*(stage.name for stage in STAGES), BUNDLED, FETCHED, IMPORTED))
"""Folders of an atlas that a bundle may write to."""


@dataclass(frozen=True, slots=True)
class Object:
    """A file of a bundle."""

    size_bytes: int
    sha256: str

    @property
    def address(self) -> str:
        """Where it lies in the bundle."""
        return f"objects/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds."""

    made_with: str
    atlas: str
    """Identity of the atlas: atlas:<12 hex>."""
    settings: Mapping[str, Any]
    """The configuration as JSON, without places and what only tells how to run."""
    files: Mapping[str, Object]
    """Path in the folder of the atlas -> the file."""

    @property
    def size_bytes(self) -> int:
        """Of all objects, each counted once."""
        return sum({one.sha256: one.size_bytes for one in self.files.values()}.values())


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest as JSON; the same bundle gives the same bytes."""
    files = {name: [one.size_bytes, one.sha256] for name, one in manifest.files.items()}
    write_json(path, {"version": VERSION, **asdict(manifest), "files": files})


def read_manifest(text: bytes, where: str) -> Manifest:
    """Return a manifest, whose every path stays in the folder of an atlas.

    Args:
        text: Its JSON.
        where: Where it is from, for messages.

    Raises:
        InputError: It is not a manifest, is of a newer version, or names a path elsewhere.
    """
    try:
        found = json.loads(text)
        version = int(found["version"])
        files = {str(n): Object(int(s), str(d)) for n, (s, d) in found["files"].items()}
        manifest = Manifest(found["made_with"], found["atlas"], found["settings"], files)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{where} is no manifest of a bundle; make one with: atlas bundle"
        ) from error
    if version > VERSION:
        raise InputError(
            f"{where} is of version {version} ({manifest.made_with}), and this program reads up to "
            f"{VERSION}; install a newer one: pip install --upgrade feature-atlas"
        )
    for name, one in files.items():
        if not _is_inside(name) or not re.fullmatch("[0-9a-f]{64}", one.sha256):
            raise InputError(f"{where} names {name!r}, which no bundle may hold; make it again")
    return manifest


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = not any(part in ("..", ".", "/") for part in parts) and "\\" not in name
    return plain and len(parts) > 1 and parts[0] in TOPS and "/".join(parts) == name
