"""What mkdocs needs beside docs/: pages that lie elsewhere in the repository, and the API's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "build/README.md": "contract.md",
    "data/README.md": "demo-data.md",
}
"""Files of the repository -> pages of the site."""
API = (
    (
        "Opening an atlas",
        ("atlas.open", "atlas.lookup.atlas.Atlas", "atlas.lookup.catalog.Catalog"),
    ),
    ("What look-ups return", ("atlas.lookup.records",)),
    ("Steering", ("atlas.lookup.steer",)),
    ("Comparing two builds", ("atlas.publish.diff",)),
    ("Plots", ("atlas.plots",)),
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside, the API, and the pictures that they show."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=_moved(source)))
    parts = [
        f"## {title}\n\n" + "\n\n".join(f"::: {name}" for name in names) for title, names in API
    ]
    files.append(File.generated(config, "api.md", content="# Python\n\n" + "\n\n".join(parts)))
    for picture in sorted((ROOT / "data" / "screenshots").glob("*.webp")):
        address = f"data/screenshots/{picture.name}"
        files.append(File.generated(config, address, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave docs/ to the pages that stand for their files."""
    return _led(markdown, "docs") if page.file.generated_by is None else markdown


def _moved(source: str) -> str:
    return _led((ROOT / source).read_text("utf-8"), str(Path(source).parent))


def _led(text: str, folder: str) -> str:
    """Return text whose links to files are links to pages; what has no page is plain text."""

    def lead(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        path = (ROOT / folder / target).resolve()
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if name in OUTSIDE:
            return f"[{words}]({OUTSIDE[name]}{anchor})"
        if name.startswith("docs/") and name.endswith(".md"):
            return f"[{words}]({name.removeprefix('docs/')}{anchor})"
        if name.startswith("data/screenshots/"):
            return f"[{words}]({name})"
        return words

    return re.sub(r"\[([^\]\n]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)", lead, text)
