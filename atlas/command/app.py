"""The atlas command: parse, call, print, exit. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from atlas.base.errors import AtlasError, ConfigError
from atlas.site.hosts import HOSTS

if TYPE_CHECKING:
    from types import FrameType

    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import Feature

app = typer.Typer(
    name="atlas",
    help="Turn a sparse autoencoder into an atlas of its features, and look features up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

icons_app = typer.Typer(help="Choose how icons are drawn.", no_args_is_help=True)
export_app = typer.Typer(help="Write parts of an atlas for other tools.", no_args_is_help=True)
app.add_typer(icons_app, name="icons")
app.add_typer(export_app, name="export")

ConfigArg = Annotated[Path, typer.Argument(help="The atlas's TOML file.", metavar="CONFIG")]
AtlasOpt = Annotated[Path, typer.Option("--atlas", help="Folder of a built atlas.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: section.key=value. May be repeated."),
]
DEMO = Path("build/demo")
PATIENCE_S = 2.0
"""Seconds that a stopped command may take to leave by itself; nothing is lost if it can't."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0 done; 1 an error that the user can fix, told in one line; 2 wrong usage;
        130 or 143 ended by a signal.
    """
    signals: list[int] = []
    deadlines: list[threading.Timer] = []

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        print("\natlas: stopped; the same command goes on from here", file=sys.stderr)
        # A query of DuckDB's now and then swallows the exception and runs on.
        deadlines.append(threading.Timer(PATIENCE_S, os._exit, [128 + number]))
        deadlines[-1].daemon = True
        deadlines[-1].start()
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        app(list(arguments))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except AtlasError as error:
        print(f"atlas: {error}", file=sys.stderr)
        return 1
    except RuntimeError:
        # A query of DuckDB's turns the SystemExit of a signal into one of these.
        if not signals:
            raise
        return 128 + signals[0]
    except BrokenPipeError:  # the reader, head for instance, has seen enough
        sys.stdout = None  # nothing more can be printed
        return 0
    finally:
        for deadline in deadlines:
            deadline.cancel()
    return 0


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from atlas import __version__

        print(f"feature-atlas {__version__}")
        raise typer.Exit


@app.command()
def build(
    config: Annotated[
        Path | None, typer.Argument(help="The atlas's TOML file.", metavar="CONFIG")
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Argument(help="Last stages wanted; all by default.", metavar="[STAGE...]"),
    ] = None,
    changes: SetOpt = None,
    force: Annotated[bool, typer.Option("--force", help="Build even what is current.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="As --set runtime.workers.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="As --set runtime.engine: local, ranks or ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="As --set runtime.address.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Instead of CONFIG: a folder of pictures, or archives."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --pictures: folder of the new atlas.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option("--encoder", help="With --pictures: the encoder; the demo's by default."),
    ] = None,
    sae: Annotated[
        Path | None,
        typer.Option(
            "--sae",
            help="With --pictures: the SAE. By default the demo's with the demo's encoder; else one is trained.",
        ),
    ] = None,
) -> None:
    """Build what is stale of an atlas; go on where an earlier build was stopped."""
    from atlas.base.progress import Progress
    from atlas.pipeline import build_atlas, help_build
    from atlas.prepare.begin import begin_atlas
    from atlas.settings.load import load_config

    short = {"workers": workers, "engine": engine, "address": address}
    given = [f"runtime.{key}={value}" for key, value in short.items() if value is not None]
    if pictures is not None:
        if config is not None or out is None:
            raise ConfigError("build takes CONFIG, or --pictures DIR and --out DIR")
        config = begin_atlas(pictures, out, encoder=encoder, sae=sae)
    if config is None:
        raise ConfigError("build needs CONFIG, or --pictures DIR and --out DIR")
    loaded = load_config(config, [*(changes or []), *given])
    if loaded.runtime.engine == "ranks":
        if force:
            raise ConfigError(
                "build --force clears what other processes write; leave out --engine ranks"
            )
        if os.environ.get("RANK", "0") != "0":
            help_build(loaded, tuple(stages or ()), Progress(silent=True))
            return
    outcomes = build_atlas(loaded, tuple(stages or ()), force=force, progress=Progress())
    built = [outcome.stage for outcome in outcomes if outcome.reasons]
    out_dir = _short(loaded.out_dir)
    if built:
        print(f"built {', '.join(built)} in {out_dir}")
    else:
        print(f"{out_dir} is up to date: nothing to do")
    page = loaded.out_dir / "site" / "index.html"
    if page.exists():
        print(f"open {_short(page)}, or run: atlas serve --atlas {out_dir}")


@app.command()
def sweep(
    config: ConfigArg,
    attempts: Annotated[
        list[str],
        typer.Option(
            "--try",
            help="Settings of [train] to try, as 'train.activation=topk train.k=32'. Repeated.",
        ),
    ],
    least_explained: Annotated[
        float,
        typer.Option(
            "--least-explained", min=0, max=1, help="Share of variance that is to be explained."
        ),
    ] = 0.65,
    changes: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Train with several settings, and set sparsity beside explained variance."""
    from dataclasses import asdict

    from atlas.base.progress import Progress
    from atlas.prepare.sweep import HEAD, run_sweep

    found = run_sweep(
        config,
        attempts,
        changes=changes or [],
        least_explained=least_explained,
        progress=Progress(),
    )
    chosen = found.tried[found.chosen]
    if as_json:
        rows = [asdict(one) | {"folder": str(one.folder)} for one in found.tried]
        _print_json({"tried": rows, "chosen": found.chosen, "why": found.why})
        return
    _table(HEAD, [one.cells(i + 1) for i, one in enumerate(found.tried)])
    print(f"take {chosen.settings}: {found.why}")
    print(f"its SAE, for [sae] path: {_short(chosen.folder)}")
    print(f"open {_short(chosen.folder.parents[1] / 'report.html')}")


@app.command()
def encoder(
    model: Annotated[
        str, typer.Argument(help="open_clip's name of a model, or hf-hub:ID.", metavar="MODEL")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to keep it in.")],
    pretrained: Annotated[
        str,
        typer.Option("--pretrained", help="open_clip's tag of the weights, or a checkpoint file."),
    ] = "",
) -> None:
    """Fetch an image encoder once, for embed.encoder; every later step reads the folder."""
    from atlas.inputs.encoder import fetch_encoder

    note = fetch_encoder(model, pretrained, out)
    print(f"kept {note['id']}, {note['width']} dimensions, in {out}; set embed.encoder to it")


@app.command()
def status(
    config: Annotated[
        Path, typer.Argument(help="The atlas's TOML file.", metavar="[CONFIG]")
    ] = Path("data/demo/atlas.toml"),
    changes: SetOpt = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file again, trusting no date.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Say which stages a build would run, and why."""
    from atlas.pipeline import status as stage_status
    from atlas.settings.load import load_config

    rows = dict(stage_status(load_config(config, changes or []), verify=verify))
    if as_json:
        _print_json(
            {name: {"current": not reasons, "reasons": reasons} for name, reasons in rows.items()}
        )
        return
    for name, reasons in rows.items():
        print(f"{name}: {'; '.join(reasons) or 'current'}")


@app.command()
def plan(config: ConfigArg, changes: SetOpt = None, as_json: JsonOpt = False) -> None:
    """Say what a build would need before anything runs: time, disk, memory, and what is missing."""
    from atlas.prepare.plan import make_plan
    from atlas.settings.load import load_config

    estimate = make_plan(load_config(config, changes or []))
    if as_json:
        _print_json(estimate.as_json())
    else:
        _table(("stage", "time", "disk", "memory", "basis"), estimate.rows())
        for line in estimate.notes:
            print(line)
        if estimate.fetches:
            _table(("\nto fetch", "size", "license", "command"), estimate.fetch_rows())
    if estimate.missing:
        for line in estimate.missing[1:]:
            print(f"missing: {line}", file=sys.stderr)
        raise ConfigError(estimate.missing[0])


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Check this atlas's inputs too.", metavar="[CONFIG]")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Torch device to check.")] = "cpu",
    as_json: JsonOpt = False,
) -> None:
    """Check this machine: packages, device, and that a small scan is exact on it."""
    from atlas.prepare.doctor import examine

    findings = examine(config, device)
    if as_json:
        _print_json(
            [{"what": f.what, "ok": f.ok, "found": f.found, "mend": f.mend} for f in findings]
        )
    else:
        for f in findings:
            print(
                f"{'ok  ' if f.ok else 'FAIL'}  {f.what}: {f.found}"
                + ("" if f.ok else f"; {f.mend}")
            )
    if any(not f.ok for f in findings):
        raise typer.Exit(1)


@app.command()
def serve(
    atlas: AtlasOpt = DEMO,
    port: Annotated[
        int, typer.Option("--port", help="Port on 127.0.0.1; 0 picks a free one.")
    ] = 8000,
) -> None:
    """Show an atlas's site on this machine, until stopped."""
    from atlas.site.serve import serve_folder

    serve_folder(atlas / "site", port, announce=print)


@app.command()
def check(
    site: Annotated[Path, typer.Argument(help="Folder of a finished site.", metavar="SITE")] = DEMO
    / "site",
    host: Annotated[
        str,
        typer.Option("--host", help=f"Hold it against this host's limits too: {', '.join(HOSTS)}."),
    ] = "local",
) -> None:
    """Check a finished site: links, anchors, scripts, sizes."""
    from atlas.site.check import check_host, check_site

    checked = check_site(site)
    print(checked.summary())
    check_host(checked.tally, host)


@app.command()
def feature(
    number: Annotated[int, typer.Argument(help="Number of the feature.", metavar="ID", min=0)],
    atlas: AtlasOpt = DEMO,
    as_json: JsonOpt = False,
) -> None:
    """Show what is known of one feature."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.feature(number)
        if as_json:
            _print_json(plain(found))
            return
        if sys.stdout.isatty():
            _show_icon(opened, found)
        for line in _describe(found):
            print(line)


@app.command()
def search(
    text: Annotated[list[str], typer.Argument(help="A number, a label, or words.", metavar="TEXT")],
    atlas: AtlasOpt = DEMO,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Features shown.")] = 10,
    as_json: JsonOpt = False,
) -> None:
    """Find features by number, label or meaning."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        hits = opened.search(" ".join(text), limit)
    if as_json:
        _print_json(plain(hits))
        return
    _table(
        ("feature", "label", "score", "found by", "density"),
        [
            (f"{h.feature}", h.label or "no name", f"{h.score:.3f}", h.why, f"{h.density:.2%}")
            for h in hits
        ],
    )


@app.command()
def names(
    atlas: AtlasOpt = DEMO,
    given: Annotated[
        Path | None,
        typer.Option("--from", help="Keep names from a .csv or .jsonl file for the next build."),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option("--contact-sheets", help="Write a sheet of pictures a feature to a folder."),
    ] = None,
    features: Annotated[
        list[int] | None, typer.Option("--feature", help="Only this one. May be repeated.")
    ] = None,
) -> None:
    """Take names from outside, or write contact sheets for whoever is to give them."""
    from atlas.lookup.atlas import Atlas

    if (given is None) == (sheets is None):
        raise ConfigError("names needs --from FILE or --contact-sheets DIR, one of them")
    if given is not None:
        from atlas.study.name_files import keep_names

        with Atlas(atlas) as opened:
            kept, n = keep_names(given, atlas, opened.n_features)
        print(f"kept {n:,} names in {kept}; show them with: atlas build CONFIG")
    if sheets is not None:
        from atlas.lookup.contact_sheets import write_sheets

        n = write_sheets(atlas, sheets, tuple(features or ()))
        print(f"wrote {n:,} sheets, sheets.jsonl and TASK.txt to {sheets}")


@app.command()
def neighbors(
    number: Annotated[int, typer.Argument(help="Number of the feature.", metavar="ID", min=0)],
    atlas: AtlasOpt = DEMO,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Neighbors shown.")] = 8,
    as_json: JsonOpt = False,
) -> None:
    """List the features whose decoder directions are most like one feature's."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.neighbors(number, limit)
    if as_json:
        _print_json(plain(found))
        return
    _table(
        ("neighbor", "label", "cosine"),
        [(f"{n.feature}", n.label or "no name", f"{n.cosine:.3f}") for n in found],
    )


@app.command()
def image(
    file: Annotated[Path, typer.Argument(help="Any PNG, JPEG or WebP.", metavar="FILE")],
    atlas: AtlasOpt = DEMO,
    tau: Annotated[
        str, typer.Option("--tau", help="coarse, fine, or the least mass of a concept.")
    ] = "fine",
    as_json: JsonOpt = False,
) -> None:
    """Open any picture: which features fire on it, and the concepts they form."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.decompose(file, tau)
        note = opened.provenance["note"]
    if as_json:
        _print_json(plain(found))
        return
    print(
        f"{found.picture}: {len(found.features)} features fire, mass {found.mass:.3g}; "
        f"{len(found.concepts)} concepts of at least {found.tau:.3g} "
        f"({found.lowest} to {found.highest} over restarts)"
    )
    _table(
        ("concept", "share", "mass", "label", "features"),
        [
            (
                f"{c.concept}",
                f"{c.mass_share:.1%}",
                f"{c.mass:.3g}",
                c.label or "no name",
                " ".join(f"f{f.feature}" for f in c.features[:4])
                + (f" and {len(c.features) - 4} more" if len(c.features) > 4 else ""),
            )
            for c in found.concepts
        ],
    )
    print(note)


@app.command()
def report(atlas: AtlasOpt = DEMO, as_json: JsonOpt = False) -> None:
    """Print the figures of the whole, each beside its baseline."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        figures = opened.report()
        note = opened.provenance["note"]
    if as_json:
        _print_json(plain(figures))
        return
    _table(
        ("figure", "value", "unit", "n", "baseline", "what the baseline is"),
        [
            (
                f.name,
                f"{f.value:,.4g}",
                f.unit,
                f"{f.n:,}",
                "" if f.null_value is None else f"{f.null_value:,.4g}",
                f.null_name,
            )
            for f in figures
        ],
    )
    print(note)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query.", metavar="QUERY")],
    atlas: AtlasOpt = DEMO,
    as_json: JsonOpt = False,
) -> None:
    """Ask the catalog anything, in SQL; build/README.md lists the tables."""
    from atlas.lookup.atlas import Atlas

    with Atlas(atlas) as opened:
        names, rows = opened.sql(query)
    if as_json:
        _print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        _table(names, [tuple("" if cell is None else str(cell) for cell in row) for row in rows])


@icons_app.command("tune")
def tune_icons(
    config: ConfigArg,
    out: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = Path("build/tune"),
    scales: Annotated[
        str, typer.Option("--scales", help="Template scales, with commas.")
    ] = "0,0.2,0.5",
    strengths: Annotated[
        str, typer.Option("--strengths", help="Strengths in icons.strength_unit, with commas.")
    ] = "",
    features: Annotated[
        str, typer.Option("--features", help="Features to show, with commas; by lot if none.")
    ] = "",
    sample: Annotated[int, typer.Option("--sample", min=1, help="Features for the curve.")] = 24,
    changes: SetOpt = None,
) -> None:
    """Draw a grid of template scales and strengths, and the round trip against strength."""
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
    _table(
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
    print(f"open {_short(out / 'tune.html')}")


@export_app.command("directions")
def export_directions(
    features: Annotated[list[int], typer.Argument(help="Numbers of features.", metavar="ID...")],
    out: Annotated[Path, typer.Option("--out", help="The .npy file, (feature, d) float32.")],
    atlas: AtlasOpt = DEMO,
    unit: Annotated[bool, typer.Option("--unit", help="Scale each row to length 1.")] = False,
) -> None:
    """Write decoder rows of chosen features, for other tools that steer."""
    from atlas.lookup.steer import export_directions as write
    from atlas.sae.checkpoints import load_sae
    from atlas.settings.load import saved_config
    from atlas.settings.outside import drawing_inputs
    from atlas.settings.paths import require_atlas

    sae = load_sae(drawing_inputs(saved_config(require_atlas(atlas)))["sae"])
    write(sae, features, out, unit=unit)
    print(f"wrote {len(features)} x {sae.width} to {_short(out)}")


@app.command()
def steer(
    picture: Annotated[
        str, typer.Argument(help="A picture file, or the number of an image.", metavar="IMAGE")
    ],
    out: Annotated[Path, typer.Option("--out", help="The picture: .webp, .png or .jpg.")],
    concepts: Annotated[
        list[str] | None, typer.Option("--concept", help="Multiply a concept: 3=2.0.")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option("--feature", help="Turn a feature: 17=40 sets, 17=+40 adds, 17=x2 doubles."),
    ] = None,
    atlas: AtlasOpt = DEMO,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the noise; the icons' by default.")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Turn a picture's concepts and features up or down, draw it, and measure what came of it."""
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

        _print_json(
            {
                "out": out,
                "moved": found.moved,
                "norm": found.norm,
                "norm_percentile": found.norm_percentile,
                "readings": [asdict(reading) for reading in found.readings],
            }
        )
        return
    _table(
        ("knob", "picture", "turned to", "drawn as it is", "drawn turned"),
        [
            (r.knob, *(f"{v:.3g}" for v in (r.before, r.wanted, r.drawn_before, r.drawn)))
            for r in found.readings
        ],
    )
    print(
        f"moved the embedding by {found.moved:.3g}; its length {found.norm:.3g} is greater than "
        f"{found.norm_percentile:.0%} of the images'; wrote {_short(out)}"
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError as error:
        raise ConfigError(f"{option} takes numbers with commas, got {text!r}") from error


@app.command()
def coverage(
    concepts: Annotated[
        Path, typer.Argument(help="Text file with one concept a line.", metavar="CONCEPTS")
    ],
    atlas: AtlasOpt = DEMO,
    as_json: JsonOpt = False,
) -> None:
    """Say which concepts of a list the dictionary has, confuses and lacks."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.coverage import coverage as cover
    from atlas.lookup.coverage import read_concepts
    from atlas.lookup.records import as_json as plain

    listed = read_concepts(concepts)
    with Atlas(atlas) as opened:
        found = cover(opened, listed)
    if as_json:
        _print_json(plain(found))
        return
    _table(
        (
            "concept",
            "verdict",
            "feature",
            "label",
            "found by",
            "score",
            "by chance",
            "confused with",
        ),
        [
            (
                c.concept,
                c.verdict,
                "" if c.feature is None else f"{c.feature}",
                c.label or ("" if c.feature is None else "no name"),
                c.why,
                "" if c.score is None else f"{c.score:.2f}",
                "" if c.null_score is None else f"{c.null_score:.2f}",
                c.confused_with,
            )
            for c in found
        ],
    )
    if sys.stdout.isatty():
        counts = {
            v: sum(c.verdict == v for c in found) for v in ("has", "confuses", "lacks", "unknown")
        }
        print(", ".join(f"{v} {n}" for v, n in counts.items()) + f" of {len(found)}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of an atlas.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Another one, on the same images.", metavar="B")],
    as_json: JsonOpt = False,
) -> None:
    """Match the features of two SAEs on the same images, and list what each lacks."""
    from atlas.lookup.records import as_json as plain
    from atlas.study.compare import compare as match

    found = match(a, b)
    if as_json:
        _print_json(plain(found))
        return
    _table(
        (
            "match by",
            "mutual",
            "by chance",
            "mutual, 0.7 or more",
            "by chance",
            "median best",
            "by chance",
            "n",
        ),
        [
            (
                m.by,
                f"{m.mutual:.3f}",
                f"{m.mutual_null:.3f}",
                f"{m.close:.3f}",
                f"{m.close_null:.3f}",
                f"{m.median:.3f}",
                f"{m.median_null:.3f}",
                f"{m.n:,}",
            )
            for m in (found.directions, found.firing)
        ],
    )
    print(f"the same close match by both: {found.both:.3f} of {found.live_a:,} features of {a}")
    for lacking, lacked in ((b, found.b_lacks), (a, found.a_lacks)):
        listed = ", ".join(f"{one.feature} ({one.cosine:.2f})" for one in lacked) or "nothing"
        print(f"{lacking} lacks, strongest first, with the nearest cosine: {listed}")


def _show_icon(opened: Atlas, found: Feature) -> None:
    """Print the feature's picture, where it may be shown and the terminal can."""
    from atlas.lookup.terminal import protocol_of, show_picture

    path = opened.icon_path(found.feature)
    if path is not None:
        print(show_picture(path, protocol_of(os.environ)), end="")


def _describe(found: Feature) -> Iterable[str]:
    """Yield the lines that a person reads about a feature."""
    name = ", ".join(label.label for label in found.labels) or "no name"
    yield f"{found.citation}  {name}"
    if not found.alive:
        yield "dead: fires on none of the scanned images"
        return
    yield (
        f"fires on {found.count:,} images ({found.density:.3%}); strongest {found.max:.3g}, "
        f"median {found.median:.3g}, share of mass {found.mass_share:.3%}"
    )
    if found.sensitive:
        yield "sensitive: its images are withheld"
    for top in found.top_images:
        yield f"  {top.activation:8.3f}  image {top.image}  {top.caption}"
    near = ", ".join(f"{n.feature} {n.label} ({n.cosine:.2f})" for n in found.neighbors)
    yield f"neighbors: {near}"
    yield f"page: {found.page}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: aligned for a terminal, tab-separated for a pipe."""
    if not sys.stdout.isatty():
        for row in (names, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _short(path: Path) -> Path:
    """Return the path as seen from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
