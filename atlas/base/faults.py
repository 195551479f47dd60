"""What the system refuses, as one line: what, where, what next."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.base.errors import AtlasError, FaultError, RoomError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room: a full disk, a quota, a size limit."""
NUMPY_FULL = "requested and"
"""What numpy says, whose error has no errno."""
NEXT = {
    errno.EROFS: "name a folder on a file system that can be written",
    errno.EACCES: "give this user access to it, or name another",
    errno.EPERM: "give this user access to it, or name another",
    errno.EISDIR: "a file should be there: move the folder away",
    errno.ENOTDIR: "a folder should be there: move the file away",
    errno.EEXIST: "something else should be there: move it away",
    errno.ENOTEMPTY: "something else wrote there: run the same command again",
    errno.ENOENT: "it was there before, or another name was meant: restore it, or run the same command again",
    errno.ESTALE: "the network folder changed: run the same command again",
    errno.EIO: "the disk failed to read or write it: check the disk, then run the same command",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has no open file left",
    errno.ENAMETOOLONG: "choose shorter names",
    errno.ELOOP: "its links lead in a circle: mend them",
    errno.ENOMEM: "close other programs, or lower runtime.workers",
    errno.EBUSY: "another program uses it: end that one",
    errno.ETXTBSY: "another program uses it: end that one",
    errno.EXDEV: "keep the folder of the atlas on one file system",
    errno.ENXIO: "a file should be there: move it away",
    errno.EINVAL: "the file system does not support it: use another folder",
    errno.ENOTSUP: "the file system does not support it: use another folder",
    errno.ENOLCK: "the file system has no locks: keep the atlas on a local disk",
}
"""Error of the system -> what to do about it."""
KEPT = "make room and run the same command: finished parts are kept"
TOLD_BY_TEXT = (errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.ENOTDIR, errno.EISDIR)
"""Errors that libraries report in an exception of their own, with the system's words."""


def explain(error: OSError) -> str:
    """Return one line about an error of the system; empty if it is not one of those that users can mend."""
    if error.errno in FULL:
        return f"no room to write{_at(error)} ({_words(error)}); {KEPT}"
    advice = NEXT.get(error.errno or 0, "")
    return f"{_words(error)}; {advice}" if advice else ""


def _at(error: OSError) -> str:
    return f" {error.filename}" if isinstance(error.filename, str) else ""


def _words(error: OSError) -> str:
    name = error.filename if isinstance(error.filename, (str, bytes, Path)) else ""
    said = error.strerror or os.strerror(error.errno or 0)
    return " ".join(f"{os.fsdecode(name)}: {said}".lstrip(": ").split())


@contextmanager
def explain_faults(what: str, folder: Path, needed: Iterable[Path] = ()) -> Iterator[None]:
    """Turn the error of any library about the system into one line; pass on all others.

    Libraries raise types of their own, often without an errno, so the message is what tells.

    Args:
        what: What runs, for the message.
        folder: Where it writes.
        needed: Folders without which it can't go on; if one is gone, that is the reason.

    Raises:
        RoomError: The disk is full.
        FaultError: The system refused something else, or a folder was removed meanwhile.
    """
    try:
        yield
    except AtlasError as error:
        gone = _gone(needed)
        if gone is None:
            raise
        raise FaultError(removed(what, gone)) from error
    except Exception as error:
        raise _explained(what, folder, needed, error) from error


def _explained(what: str, folder: Path, needed: Iterable[Path], error: Exception) -> Exception:
    """Return the error to raise instead of one, which may be that one."""
    message = " ".join(str(error).split())
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or _says(message, FULL) or NUMPY_FULL in message or _is_full(folder):
        return RoomError(f"{what}: no room to write in {folder} ({message}); {KEPT}")
    gone = _gone(needed)
    if gone is not None:
        return FaultError(removed(what, gone))
    if isinstance(error, OSError) and explain(error):
        return FaultError(f"{what}: {explain(error)}")
    for known in TOLD_BY_TEXT:
        if _says(message, (known,)):
            return FaultError(f"{what}: {message}; {NEXT[known]}")
    return error


def _says(message: str, numbers: Iterable[int]) -> bool:
    return any(os.strerror(number) in message for number in numbers)


def _is_full(folder: Path) -> bool:
    try:
        return not shutil.disk_usage(folder).free
    except OSError:
        return False


def _gone(needed: Iterable[Path]) -> Path | None:
    return next((path for path in needed if not path.exists()), None)


def removed(what: str, folder: Path) -> str:
    """Return the line about a folder that is gone."""
    return f"{what}: {folder} was removed while it ran; run the same command again"
