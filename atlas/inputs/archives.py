"""Pictures in img2dataset's tar archives, streamed and never extracted.

An archive's headers are read first: captions may come long after their picture, or before it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from atlas.base.files import read_json
from atlas.inputs.captions import TEXT_BYTES, json_facts, plain_text
from atlas.inputs.found import PICTURE_SUFFIXES, Found, Skipped

MOST_BYTES = 256 << 20
"""A member of an archive that claims more is skipped."""
TAR_END = 1024
"""Zero bytes that end a whole archive."""


@dataclass(slots=True)
class _Record:
    """The members of one key."""

    pictures: list[tarfile.TarInfo] = field(default_factory=list)
    notes: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    """Ending -> member."""


def read_tar(file: str, path: Path) -> Iterator[Found | Skipped]:
    """Yield the pictures of an archive in its order, and what of it is skipped.

    Args:
        file: What the archive is called.
        path: Where it is.
    """
    count = 0
    found = _Headers(file, path)
    yield from found.skipped
    for key, record in found.records.items():
        for number, member in enumerate(record.pictures):
            # The first picture of a key is called by it; any other by its ending, too.
            name = key if number == 0 else member.name
            count += 1
            yield Found(name, _facts(path, record), None, path, member.offset_data, member.size)
        if not record.pictures:
            for member in record.notes.values():
                yield Skipped(file, member.name, "a caption without a picture")
    if found.why:
        yield Skipped(file, "", found.why)
        if found.damaged:
            return
    stats = path.with_name(f"{path.stem}_stats.json")
    if stats.exists():
        counts = read_json(stats)
        expected = counts.get("successes") if isinstance(counts, dict) else None
        if isinstance(expected, int) and expected != count:
            yield Skipped(
                file, "", f"the archive holds {count} pictures, {stats.name} says {expected}"
            )


class _Headers:
    """What the headers of an archive say."""

    def __init__(self, file: str, path: Path) -> None:
        self._file, self._size = file, path.stat().st_size
        self.records: dict[str, _Record] = {}
        self.skipped: list[Skipped] = []
        self.why = ""
        """What is wrong with the archive as a whole."""
        self.damaged = False
        try:
            with tarfile.open(path, "r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it; else the list of members grows with the archive
                    self._add(member)
                self.why = _why_unfinished(path, archive.offset)
        except (tarfile.TarError, OSError, EOFError) as error:
            self.why, self.damaged = f"the archive is damaged from here on: {error}", True

    def _add(self, member: tarfile.TarInfo) -> None:
        name = PurePosixPath(member.name)
        stem, suffix = name.as_posix().removesuffix(name.suffix), name.suffix.lower()
        if member.isdir() or member.offset_data + member.size > self._size:
            return  # the rest of what is cut off is said of the archive as a whole
        if name.name.startswith("._") or "__MACOSX" in name.parts:
            self._skip(member, "a note that macOS keeps beside a file")
        elif not member.isreg() or suffix not in (*PICTURE_SUFFIXES, ".txt", ".json"):
            self._skip(member, "neither a picture nor a caption")
        elif member.size > MOST_BYTES:
            self._skip(member, f"claims {member.size:,} bytes")
        elif suffix in PICTURE_SUFFIXES:
            self.records.setdefault(stem, _Record()).pictures.append(member)
        else:
            self.records.setdefault(stem, _Record()).notes[suffix] = member

    def _skip(self, member: tarfile.TarInfo, why: str) -> None:
        self.skipped.append(Skipped(self._file, member.name, why))


def _facts(path: Path, record: _Record) -> dict[str, Any]:
    """Return what the notes of a key say; a text's caption goes before that of JSON."""
    facts: dict[str, Any] = {}
    if ".json" in record.notes:
        facts |= json_facts(_bytes(path, record.notes[".json"]))
    if ".txt" in record.notes:
        facts["caption"] = plain_text(_bytes(path, record.notes[".txt"]))
    return facts


def _bytes(path: Path, member: tarfile.TarInfo) -> bytes:
    with path.open("rb") as file:
        file.seek(member.offset_data)
        return file.read(min(member.size, TEXT_BYTES))


def _why_unfinished(path: Path, end: int) -> str:
    """Return what is wrong where reading ended; nothing if the archive ends there as it should.

    Python's reader takes a cut between two members, and a garbled header, for the end.
    """
    with path.open("rb") as file:
        file.seek(end)
        left = file.read(TAR_END)
    if any(left):
        return f"the archive is damaged at byte {end:,}: what follows is lost"
    return "" if len(left) == TAR_END else "the archive is cut off: what followed is lost"
