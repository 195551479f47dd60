"""A folder to keep an atlas in: its configuration with comments, the workflow that publishes it, a README."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import write_bytes, write_text
from atlas.base.web import is_address
from atlas.lookup.bundles import HUB, Bundle
from atlas.prepare.new_atlas import FILE, config_text, toml_text, with_setting
from atlas.publish.restore import toml
from atlas.publish.workflows import PLACES, workflow
from atlas.settings.paths import data_root

IGNORED = "/build/\n/raw/\n/_site/\n/diff.html\n/summary.md\n"
HOSTS = {"github": "github", "gitlab": "local"}
"""What runs the workflow -> site.host."""
PUBLISH = """
# What @@WORKFLOW@@ publishes. Where models and pictures are: atlas build atlas.toml, then atlas bundle --out atlas.zip
# (or --out hf:OWNER/NAME). Name the bundle here: a path in this repository, an https address, or hf:OWNER/NAME.
[publish]
@@BUNDLE@@
# What is published now, to tell what changes; site.base_url by default.
# last = "https://OWNER.github.io/NAME"
# The run fails above these: kilobytes of the largest page, megabytes of the site; 0 for any.
page_kb = 0
site_mb = 0
"""
README = """# @@TITLE@@

An atlas of the features of a sparse autoencoder, made with feature-atlas.
`atlas.toml` says of what; @@WORKFLOW@@ builds the site from a bundle, checks it and publishes it.

```
pip install 'feature-atlas[all]'
atlas plan atlas.toml         # what is missing, time, disk, memory
atlas doctor atlas.toml
atlas build atlas.toml
atlas serve
atlas bundle --out atlas.zip  # then name it in [publish] of atlas.toml
```

Change a title or a name in `atlas.toml`, push, and the site is built again without models or pictures.

Pictures and texts: @@LICENSE@@.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a project starts from: one of the three."""

    preset: str = ""
    pictures: Path | None = None
    bundle: str = ""


def presets() -> list[str]:
    """Return the names of the presets that come along."""
    return sorted(path.stem for path in data_root("presets").glob("*.toml"))


def make_project(
    folder: Path, origin: Origin, *, title: str = "", license_: str = "", runner: str = "github"
) -> list[Path]:
    """Write a project's files and return them; all or none.

    Args:
        folder: Created if it is not there; may hold other files.
        origin: What the configuration is made from.
        title: Of the atlas; by default the origin's.
        license_: Of pictures and texts, for the footer of every page; not stated if empty.
        runner: github or gitlab.

    Raises:
        ConfigError: Not one origin, no such preset, or a file is there already.
        MissingError: The pictures or the bundle are not there.
    """
    if (bool(origin.preset), origin.pictures is not None, bool(origin.bundle)).count(True) != 1:
        raise ConfigError(
            f"init takes one of --preset ({', '.join(presets())}), --pictures and --bundle"
        )
    text, extra = _config(folder, origin)
    title = title or tomllib.loads(text).get("catalog", {}).get("title", "Feature atlas")
    text = with_setting(text, "catalog", "title", title)
    if license_:
        text = with_setting(text, "catalog", "credit", f"Pictures and texts: {license_}.")
    text = with_setting(text, "site", "host", HOSTS[runner])
    words = {
        "TITLE": title,
        "LICENSE": license_ or "no license is stated; ask before you use them",
        "WORKFLOW": PLACES[runner],
        "BUNDLE": _bundle_line(folder, origin.bundle),
    }
    files = {
        FILE: text.rstrip("\n") + "\n" + _filled(PUBLISH, words),
        PLACES[runner]: workflow(runner),
        "README.md": _filled(README, words),
        ".gitignore": IGNORED,
    }
    for name in (*files, *extra):
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already, so nothing was written")
    for name, data in extra.items():
        write_bytes(folder / name, data)
    for name, one in files.items():
        write_text(folder / name, one)
    return [folder / name for name in (*files, *extra)]


def _bundle_line(folder: Path, place: str) -> str:
    if not place:
        return '# bundle = "hf:OWNER/NAME"'
    if not place.startswith(HUB) and not is_address(place):
        place = Path(os.path.relpath(Path(place).resolve(), folder.resolve())).as_posix()
    return f"bundle = {toml_text(place)}"


def _config(folder: Path, origin: Origin) -> tuple[str, dict[str, bytes]]:
    """Return the configuration, and further files that it names."""
    if origin.preset:
        return _preset(origin.preset)
    if origin.pictures is not None:
        if not origin.pictures.exists():
            raise MissingError(
                f"no pictures at {origin.pictures}; name where they are with --pictures"
            )
        text, _ = config_text(origin.pictures, folder)
    else:
        text = toml(Bundle(origin.bundle).manifest)
    return with_setting(text, "", "out_dir", "build"), {}


def _preset(name: str) -> tuple[str, dict[str, bytes]]:
    """Return a preset whose places are those of a project."""
    path = data_root("presets") / f"{name}.toml"
    if name not in presets():
        raise ConfigError(f"no preset {name}; the presets are {', '.join(presets())}")
    text = path.read_text(encoding="utf-8")
    for old, new in (
        (f"data/presets/{name}.toml", FILE),
        ("../../build/", "build/"),
        ("../raw", "raw"),
        ("data/raw", "raw"),
        ("../neutral/", "neutral/"),
        ("data/words/", "words/"),
    ):
        text = text.replace(old, new)
    named = {
        f"{of}/{file}": data_root(of) / file
        for of, file in re.findall(r"\b(neutral|words)/([\w.]+)", text)
    }
    return text, {place: path.read_bytes() for place, path in named.items()}


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub("@@([A-Z]+)@@", lambda found: words[found[1]], text)
