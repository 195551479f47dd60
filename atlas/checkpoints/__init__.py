"""Published SAE formats, one module each; every one is read into the record of atlas.sae."""

from __future__ import annotations

from pathlib import Path

from atlas.checkpoints.own import is_own, read_own
from atlas.errors import InputError, MissingError
from atlas.sae import SAE

FOREIGN = {
    ".pt": "a PyTorch pickle",
    ".pth": "a PyTorch pickle",
    ".safetensors": "a bare safetensors file",
    ".npz": "a numpy archive",
}
"""Endings of other projects' checkpoints -> what to call them."""


def load_sae(path: Path) -> SAE:
    """Read an SAE checkpoint, whatever its format.

    Raises:
        MissingError: There is nothing at the path.
        InputError: The format is not one of ours, or the checkpoint is damaged.
    """
    if not path.exists():
        raise MissingError(f"no SAE at {path}; name a checkpoint folder in [sae] path")
    if is_own(path):
        return read_own(path)
    raise InputError(
        f"{path} is {_name_of(path)}, which this version does not read; "
        "expected a folder with sae.json and sae.safetensors"
    )


def _name_of(path: Path) -> str:
    if path.is_dir():
        names = sorted(item.name for item in path.iterdir())
        if "cfg.json" in names:
            return "a folder with cfg.json (SAELens, sparsify)"
        return f"a folder with {', '.join(names[:3]) if names else 'nothing in it'}"
    return FOREIGN.get(path.suffix, f"a file ending in {path.suffix!r}")
