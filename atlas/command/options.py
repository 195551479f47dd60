"""The typer app, and the arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="atlas",
    help="Turn a sparse autoencoder into an atlas of its features, and look features up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
icons_app = typer.Typer(help="Choose how icons are drawn.", no_args_is_help=True)
export_app = typer.Typer(help="Export parts of an atlas for other tools.", no_args_is_help=True)
app.add_typer(icons_app, name="icons")
app.add_typer(export_app, name="export")


ConfigArg = Annotated[Path, typer.Argument(help="TOML file of the atlas.", metavar="CONFIG")]
AtlasOpt = Annotated[Path, typer.Option("--atlas", help="Folder of a built atlas.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: section.key=value. May be repeated."),
]
DEMO = Path("build/demo")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from atlas.base.version import __version__

        print(f"feature-atlas {__version__}")
        raise typer.Exit
