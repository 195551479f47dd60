"""Step manifest: size and SHA-256 of every file of data/demo."""

from __future__ import annotations

from atlas.base.files import digest_file, list_files, write_json
from atlas.demo.places import DEMO, MANIFEST


def run() -> None:
    """Write manifest.json."""
    files = [path for path in list_files(DEMO) if path != MANIFEST]
    write_json(
        MANIFEST,
        {
            path.relative_to(DEMO).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": digest_file(path),
            }
            for path in files
        },
    )
