"""Commands that write an atlas for other tools: export features, images, sae."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.command.options import DEMO, AtlasOpt, export_app
from atlas.command.printing import short_path


@export_app.command("features")
def export_features(
    out: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
    atlas: AtlasOpt = DEMO,
) -> None:
    """Write a row a live feature: name, figures, place on the map, neighbors (for embedding-atlas)."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.exports import export_features as write

    with Atlas(atlas) as opened:
        n = write(opened, out)
    print(f"wrote {n:,} features to {short_path(out)}")
    if out.suffix == ".parquet":
        print(f"look at them: embedding-atlas {short_path(out)} --x x --y y --text name --neighbors neighbors")  # fmt: skip


@export_app.command("images")
def export_images(
    out: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    atlas: AtlasOpt = DEMO,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Images of a feature.")] = 9,
) -> None:
    """Write the strongest images of every feature as a dataset for the Hugging Face Hub."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.exports import export_images as write

    with Atlas(atlas) as opened:
        n = write(opened, out, limit)
    print(f"wrote {n:,} images to {short_path(out)}")


@export_app.command("sae")
def export_sae(
    out: Annotated[Path, typer.Argument(help="Folder that SAELens opens.")],
    atlas: AtlasOpt = DEMO,
) -> None:
    """Write the SAE as SAELens keeps it: cfg.json and sae_weights.safetensors."""
    from atlas.sae.checkpoints import load_sae
    from atlas.sae.formats.saelens import write_saelens
    from atlas.settings.load import saved_config
    from atlas.settings.outside import drawing_inputs
    from atlas.settings.paths import require_atlas

    sae = load_sae(drawing_inputs(saved_config(require_atlas(atlas)))["sae"])
    write_saelens(out, sae)
    print(f"wrote {sae.n_features:,} features of {sae.width} dimensions to {short_path(out)}")
