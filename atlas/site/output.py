"""The site being written, file by file; unchanged parts are taken from the published site.

A part is a set of files made together, for instance the pages of 64 features. Its key is a digest
of all that they are made from. If the key and the files' sizes and modification times are those
that the last build recorded, the files are hard-linked into the new site without being read. The
record lies beside the site and not in it, because times differ between builds of equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from atlas.base.errors import InputError
from atlas.base.files import (
    digest_file,
    digest_json,
    link_or_copy,
    list_files,
    read_sealed,
    write_or_link,
    write_sealed,
)
from atlas.run.stage import Job
from atlas.settings.paths import PACKAGE, template_root
from atlas.site import links

RECORD = ".site.json"
Result = TypeVar("Result")


@dataclass(slots=True)
class Part:
    """Files made together."""

    key: str
    result: Any
    """What the function that made it returned; plain JSON."""
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Path below the site's folder -> (bytes, modification time in ns)."""


class Output:
    """The folder that the site is written to."""

    def __init__(self, job: Job) -> None:
        """Read the record of the last build; if it is missing or of other code, all is made."""
        self.job = job
        self._record = job.published_home.parent / RECORD
        self._program = digest_program()
        self._now: dict[str, Part] = {}
        self._open: list[str] = []
        try:
            held = read_sealed(self._record) or {"program": ""}
        except InputError:
            held = {"program": ""}
        self.same_program: bool = held["program"] == self._program
        """Whether the published site was made, and so checked, by the same code."""
        self._before: dict[str, Part] = (
            {name: _part(**part) for name, part in held["parts"].items()}
            if self.same_program
            else {}
        )

    def put(self, name: str, data: str | bytes) -> None:
        """Write one file; if the published site has the same bytes, it is linked and keeps its time.

        Args:
            name: Its address; pictures to be published elsewhere go to a folder of their own.
            data: Its content.
        """
        raw = data.encode("utf-8") if isinstance(data, str) else data
        place = links.stored(name, self.job.settings.media_base_url)
        write_or_link(self.job.out_dir / place, self.job.published_dir / place, raw)
        self._open.append(place)

    def published_path(self, name: str) -> Path:
        """Return the path of a file in the published site; it may not exist."""
        place = links.stored(name, self.job.settings.media_base_url)
        return self.job.published_dir / place

    def reuse(self, name: str, key: str) -> Part | None:
        """Link a part from the published site, if its key and files are unchanged.

        Args:
            name: Name of the part.
            key: Digest of all that decides its files, except the code.

        Returns:
            The part, or None if it has to be made.
        """
        part = self._before.get(name)
        if part is None or part.key != key:
            return None
        old = self.job.published_dir
        if any(_stamp(old / file) != stamp for file, stamp in part.files.items()):
            return None
        for file in part.files:
            link_or_copy(old / file, self.job.out_dir / file)
        self._now[name] = part
        return part

    def make(self, name: str, key: str, work: Callable[[], Result]) -> Result:
        """Make a part, or reuse it from the published site; return what work returned.

        Args:
            name: As in reuse.
            key: As in reuse.
            work: Writes the files with put and returns plain JSON.
        """
        part = self.reuse(name, key)
        if part is None:
            self._open = []
            part = Part(key, work())
            stamps = {file: _stamp(self.job.out_dir / file) for file in self._open}
            part.files = {file: stamp for file, stamp in stamps.items() if stamp is not None}
            self._now[name] = part
        result: Result = part.result
        return result

    def close(self) -> None:
        """Write the record for the next build."""
        held = {
            "program": self._program,
            "parts": {
                name: {"key": part.key, "result": part.result, "files": part.files}
                for name, part in self._now.items()
            },
        }
        write_sealed(self._record, held)


def digest_program() -> str:
    """Return a digest of all code and templates of the package: other code makes a site anew."""
    sources = [*sorted(PACKAGE.rglob("*.py")), *list_files(template_root())]
    return digest_json([digest_file(path) for path in sources])


def _part(key: str, result: Any, files: dict[str, list[int]]) -> Part:
    return Part(key, result, {name: (size, time) for name, (size, time) in files.items()})


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size, status.st_mtime_ns
