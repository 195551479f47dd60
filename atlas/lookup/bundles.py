"""A bundle, open for reading: its folder, one zip file of it, an https address, or a repository of the Hub."""

from __future__ import annotations

import errno
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from zipfile import BadZipFile, ZipFile

from atlas.base.errors import InputError, MissingError
from atlas.base.extras import explain_missing_package
from atlas.base.files import link_or_copy
from atlas.base.web import is_address, open_address
from atlas.lookup.manifest import MANIFEST, Manifest, Object, read_manifest
from atlas.settings.paths import DATABASE

HUB = "hf:"
"""Start of a place that is a data set of the Hugging Face Hub: hf:OWNER/NAME."""
BLOCK_BYTES = 1 << 20
MOST_BYTES = 1 << 29
"""Of a file that is read whole, as the manifest and receipts are: some million files' names and digests."""
DATABASE_FILE = f"catalog/{DATABASE}"
LOOKED_UP = (DATABASE_FILE, "catalog/search/", "concepts/concepts.json")
"""Start of the files that look-ups read of an atlas."""


class Bundle:
    """A bundle, open for reading. Threads may share it."""

    def __init__(self, place: str) -> None:
        """Open a bundle; nothing is read yet.

        Args:
            place: Its folder, a zip file of it, the manifest in it, its https address, or
                hf:OWNER/NAME, a data set of the Hub, which is downloaded.

        Raises:
            MissingError: The Hub does not have it, or a package is missing.
            InputError: The zip file is damaged.
        """
        self.place = place.rstrip("/").removesuffix(f"/{MANIFEST}")
        self._root = str(from_hub(self.place)) if self.place.startswith(HUB) else self.place
        self._zip: ZipFile | None = None
        if not is_address(self._root) and Path(self._root).is_file():
            try:
                self._zip = ZipFile(self._root)
            except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise InputError(f"{place} is no bundle; make one with: atlas bundle") from error

    @property
    def folder(self) -> Path | None:
        """Where its files are; None for a zip file or an address."""
        return None if self._zip is not None or is_address(self._root) else Path(self._root)

    @cached_property
    def manifest(self) -> Manifest:
        """What the bundle holds."""
        return read_manifest(self._read(MANIFEST), f"{self.place}/{MANIFEST}")

    def read(self, name: str) -> bytes:
        """Return a small file by its path in the atlas, verified.

        Raises:
            MissingError: It is not there.
            InputError: It is damaged.
        """
        one = self.manifest.files[name]
        data = self._read(one.address)
        if sha256(data).hexdigest() != one.sha256:
            raise InputError(f"{name} of {self.place} is damaged; make it again: atlas bundle")
        return data

    def copy(self, one: Object, path: Path) -> None:
        """Write an object to a path: linked where the bundle is a folder of the same disk."""
        if self.folder is not None:
            source = self.folder / one.address
            if not source.is_file():
                raise MissingError(f"no file at {source}; make the bundle again: atlas bundle")
            link_or_copy(source.resolve(), path)  # the Hub's cache holds links to its files
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open(one.address) as source_file, path.open("wb") as file:
            shutil.copyfileobj(source_file, file, BLOCK_BYTES)

    @contextmanager
    def _open(self, address: str) -> Iterator[Any]:
        if self._zip is None:
            with open_address(f"{self._root}/{address}") as file:
                yield file
            return
        try:
            with self._zip.open(address) as file:
                yield file
        except KeyError as error:
            raise MissingError(
                f"{self.place} holds no {address}; make one with: atlas bundle"
            ) from error
        # Of what else a damaged archive says, RuntimeError is that it is encrypted.
        except (BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise self._damaged(address, error) from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # of who reads: a full disk is no damaged archive
                raise
            # Where an archive says that a member begins before its first byte.
            raise self._damaged(address, error) from error

    def _damaged(self, address: str, error: Exception) -> InputError:
        return InputError(
            f"{self.place}: {address} is damaged ({error}); make it again: atlas bundle"
        )

    def _read(self, address: str) -> bytes:
        if self.folder is None:
            with self._open(address) as file:
                data: bytes = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise InputError(
                    f"{self.place}: {address} is larger than {MOST_BYTES:,} bytes, which none that "
                    "atlas bundle wrote is; make it again"
                )
            return data
        path = self.folder / address
        if not path.is_file():
            raise MissingError(
                f"no bundle at {self.place}: it holds no {address}; make one with: atlas bundle"
            )
        return path.read_bytes()


def is_bundle(place: str) -> bool:
    """Return whether a place on this machine, or its name, is that of a bundle."""
    path = Path(place)
    return (
        place.startswith(HUB)
        or (path / MANIFEST).is_file()
        or path.name == MANIFEST
        or (path.is_file() and path.suffix == ".zip")
    )


def lay_out(bundle: Bundle) -> Path:
    """Return a new temporary folder with what look-ups read of a bundle, as in the folder of an atlas.

    Of a bundle in a folder the files are linked, where the system lets them be. The caller deletes it.
    """
    folder = Path(mkdtemp(prefix="atlas-"))
    for name, one in bundle.manifest.files.items():
        if name.startswith(LOOKED_UP):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if bundle.folder is None or not _link(path, bundle.folder / one.address):
                bundle.copy(one, path)
    return folder


def _link(path: Path, source: Path) -> bool:
    """Make a symbolic link; return whether that is possible."""
    try:
        path.symlink_to(source.resolve(strict=True))
    except OSError:
        return False
    return True


def from_hub(place: str) -> Path:
    """Return the folder in the Hub's cache of a bundle, downloaded first where that is not whole.

    HF_HOME, HF_HUB_OFFLINE and HF_TOKEN are honored.

    Raises:
        MissingError: It can't be reached, or huggingface_hub is not installed.
    """
    repo = place.removeprefix(HUB)
    with explain_missing_package(place, "remote"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    try:
        return Path(snapshot_download(repo, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise MissingError(
            f"{place} can't be fetched from the Hub ({type(error).__name__}); check its name and "
            "HF_TOKEN, and run the same command to go on"
        ) from error
