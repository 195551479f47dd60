"""Write the configuration of a new atlas from a folder of pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import write_text

DEMO_DATA = Path("data/demo")
"""Where the demo's encoder, SAE and vocabulary are in a checkout."""
FILE = "atlas.toml"


def write_config(
    pictures: Path, out: Path, *, encoder: Path | None = None, sae: Path | None = None
) -> Path:
    """Write the configuration of an atlas of some pictures, and return its path.

    An existing configuration is kept, so that it can be edited; it must be for the same pictures.

    Args:
        pictures: A folder of pictures, or of archives or tables that hold them.
        out: Folder of the atlas.
        encoder: Folder of the encoder; the demo's where none is named.
        sae: Checkpoint; the demo's with the demo's encoder, else one is trained on the pictures.

    Raises:
        MissingError: Something is not there.
        ConfigError: The folder holds another atlas's configuration.
    """
    if encoder is None:
        encoder = DEMO_DATA / "encoder"
        sae = sae or DEMO_DATA / "sae"
    for what, path in (("pictures", pictures), ("encoder", encoder), ("SAE", sae)):
        if path is not None and not path.exists():
            raise MissingError(f"no {what} at {path}; name where it is with --{what.lower()}")
    lines = [
        "# An atlas of the pictures named below. Every setting: docs/settings.md.",
        'out_dir = "."',
        "",
        "[embed]",
        f"pictures = {_from(out, pictures)}",
        f"encoder = {_from(out, encoder)}",
    ]
    if sae is not None:
        lines += ["", "[sae]", f"path = {_from(out, sae)}"]
    lines += ["", "[catalog]", f"title = {json.dumps(f'Atlas of {pictures.resolve().name}')}"]
    vocabulary = encoder.parent / "vocabulary"
    if encoder.resolve() == (DEMO_DATA / "encoder").resolve() and vocabulary.exists():
        lines.append(f"vocabulary = {_from(out, vocabulary)}")
    text, path = "\n".join(lines) + "\n", out / FILE
    if not path.exists():
        write_text(path, text)
    elif lines[4] not in path.read_text(encoding="utf-8").splitlines():
        raise ConfigError(f"{path} is of other pictures; name another --out, or build {path}")
    return path


def _from(out: Path, path: Path) -> str:
    """Return a path as the configuration in out names it, in TOML."""
    return json.dumps(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())
