"""A site as it is written: file by file, with what need not be made again taken from the published one.

A part of a site is some files made together, for instance the pages of some features. Its key is
a digest of all that they are made from. Where key, sizes and times are what the last build left,
the files get a second name in the new site, unread. The record of it lies beside the site and
never in it: times differ between equal builds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from atlas.base.files import (
    digest_file,
    digest_json,
    link_or_copy,
    list_files,
    write_or_link,
    write_text,
)
from atlas.run.stage import Job
from atlas.settings.paths import PACKAGE, template_root
from atlas.site import links

RECORD = ".site.json"
Result = TypeVar("Result")


@dataclass(slots=True)
class Part:
    """What the last build made together."""

    key: str
    result: Any
    """What its making returned; plain JSON."""
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Place below the site's folder -> (bytes, modification time in ns)."""


class Output:
    """The folder that a site is written to."""

    def __init__(self, job: Job) -> None:
        """Read the record of the last build; without one, or by another program, all is made."""
        self.job = job
        self._record = job.published_home.parent / RECORD
        self._program = digest_program()
        self._now: dict[str, Part] = {}
        self._open: list[str] = []
        try:
            held = json.loads(self._record.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            held = {"program": ""}
        self.same_program: bool = held["program"] == self._program
        """Whether the published site was made, and so checked, by these very lines."""
        self._before: dict[str, Part] = (
            {name: _part(**part) for name, part in held["parts"].items()}
            if self.same_program
            else {}
        )

    def put(self, name: str, data: str | bytes) -> None:
        """Write one file of the site; what the published one holds already keeps its time.

        Args:
            name: Its address; pictures that will be published elsewhere get a folder of their own.
            data: What it holds.
        """
        raw = data.encode("utf-8") if isinstance(data, str) else data
        place = links.stored(name, self.job.settings.media_base_url)
        write_or_link(self.job.out_dir / place, self.job.published_dir / place, raw)
        self._open.append(place)

    def published_path(self, name: str) -> Path:
        """Return where the published site has a file, or would have it."""
        place = links.stored(name, self.job.settings.media_base_url)
        return self.job.published_dir / place

    def reuse(self, name: str, key: str) -> Part | None:
        """Take a part over from the published site, if it is there as it would be made.

        Args:
            name: Of the part.
            key: Digest of all that decides its files, beside the program's own.
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
        """Return what work returns, which writes a part by put; take the part over if that does.

        Args:
            name: As in reuse.
            key: As in reuse.
            work: Returns plain JSON.
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
        """Keep the record for the next build."""
        held = {
            "program": self._program,
            "parts": {
                name: {"key": part.key, "result": part.result, "files": part.files}
                for name, part in self._now.items()
            },
        }
        write_text(self._record, json.dumps(held, separators=(",", ":")))


def digest_program() -> str:
    """Return a digest of all code and templates that a site is made with."""
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
