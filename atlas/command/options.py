"""The typer app, and the arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="atlas",
    help="Turn a sparse autoencoder into an atlas of its features, and look features up.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
icons_app = typer.Typer(help="Choose how icons are drawn.", no_args_is_help=True)
export_app = typer.Typer(help="Export parts of an atlas for other tools.", no_args_is_help=True)
app.add_typer(icons_app, name="icons")
app.add_typer(export_app, name="export")


ConfigArg = Annotated[Path, typer.Argument(help="TOML file of the atlas.", metavar="CONFIG")]
DEMO = Path("build/demo")


def atlas_here(place: Path | str) -> Path | str:
    """Return the atlas that a look-up asks: the one named, else that of the current folder, else the demo's.

    A folder is its own atlas or site, or names one in its atlas.toml.
    """
    here = Path()
    if str(place) != str(DEMO):
        return place
    if (here / "catalog" / "atlas.duckdb").exists() or (here / "parquet").is_dir():
        return type(place)(here)
    if (here / "atlas.toml").is_file():
        return type(place)(_out_dir(here / "atlas.toml"))
    return place


def _out_dir(config: Path) -> Path:
    """Return the folder of the atlas that a configuration names; build/atlas if it names none."""
    import tomllib

    try:
        raw = tomllib.loads(config.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return DEMO  # a build says what is wrong with it
    return Path(str(raw.get("out_dir", "build/atlas")))


PlaceOpt = Annotated[
    str,
    typer.Option(
        "--atlas",
        callback=atlas_here,
        help="A built atlas (its folder), a published site or a bundle (folder, file or address); by default that of the current folder, else the demo's.",
    ),
]
AtlasOpt = Annotated[
    Path,
    typer.Option(
        "--atlas",
        callback=atlas_here,
        help="Folder of a built atlas; by default that of the current folder, else the demo's.",
    ),
]
MarkdownOpt = Annotated[
    bool, typer.Option("--markdown", help="Print Markdown, for the summary of a run.")
]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: section.key=value. May be repeated."),
]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from atlas.base.version import __version__

        print(f"feature-atlas {__version__}")
        raise typer.Exit
