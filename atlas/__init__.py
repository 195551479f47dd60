"""Feature atlas: from a sparse autoencoder's features to a site that anyone can browse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.base.version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from atlas.lookup.atlas import Atlas

__all__ = ["__version__", "open"]


def open(path: str | PathLike[str] = "build/demo") -> Atlas:
    """Open a built atlas, or a published one, for look-ups.

    Args:
        path: Folder of the atlas, as `out_dir` in its configuration; or a published site or a
            bundle, by its folder, its file (a bundle's) or its https address.

    Raises:
        MissingError: There is no built atlas.
    """
    from atlas.lookup.atlas import Atlas

    return Atlas(path)
