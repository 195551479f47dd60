"""The configuration of an atlas: a TOML file, read and checked before anything runs.

Settings that decide bytes sit in the section of the stage they change and enter its plan.
Settings that only decide speed or place sit in [runtime], or are named by `places()`,
and never do. Paths are relative to the file that names them.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from atlas.base.errors import ConfigError, MissingError
from atlas.base.files import write_text
from atlas.settings.expected import Download, ExpectedSettings
from atlas.settings.icons import ConceptsSettings, DrawnConcepts, IconsSettings, WhereSettings
from atlas.settings.inputs import EmbedSettings
from atlas.settings.runtime import Runtime
from atlas.settings.sae import SaeSettings, TrainSettings
from atlas.settings.scan import ScanSettings
from atlas.settings.section import Section
from atlas.settings.site import CatalogSettings, SiteSettings
from atlas.settings.study import CompareSettings, FamiliesSettings, NamesSettings, NeighborsSettings

SAVED_CONFIG = ".settings.json"
"""In an atlas's folder: the whole configuration of its last build."""


class Config(Section):
    """One atlas."""

    out_dir: Path = Field(default=Path("build/atlas"), description="Folder of the finished atlas.")
    embed: EmbedSettings = Field(default_factory=EmbedSettings, description="Stage embed.")
    sae: SaeSettings = Field(default_factory=SaeSettings, description="The SAE.")
    train: TrainSettings = Field(default_factory=TrainSettings, description="Stage train.")
    scan: ScanSettings = Field(default_factory=ScanSettings, description="Stage scan.")
    neighbors: NeighborsSettings = Field(
        default_factory=NeighborsSettings, description="Stage neighbors."
    )
    families: FamiliesSettings = Field(
        default_factory=FamiliesSettings, description="Stage families."
    )
    compare: CompareSettings = Field(default_factory=CompareSettings, description="Stage compare.")
    names: NamesSettings = Field(default_factory=NamesSettings, description="Stage names.")
    icons: IconsSettings = Field(default_factory=IconsSettings, description="Stage icons.")
    where: WhereSettings = Field(default_factory=WhereSettings, description="Stage where.")
    concepts: ConceptsSettings = Field(
        default_factory=ConceptsSettings, description="Stage concepts."
    )
    catalog: CatalogSettings = Field(default_factory=CatalogSettings, description="Stage catalog.")
    site: SiteSettings = Field(default_factory=SiteSettings, description="Stage site.")
    runtime: Runtime = Field(default_factory=Runtime, description="How to run.")
    expected: ExpectedSettings = Field(
        default_factory=ExpectedSettings, description="What is known of the inputs beforehand."
    )
    downloads: tuple[Download, ...] = Field(
        default=(),
        description="What to fetch beforehand, for atlas plan: what, to, command, size_gb, license.",
    )


def settings_of(config: Config, stage: str) -> Section:
    """Return all settings that decide what a stage writes."""
    if stage == "concepts":
        return DrawnConcepts(concepts=config.concepts, icons=config.icons)
    section: Section = config.sae if stage == "convert" else getattr(config, stage)
    return section


def save_config(config: Config) -> None:
    """Keep beside the stages what they are built from, for look-ups that encode or draw."""
    path, text = config.out_dir / SAVED_CONFIG, config.model_dump_json(indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def saved_config(atlas_dir: Path) -> Config:
    """Return the configuration that an atlas was last built with.

    Raises:
        MissingError: The folder holds none, as a copied catalog doesn't.
        ConfigError: It is of another version of this program.
    """
    path = atlas_dir / SAVED_CONFIG
    try:
        return Config.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(
            f"{atlas_dir} doesn't say what it was built from; build it on this machine first"
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{path} is of another version ({_explain(error)}); build the atlas again"
        ) from error


def load_config(path: Path, changes: Iterable[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: The TOML file.
        changes: Settings that override the file's, each as "section.key=value" with the
            value in TOML, or a bare word for text.

    Raises:
        ConfigError: The file is missing or malformed, or a setting is unknown or impossible.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}; name a .toml file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; name the .toml file in it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(raw, change)
    try:
        # By way of JSON, in which strict still lets text be a path and a list be a tuple.
        config = Config.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{_explain(error)}; see {path}") from error
    return _resolve(config, path.resolve().parent)


def _apply(raw: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set takes section.key=value, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table = raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: {key} is not a section")
    table[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """Return the first problem in one line, with a suggestion for a misspelt key."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = setting_names() if "." in name else list(Config.model_fields)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return f"unknown setting {name}" + (f"; did you mean {near[0]}?" if near else "")
    if first["type"] == "model_type":
        return f"{name} must be a section, got {first['input']!r}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{name}: {message}, got {first['input']!r}"


def setting_names() -> list[str]:
    """Return every setting's full name, in the order of the sections."""
    names = []
    for key, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            names += [f"{key}.{inner}" for inner in kind.model_fields]
        else:
            names.append(key)
    return names


def _resolve(config: Config, base: Path) -> Config:
    """Make every path absolute, counted from the configuration's folder."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Path):
            return Path(os.path.normpath(base / value))  # as people would write it
        if isinstance(value, tuple):
            return tuple(absolute(item) for item in value)
        return value

    changed: dict[str, Any] = {"out_dir": absolute(config.out_dir)}
    for name in Config.model_fields:
        section = getattr(config, name)
        if not isinstance(section, Section):
            continue
        update = {key: absolute(getattr(section, key)) for key in section.places()}
        for key in ("vectors", "second_vectors"):
            if getattr(section, key, None) is not None:
                update[key] = os.path.normpath(base / getattr(section, key))
        changed[name] = section.model_copy(update=update)
    changed["downloads"] = tuple(
        download.model_copy(update={"to": absolute(download.to)}) for download in config.downloads
    )
    return config.model_copy(update=changed)
