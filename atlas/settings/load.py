"""Read the configuration of an atlas from a TOML file, and check it before anything runs.

Paths in the file are relative to its folder.
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
from atlas.base.files import read_sealed, seal, write_text
from atlas.settings.expected import Download, ExpectedSettings
from atlas.settings.icons import ConceptsSettings, DrawnConcepts, IconsSettings, WhereSettings
from atlas.settings.inputs import EmbedSettings
from atlas.settings.publish import PublishSettings
from atlas.settings.runtime import Runtime
from atlas.settings.sae import SaeSettings, TrainSettings
from atlas.settings.scan import ScanSettings
from atlas.settings.section import Section
from atlas.settings.site import CatalogSettings, SiteSettings
from atlas.settings.study import CompareSettings, FamiliesSettings, NamesSettings, NeighborsSettings

SAVED_CONFIG = ".settings.json"
"""File in the folder of an atlas that holds the configuration of its last build."""


class Config(Section):
    """Configuration of one atlas."""

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
    publish: PublishSettings = Field(
        default_factory=PublishSettings, description="Publication by continuous integration."
    )
    runtime: Runtime = Field(default_factory=Runtime, description="How to run.")
    expected: ExpectedSettings = Field(
        default_factory=ExpectedSettings, description="What is known about the inputs in advance."
    )
    downloads: tuple[Download, ...] = Field(
        default=(),
        description="What to download in advance, for atlas plan: what, to, command, size_gb, license.",
    )


def settings_of(config: Config, stage: str) -> Section:
    """Return all settings that the output of a stage depends on."""
    if stage == "concepts":
        return DrawnConcepts(concepts=config.concepts, icons=config.icons)
    if stage == "scan":
        return config.scan.model_copy(update={"own_l0": config.scan.own_l0 or config.expected.l0})
    section: Section = config.sae if stage == "convert" else getattr(config, stage)
    return section


def save_config(config: Config) -> None:
    """Save the configuration in the folder of the atlas, for look-ups that encode or draw."""
    path, text = config.out_dir / SAVED_CONFIG, seal(config.model_dump(mode="json"))
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def saved_config(atlas_dir: Path) -> Config:
    """Return the configuration that an atlas was last built with.

    Raises:
        MissingError: The folder holds none, for instance because only the catalog was copied.
        InputError: It is damaged.
        ConfigError: It was written by another version of atlas.
    """
    path = atlas_dir / SAVED_CONFIG
    value = read_sealed(path)
    if value is None:
        raise MissingError(
            f"{atlas_dir} holds no {SAVED_CONFIG} with its configuration; build it on this machine first"
        )
    try:
        return Config.model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise ConfigError(
            f"{path} was written by another version of atlas ({_explain(error)}); build the atlas again"
        ) from error


def load_config(path: Path, changes: Iterable[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: The TOML file.
        changes: Overrides of settings, each as "section.key=value" with the value in TOML;
            text needs no quotes.

    Raises:
        ConfigError: The file is missing or malformed, or a setting is unknown or invalid.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}; name a .toml file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; name the .toml file in it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(raw, change)
    try:
        # Through JSON, because pydantic's strict mode then accepts text for a path and a list for a
        # tuple, but still no text for a number.
        config = Config.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{_explain(error)}; see {path}") from error
    return _resolve(config, path.resolve().parent)


def _apply(raw: dict[str, Any], change: str) -> None:
    """Set the value of one "section.key=value" in the tables of a configuration file."""
    name, equals, text = change.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set takes section.key=value, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    table = raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: {key} is not a section")
    table[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """Return the first problem as one line, with a suggestion for an unknown key."""
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
    """Return the full name of every setting, in the order of the sections."""
    names = []
    for key, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            names += [f"{key}.{inner}" for inner in kind.model_fields]
        else:
            names.append(key)
    return names


def _resolve(config: Config, base: Path) -> Config:
    """Make every path absolute, relative to the folder of the configuration."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Path):
            return Path(os.path.normpath(base / value))  # not resolve(): links stay as written
        if isinstance(value, tuple):
            return tuple(absolute(item) for item in value)
        return value

    changed: dict[str, Any] = {"out_dir": absolute(config.out_dir)}
    if os.sep == "/" and "\\" in str(changed["out_dir"]):
        raise ConfigError(
            f"out_dir {changed['out_dir']} has a backslash, which DuckDB takes for a folder; "
            "name a folder without one"
        )
    for name in Config.model_fields:
        section = getattr(config, name)
        if not isinstance(section, Section):
            continue
        update = {key: absolute(getattr(section, key)) for key in section.places()}
        for key in ("vectors", "second_vectors", "replicates"):
            if getattr(section, key, None) is not None:
                update[key] = os.path.normpath(base / getattr(section, key))
        changed[name] = section.model_copy(update=update)
    changed["downloads"] = tuple(
        download.model_copy(update={"to": absolute(download.to)}) for download in config.downloads
    )
    return config.model_copy(update=changed)
