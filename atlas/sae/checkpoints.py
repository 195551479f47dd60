"""Load an SAE checkpoint of any format: find out which one a folder or file holds, then read it.

A format is detected from what the files hold, never from their names alone, unless sae.format
names it. If the same tensors are used with two conventions, an error asks for the setting that decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atlas.base.errors import InputError, MissingError
from atlas.base.files import read_json
from atlas.sae.formats import (
    clipscope,
    dictionary_learning,
    msae,
    overcomplete,
    patchsae,
    prisma,
    saelens,
    saev,
    seed,
    sparsify,
)
from atlas.sae.formats.own import is_own, read_own
from atlas.sae.formats.tensors import read_sharded, read_stored, unwrapped
from atlas.sae.formats.weights import Found
from atlas.sae.model import SAE
from atlas.settings.sae import SaeSettings

ENDINGS = (".safetensors", ".pt", ".pth")
SIDES = ("sparsity.safetensors", "optimizer.pt", "trainer_state.pt")
"""Files of weights that are no SAE."""
INDEX = ".safetensors.index.json"
"""End of the name of a file that lists which shard holds which tensor."""
CONFIGS = ("cfg.json", "config.json")


@dataclass(frozen=True, slots=True)
class Format:
    """One family's way to keep an SAE."""

    name: str
    """What [sae] format says."""
    family: str
    """What people call it."""
    is_one: Callable[[Found], bool]
    read: Callable[[Found], SAE]
    reads: str
    """Markdown for the table of formats."""
    refuses: str
    """Markdown for the table of formats."""
    checked: str
    """What the reader is checked against."""
    needs_config: bool = False
    """Whether nothing can be read without the JSON beside the weights."""


FORMATS = (
    Format("clipscope", "clipscope", clipscope.is_clipscope, clipscope.read_clipscope,
           clipscope.READS, clipscope.REFUSES, "clipscope 0.1.8"),
    Format("msae", "MSAE", msae.is_msae, msae.read_msae, msae.READS, msae.REFUSES,
           "its published formulas; it is in no package registry"),
    Format("overcomplete", "Overcomplete", overcomplete.is_overcomplete,
           overcomplete.read_overcomplete, overcomplete.READS, overcomplete.REFUSES,
           "overcomplete 0.3.0"),
    Format("seed", "gytdau/sae-clip-2, gytdau/clip-sae-128", seed.is_seed, seed.read_seed,
           seed.READS, seed.REFUSES, "its published formulas; a model.py, no package"),
    Format("saelens", "SAELens", saelens.is_saelens, saelens.read_saelens, saelens.READS,
           saelens.REFUSES, "sae-lens 6.54.12", needs_config=True),
    Format("sparsify", "EleutherAI sparsify", sparsify.is_sparsify, sparsify.read_sparsify,
           sparsify.READS, sparsify.REFUSES, "eai-sparsify 1.3.3", needs_config=True),
    Format("saev", "saev", saev.is_saev, saev.read_saev, saev.READS, saev.REFUSES,
           "saev 0.1.0, which subtracts; the other convention by its published formula"),
    Format("prisma", "ViT-Prisma", prisma.is_prisma, prisma.read_prisma, prisma.READS,
           prisma.REFUSES, "its published formulas", needs_config=True),
    Format("dictionary_learning", "dictionary_learning",
           dictionary_learning.is_dictionary_learning,
           dictionary_learning.read_dictionary_learning, dictionary_learning.READS,
           dictionary_learning.REFUSES, "dictionary-learning 0.1.0"),
    Format("patchsae", "PatchSAE", patchsae.is_patchsae, patchsae.read_patchsae, patchsae.READS,
           patchsae.REFUSES, "its published formulas; it is in no package registry"),
)  # fmt: skip
"""Every format but our own, in the order in which they are tried."""
OWN_READS = "a folder with sae.json and sae.safetensors: relu, topk, batchtopk, jumprelu; soft cap; raw, unit, affine or layernorm input"
OWN_REFUSES = "another version, or files that are not of one checkpoint (they carry a digest)"


def load_sae(path: Path, settings: SaeSettings | None = None) -> SAE:
    """Read an SAE checkpoint, whatever its format.

    Args:
        path: A folder or a file of weights.
        settings: The section [sae] of the configuration; its defaults if None.

    Raises:
        MissingError: There is nothing at the path.
        InputError: The format is unknown, the checkpoint is damaged, or it can't be honored.
    """
    settings = settings or SaeSettings()
    if not path.exists():
        raise MissingError(f"no SAE at {path}; name a checkpoint folder in [sae] path")
    if is_own(path) or settings.format == "atlas":
        return read_own(path)
    weights, config = find_files(path, settings)
    stored = read_sharded(weights) if weights.name.endswith(INDEX) else read_stored(weights)
    found = Found(unwrapped(stored), _config(config), settings)
    try:
        return _format_of(found).read(found)
    except InputError as error:
        where = "" if str(weights) in str(error) else f" ({weights})"
        raise InputError(f"{error}{where}") from error


def find_files(path: Path, settings: SaeSettings) -> tuple[Path, Path | None]:
    """Return the file of weights of a foreign checkpoint, and the JSON beside it, if any.

    Raises:
        InputError: There is no such file, or more than one to choose from.
    """
    place = path / settings.file if settings.file else path
    if not place.exists():
        raise InputError(f"{path} has no {settings.file}; change sae.file")
    if not place.is_file() and not place.is_dir():
        raise InputError(f"{place} is neither a file nor a folder; name a checkpoint in [sae] path")
    weights = place if place.is_file() else _only_weights(place)
    if weights.suffix not in ENDINGS and not weights.name.endswith(INDEX):
        raise InputError(
            f"{weights} ends in {weights.suffix!r}; expected a folder, or a file ending in "
            f"{', '.join(ENDINGS)}"
        )
    beside = [weights.parent / name for name in CONFIGS if (weights.parent / name).is_file()]
    return weights, beside[0] if beside else None


def _only_weights(folder: Path) -> Path:
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in _walk(folder)
        if path.suffix in ENDINGS and path.name not in SIDES
    )
    if len(names) == 1:
        return folder / names[0]
    indexes = sorted(path for path in _walk(folder) if path.name.endswith(INDEX))
    if len(indexes) == 1:
        return indexes[0]
    if not names:
        held = ", ".join(sorted(item.name for item in folder.iterdir())[:3]) or "nothing"
        raise InputError(
            f"{folder} holds {held}, and no file ending in {', '.join(ENDINGS)}; "
            "name a checkpoint in [sae] path"
        )
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise InputError(
        f"{folder} holds {len(names)} files of weights ({shown}); name one in sae.file"
    )


def _walk(folder: Path) -> list[Path]:
    return [Path(base) / name for base, _, names in os.walk(folder) for name in names]


def _config(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        config = read_json(path)
    except (RecursionError, ValueError) as error:  # nested too deep, a number of a million digits
        raise InputError(f"{path} is no configuration; restore it") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is JSON, but no object; restore it")
    return config


def _format_of(found: Found) -> Format:
    """Return the format that the user names, or the first that the files are in."""
    if found.settings.format != "auto":
        chosen = next(kind for kind in FORMATS if kind.name == found.settings.format)
        if chosen.needs_config and not found.config:
            raise found.refuse(
                f"{chosen.family} says in cfg.json or config.json how to read it, and there is none",
                "put it beside the weights",
            )
        return chosen
    for kind in FORMATS:
        if kind.is_one(found):
            return kind
    names = ", ".join(sorted(found.stored.tensors)[:8]) or "no tensors"
    if found.has("W_enc", "W_dec", "b_dec"):
        raise found.refuse(
            "W_enc, W_dec and b_dec are the names of PatchSAE, ViT-Prisma, SAELens and saev alike, "
            "which read them in different ways",
            "set sae.format, with the family's cfg.json or config.json beside it where it has one",
        )
    raise found.refuse(f"no known format has these tensors: {names}", "see docs/checkpoints.md")


def formats_markdown() -> str:
    """Return the table of formats for docs/checkpoints.md."""
    rows = [
        f"| `{kind.name}` | {kind.family} | {kind.reads} | {kind.refuses} | {kind.checked} |"
        for kind in FORMATS
    ]
    own = f"| `atlas` | our own | {OWN_READS} | {OWN_REFUSES} | itself |"
    head = "| `sae.format` | family | what is read | what is refused | checked against |"
    return "\n".join([head, "|---|---|---|---|---|", *rows, own])
