"""The generated parts of the documentation: tables that come from the code.

usage: python tests/docs.py (make docs)
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from rooms import ENTRANCES, FLOORS

from atlas.base.tables import markdown
from atlas.sae.checkpoints import formats_markdown
from atlas.settings.load import Config
from atlas.settings.section import Section
from atlas.site.hosts import HOSTS, MIB

ROOT = Path(__file__).parents[1]


def rooms() -> str:
    """The list of rooms: the first line of each one's docstring."""
    lines = ["| floor | room | what happens there |", "|---|---|---|"]
    for floor, names in enumerate(FLOORS):
        for name in names:
            folder = ROOT / "atlas" / name
            path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            if name not in ENTRANCES:
                summary = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")
                shown = f"{name}/" if folder.is_dir() else path.name
                lines.append(f"| {floor} | `{shown}` | {summary[0]} |")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    """A default as the table of settings shows it."""
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return json.dumps(default)
    if isinstance(default, list | tuple):
        return json.dumps(list(default))
    return str(default)


def settings() -> str:
    """Every setting with its default and its description."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for inner, setting in kind.model_fields.items():
                default = _shown(setting.get_default(call_default_factory=True))
                lines.append(f"| `{name}.{inner}` | {default} | {setting.description} |")
        else:
            default = _shown(field.get_default(call_default_factory=True))
            lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines)


def hosts() -> str:
    """What each kind of host allows."""

    def size(limit: int | None) -> str:
        if limit is None:
            return ""
        return f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit // 1_000_000_000} GB"

    def count(limit: int | None) -> str:
        return "" if limit is None else f"{limit:,}"

    rows = [
        f"| `{name}` | {size(host.total_bytes)} | {count(host.files)} "
        f"| {count(host.folder_entries)} | {size(host.file_bytes)} |"
        for name, host in HOSTS.items()
    ]
    head = "| `site.host` | total size | files | entries in a folder | size of a file |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def tables() -> str:
    """Every table and column of the catalog."""
    return markdown().rstrip("\n")


GENERATED = {
    "docs/layout.md": {"rooms": rooms},
    "docs/settings.md": {"settings": settings},
    "docs/checkpoints.md": {"formats": formats_markdown},
    "docs/hosting.md": {"hosts": hosts},
    "build/README.md": {"tables": tables},
}
"""File -> marker -> what stands between the marker and its end."""


def with_generated(text: str, name: str, section: str) -> str:
    """Return the text of a page with one generated section in its place.

    Raises:
        ValueError: A marker is missing.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {start.strip()} ... {end}")
    return f"{before}{start}{section}\n{end}{after}"


def rewritten(page: str) -> str:
    """Return a page as it should be."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, make in GENERATED[page].items():
        text = with_generated(text, name, make())
    return text


def main() -> None:
    """Write every page that has generated parts."""
    for page in GENERATED:
        (ROOT / page).write_text(rewritten(page), encoding="utf-8")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
