"""Optional packages: which extra of this distribution installs each, and the line about a missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atlas.base.errors import MissingError

EXTRA_OF = {
    "torch": "scan",
    "huggingface_hub": "scan",
    "numba": "concepts",
    "llvmlite": "concepts",
    "torchvision": "embed",
    "open_clip": "embed",
    "timm": "embed",
    "faiss": "neighbors",
    "umap": "map",
    "sklearn": "map",
    "diffusers": "icons",
    "transformers": "icons",
    "accelerate": "icons",
    "ray": "cluster",
    "fsspec": "remote",
    "matplotlib": "plots",
}
"""Name of a package, as it is imported -> an extra that installs it."""


@contextmanager
def explain_missing_package(what: str, extras: str = "") -> Iterator[None]:
    """Turn the error about a missing optional package into one line that names its extra.

    Args:
        what: What needs the package, for the message.
        extras: All extras that it needs, separated by commas; by default the one of the package.

    Raises:
        MissingError: An optional package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise MissingError(
            f"{what} needs {package}, which is not installed: "
            f"pip install 'feature-atlas[{extras or EXTRA_OF[package]}]'"
        ) from error
