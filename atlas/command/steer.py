"""Commands that steer and name: steer, icons tune, export directions, names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.base.errors import ConfigError
from atlas.base.extras import explain_missing_package
from atlas.command.options import (
    DEMO,
    AtlasOpt,
    ConfigArg,
    JsonOpt,
    SetOpt,
    app,
    export_app,
    icons_app,
)
from atlas.command.printing import print_json, print_table, short_path


@app.command()
def names(
    atlas: AtlasOpt = DEMO,
    given: Annotated[
        Path | None,
        typer.Option("--from", help="Keep names from a .csv or .jsonl file for the next build."),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheets", help="Write a sheet of pictures for each feature to this folder."
        ),
    ] = None,
    features: Annotated[
        list[int] | None, typer.Option("--feature", help="Only this feature. May be repeated.")
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option("--judge", help="Write a page to this folder on which a person judges names."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", help="With --judge: read what that page saved, say what it means."
        ),
    ] = None,
) -> None:
    """Import names for features, write contact sheets to name them from, or judge the names."""
    from atlas.lookup.atlas import Atlas

    if [given, sheets, judge].count(None) != 2 or (answers and not judge):
        raise ConfigError(
            "names needs one of --from FILE, --contact-sheets DIR and --judge DIR (with --answers FILE)"
        )
    if judge is not None:
        _judge(atlas, judge, answers)
    if given is not None:
        from atlas.study.name_files import keep_names

        with Atlas(atlas) as opened:
            kept, n = keep_names(given, atlas, opened.n_features)
        print(f"kept {n:,} names in {kept}; show them with: atlas build CONFIG")
    if sheets is not None:
        from atlas.lookup.contact_sheets import write_sheets

        n = write_sheets(atlas, sheets, tuple(features or ()))
        print(f"wrote {n:,} sheets, sheets.jsonl and TASK.txt to {sheets}")


def _judge(atlas: Path, folder: Path, answers: Path | None) -> None:
    """Write the page on which a person judges names, or print what the answers mean."""
    from atlas.lookup.judge_names import read_verdict, write_judging

    if answers is None:
        n = write_judging(atlas, folder)
        print(f"open {short_path(folder / 'judge.html')}: {n} features")
        return
    found = read_verdict(folder, answers)
    print_table(
        ("answered", "right", "95 %", "a neighbor's name", "a random name", "none", "by chance"),
        [
            (
                f"{found.answered}",
                f"{found.own / max(found.answered, 1):.1%}",
                f"{found.low:.1%} to {found.high:.1%}",
                f"{found.neighbor}",
                f"{found.random}",
                f"{found.none}",
                "33.3%",
            )
        ],
    )


@icons_app.command("tune")
@explain_missing_package("icons tune", "embed,concepts,icons")
def tune_icons(
    config: ConfigArg,
    out: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = Path("build/tune"),
    scales: Annotated[
        str, typer.Option("--scales", help="Template scales, separated by commas.")
    ] = "0,0.2,0.5",
    strengths: Annotated[
        str,
        typer.Option("--strengths", help="Strengths in icons.strength_unit, separated by commas."),
    ] = "",
    features: Annotated[
        str,
        typer.Option(
            "--features", help="Features to show, separated by commas; random ones by default."
        ),
    ] = "",
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Number of features for the curve.")
    ] = 24,
    changes: SetOpt = None,
) -> None:
    """Draw icons at several template scales and strengths, with their round trips."""
    from atlas.base.progress import Progress
    from atlas.lookup.tune import Choice, tune
    from atlas.settings.load import load_config

    loaded = load_config(config, changes or [])
    around = ",".join(f"{loaded.icons.strength * gain:g}" for gain in (0.5, 1, 1.5, 2, 3))
    choice = Choice(
        scales=_numbers("--scales", scales),
        strengths=_numbers("--strengths", strengths or around),
        features=tuple(int(number) for number in _numbers("--features", features)),
        sample=sample,
        shown=6,
    )
    points = tune(loaded, choice, out, Progress())
    print_table(
        ("template scale", "strength", "features", "fires", "strong", "over median firing"),
        [
            (
                f"{p.scale:g}",
                f"{p.strength:g}",
                f"{p.n}",
                f"{p.fires:.0%}",
                f"{p.strong:.0%}",
                f"{p.median_ratio:.2f}",
            )
            for p in points
        ],
    )
    print(f"open {short_path(out / 'tune.html')}")


@export_app.command("directions")
def export_directions(
    features: Annotated[list[int], typer.Argument(help="Feature numbers.", metavar="ID...")],
    out: Annotated[Path, typer.Option("--out", help="The .npy file, (feature, d) float32.")],
    atlas: AtlasOpt = DEMO,
    unit: Annotated[bool, typer.Option("--unit", help="Normalize each row to length 1.")] = False,
) -> None:
    """Write decoder rows of chosen features, for steering with other tools."""
    from atlas.lookup.directions import export_directions as write
    from atlas.sae.checkpoints import load_sae
    from atlas.settings.load import saved_config
    from atlas.settings.outside import drawing_inputs
    from atlas.settings.paths import require_atlas

    sae = load_sae(drawing_inputs(saved_config(require_atlas(atlas)))["sae"])
    write(sae, features, out, unit=unit)
    print(f"wrote {len(features)} x {sae.width} to {short_path(out)}")


@app.command()
@explain_missing_package("steer", "embed,concepts,icons")
def steer(
    picture: Annotated[
        str, typer.Argument(help="A picture file, or the number of an image.", metavar="IMAGE")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .webp, .png or .jpg.")],
    concepts: Annotated[
        list[str] | None,
        typer.Option("--concept", help="Multiply a concept: 3=2.0 doubles concept 3."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--feature", help="Change a feature: 17=40 sets it, 17=+40 adds, 17=x2 doubles."
        ),
    ] = None,
    atlas: AtlasOpt = DEMO,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of the noise; by default that of the icons."),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Turn concepts and features of a picture up or down, draw it, and measure the result."""
    from atlas.lookup.steer import picture_kind, read_turn, save_picture
    from atlas.lookup.steer import steer as turn_knobs
    from atlas.settings.load import saved_config
    from atlas.settings.paths import require_atlas

    picture_kind(out)  # before minutes of work rather than after
    turns = [read_turn("concept", text) for text in concepts or []]
    turns += [read_turn("feature", text) for text in features or []]
    found = turn_knobs(saved_config(require_atlas(atlas)), picture, turns, seed)
    save_picture(found.picture, out)
    if as_json:
        from dataclasses import asdict

        print_json(
            {
                "out": out,
                "moved": found.moved,
                "norm": found.norm,
                "norm_percentile": found.norm_percentile,
                "readings": [asdict(reading) for reading in found.readings],
            }
        )
        return
    print_table(
        ("knob", "picture", "turned to", "drawn as it is", "drawn turned"),
        [
            (r.knob, *(f"{v:.3g}" for v in (r.before, r.wanted, r.drawn_before, r.drawn)))
            for r in found.readings
        ],
    )
    print(
        f"moved the embedding by {found.moved:.3g}; its length {found.norm:.3g} is greater than "
        f"{found.norm_percentile:.0%} of the images'; wrote {short_path(out)}"
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError as error:
        raise ConfigError(f"{option} takes numbers separated by commas, got {text!r}") from error
