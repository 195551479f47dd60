"""Arrays in .npy files from outside: mapped, and one error whatever is wrong with the file."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any, cast

import numpy as np

NOT_NPY = (
    *(ValueError, OSError, EOFError, TypeError, OverflowError, MemoryError, RecursionError),
    *(SyntaxError, tokenize.TokenError),
)
"""What numpy raises on a header that was changed."""


def map_npy(path: Path) -> np.memmap[Any, np.dtype[Any]]:
    """Return the array of a .npy file, mapped not loaded.

    Raises:
        FileNotFoundError: There is no such file.
        IsADirectoryError: It is a folder.
        PermissionError: This user may not read it.
        ValueError: It is no whole .npy file of plain values.
    """
    try:
        # Never np.load: for a file that isn't .npy its error advises to unpickle it.
        return cast("np.memmap[Any, np.dtype[Any]]", np.lib.format.open_memmap(path, mode="r"))
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except NOT_NPY as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"not a whole .npy file ({reason})") from error
