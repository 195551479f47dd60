"""Write the configuration of a new atlas from a folder of pictures."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import write_text
from atlas.inputs.encoder import read_encoder_note
from atlas.prepare.own_pictures import (
    PHOTOGRAPHS_ID,
    Looked,
    chosen_crops,
    chosen_training,
    look_at,
)
from atlas.settings.outside import files_of
from atlas.settings.paths import demo_root

FILE = "atlas.toml"
DEMO_ICONS = {
    "px": 64,
    "steps": 5,
    "guidance": 3.0,
    "strength": 1.0,
    "strength_unit": "natural",
}
"""How the demo's decoder draws; as in data/demo/atlas.toml but weaker: TopK with few features has large activations."""


@dataclass(frozen=True, slots=True)
class NewAtlas:
    """A configuration that was written, or kept."""

    path: Path
    said: tuple[str, ...]
    """What was chosen, in lines for the screen; none where it was there already."""


def write_config(
    pictures: Path, out: Path, *, encoder: Path | None = None, sae: Path | None = None
) -> NewAtlas:
    """Write the configuration of an atlas of some pictures.

    An existing configuration is kept, so that it can be edited; it must be for the same pictures.

    Args:
        pictures: A folder of pictures, or of archives or tables that hold them.
        out: Folder of the atlas.
        encoder: Folder of the encoder. Without one, photographs are embedded by an ImageNet network,
            and drawings by the demo's encoder.
        sae: Checkpoint; without one, an SAE is trained on the pictures.

    Raises:
        MissingError: Something is not there.
        ConfigError: The folder holds another atlas's configuration.
    """
    for what, path in (("pictures", pictures), ("encoder", encoder), ("SAE", sae)):
        if path is not None and not path.exists():
            raise MissingError(f"no {what} at {path}; name where it is with --{what.lower()}")
    path, line = out / FILE, f"pictures = {_from(out, pictures)}"
    if path.exists():
        if line not in path.read_text(encoding="utf-8").splitlines():
            raise ConfigError(f"{path} is of other pictures; name another --out, or build {path}")
        return NewAtlas(path, ())
    text, said = config_text(pictures, out, encoder=encoder, sae=sae)
    write_text(path, text)
    return NewAtlas(path, said)


def config_text(
    pictures: Path, out: Path, *, encoder: Path | None = None, sae: Path | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the configuration of an atlas of some pictures, and what was chosen, in lines.

    The arguments are those of write_config; paths in the text are relative to the folder out.
    """
    line = f"pictures = {_from(out, pictures)}"
    looked = look_at(pictures, files_of(pictures))
    lines = [
        "# An atlas of the pictures named below. Every setting: docs/settings.md.",
        'out_dir = "."',
        "",
        "[embed]",
        line,
    ]
    said: list[str] = []
    if encoder is None:
        encoder, why = _choose_encoder(looked, sae)
        said.append(why)
    lines.append(f"encoder = {_from(out, encoder)}")
    lines += _sae_lines(out, sae, looked, said)
    lines += ["", "[catalog]", f"title = {toml_text(f'Atlas of {pictures.resolve().name}')}"]
    words, icons = _demo_lines(out, encoder)
    # Words that stand in no caption of a set with captions name it worse than no name.
    lines += ["", "[names]", "captions = true"] if looked.captioned else words
    lines += icons
    return "\n".join(lines) + "\n", tuple(said)


def _choose_encoder(looked: Looked, sae: Path | None) -> tuple[Path, str]:
    """Return the encoder for some pictures, and a line that says why."""
    demo = demo_root() / "encoder"
    if sae is not None:
        return demo, "encoder: the demo's, since an SAE is named; --encoder names another"
    seen = f"{100 * looked.equal_share:.0f} % of neighboring pixels are equal"
    if looked.drawn:
        return demo, f"encoder: the demo's, for drawings ({seen}); --encoder names another"
    return demo_root() / "photographs", (
        f"encoder: an ImageNet network, for photographs ({seen}); --encoder names another"
    )


def _sae_lines(out: Path, sae: Path | None, looked: Looked, said: list[str]) -> list[str]:
    """Return the lines of the SAE: where it is, or how one is trained; in the section [embed] at first."""
    if sae is not None:
        return ["", "[sae]", f"path = {_from(out, sae)}"]
    crops = chosen_crops(looked.n_pictures)
    settings = chosen_training(looked.n_pictures)
    said.append(
        f"SAE: trained on {looked.n_pictures:,} pictures and {crops} crops of each: "
        f"{settings['n_features']} features, {settings['k']} on an image"
    )
    lines = [f"crops = {crops}"] if crops else []
    return [*lines, "", "[train]", *(f"{key} = {json.dumps(one)}" for key, one in settings.items())]


def _demo_lines(out: Path, encoder: Path) -> tuple[list[str], list[str]]:
    """Return the lines of the words, and of the decoder, that go with one of the demo's two encoders."""
    try:
        demo = demo_root()
    except MissingError:
        return [], []
    if read_encoder_note(encoder).get("id") == PHOTOGRAPHS_ID:
        return [f"vocabulary = {_from(out, demo / 'classes')}"], []
    if encoder.resolve() != (demo / "encoder").resolve():
        return [], []
    icons = [f"{key} = {json.dumps(value)}" for key, value in DEMO_ICONS.items()]
    decoder = ["", "[icons]", f"decoder = {_from(out, demo / 'decoder')}"]
    return [f"vocabulary = {_from(out, demo / 'vocabulary')}"], decoder + icons


def _from(out: Path, path: Path) -> str:
    """Return a path as the configuration in out names it, in TOML."""
    return toml_text(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())


def toml_text(text: str) -> str:
    """Return text as a basic string of TOML.

    Raises:
        ConfigError: It is no Unicode, as of a file that another system named.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{text!a} is no Unicode text; rename the folder") from error
    # JSON's escapes are TOML's too, but for characters beyond U+FFFF and for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """Return a configuration in which a text setting has a value; comments and order are kept.

    Args:
        text: TOML, a key a line.
        section: Of the setting; empty for those before the first section.
        key: Its name.
        value: What it is set to.
    """
    lines = text.splitlines()
    heads = [number for number, one in enumerate(lines) if re.match(r"\[+\w", one)]
    first = 0 if not section else next((n + 1 for n in heads if lines[n] == f"[{section}]"), None)
    line = f"{key} = {toml_text(value)}"
    if first is None:
        return "\n".join([*lines, "", f"[{section}]", line]) + "\n"
    last = next((number for number in heads if number >= first), len(lines))
    for number in range(first, last):
        if re.match(rf"{key}\s*=", lines[number]):
            lines[number] = line
            break
    else:
        lines.insert(first, line)
    return "\n".join(lines) + "\n"
