"""Commands that prepare, run and inspect a build: build, thumbnails, status, plan, doctor and more."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.base.errors import ConfigError
from atlas.command.options import ConfigArg, JsonOpt, SetOpt, app
from atlas.command.printing import print_json, print_table, short_path

if TYPE_CHECKING:
    from atlas.run.build import Outcome
    from atlas.settings.load import Config


@app.command()
def build(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file of the atlas.", metavar="CONFIG")
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Argument(help="Build up to these stages; all by default.", metavar="[STAGE...]"),
    ] = None,
    changes: SetOpt = None,
    force: Annotated[bool, typer.Option("--force", help="Build current stages too.")] = False,
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="Refuse to run any stage but catalog and site, or --allow."),
    ] = False,
    allow: Annotated[
        str, typer.Option("--allow", help="With --frozen: the stages that may run, with commas.")
    ] = "catalog,site",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print which stages would run, and why.")
    ] = False,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--from", help="First restore this bundle: a folder, a .zip or an https address."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Same as --set runtime.workers.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="Same as --set runtime.engine: local, ranks or ray."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Same as --set runtime.address.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Instead of CONFIG: a folder of pictures or archives."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="With --pictures, or --from alone: the folder of the new atlas."
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder",
            help="With --pictures: the encoder; by default one for photographs or one for drawings, as they look.",
        ),
    ] = None,
    sae: Annotated[
        Path | None,
        typer.Option(
            "--sae",
            help="With --pictures: the SAE; by default one is trained on the pictures.",
        ),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Print progress as one JSON object a line.")
    ] = False,
) -> None:
    """Build the stale stages of an atlas; resume an interrupted build."""
    from atlas.base.progress import Progress
    from atlas.pipeline import build_atlas, help_build
    from atlas.settings.load import load_config

    short = {"workers": workers, "engine": engine, "address": address}
    given = [f"runtime.{key}={value}" for key, value in short.items() if value is not None]
    if pictures is not None:
        # What stands first is then a stage.
        stages = [*([str(config)] if config else []), *(stages or ())]
        config = _new_config(pictures, out, encoder, sae, stages)
    if bundle is not None:
        if out is not None:
            stages, config = [*([str(config)] if config else []), *(stages or ())], None
        config, frozen = _restored(bundle, config, out), True
    if config is None:
        raise typer.BadParameter("build needs CONFIG, or --pictures DIR and --out DIR")
    loaded = load_config(config, [*(changes or []), *given])
    if loaded.runtime.engine == "ranks" and _is_helper(force):
        help_build(loaded, tuple(stages or ()), Progress(silent=True))
        return
    only, allowed = tuple(stages or ()), tuple(allow.split(",")) if frozen else None
    if dry_run:
        _show_stale(loaded, only, allowed, force=force)
        return
    progress = Progress(as_json=log_json)
    outcomes = build_atlas(loaded, only, force=force, allowed=allowed, progress=progress)
    _say_what_was_built(outcomes, loaded.out_dir)


def _is_helper(force: bool) -> bool:
    """Return whether this process of torchrun helps the first one.

    Raises:
        ConfigError: It can't: the first one would delete what others write.
    """
    if force:
        raise ConfigError(
            "--force would delete what other processes are writing; leave out --engine ranks"
        )
    return os.environ.get("RANK", "0") != "0"


def _say_what_was_built(outcomes: Sequence[Outcome], folder: Path) -> None:
    built = [outcome.stage for outcome in outcomes if outcome.reasons]
    out_dir = short_path(folder)
    if built:
        print(f"built {', '.join(built)} in {out_dir}")
    else:
        print(f"{out_dir} is up to date: nothing to do")
    why_unfit = _why_unfit(folder)
    if why_unfit:
        print(f"WARNING: {why_unfit}", file=sys.stderr)
    page = folder / "site" / "index.html"
    if page.exists():
        print(f"open {short_path(page)}, or run: atlas serve --atlas {out_dir}")


def _restored(bundle: str, config: Path | None, out: Path | None) -> Path:
    """Restore a bundle and return the configuration of the atlas: the given one, or its own."""
    from atlas.base.progress import Progress
    from atlas.publish.restore import restore, write_config
    from atlas.settings.load import load_config

    if (config is None) == (out is None):
        raise typer.BadParameter("build --from BUNDLE takes either CONFIG or --out DIR")
    if config is not None:
        restore(bundle, load_config(config).out_dir, Progress())
        return config
    assert out is not None
    return write_config(restore(bundle, out, Progress()), out)


def _show_stale(
    config: Config, only: tuple[str, ...], allowed: tuple[str, ...] | None, *, force: bool
) -> None:
    """Print which stages a build would run, and why; nothing is written."""
    from atlas.pipeline import refuse_stale, status, wanted_stages

    if allowed is not None:
        refuse_stale(config, only, allowed, force=force)
    wanted = {stage.name for stage in wanted_stages(config, only)}
    for one in status(config):
        forced = ["forced"] if force and one.stage in (only or allowed or wanted) else []
        reasons = [*one.reasons, *forced]
        if reasons and one.stage in wanted:
            print(f"{one.stage}: {'; '.join(reasons)}")


def _new_config(
    pictures: Path, out: Path | None, encoder: Path | None, sae: Path | None, stages: list[str]
) -> Path:
    """Write the configuration of a new atlas, say what was chosen, and return its path."""
    from atlas.prepare.new_atlas import write_config

    if out is None or any(stage.endswith(".toml") for stage in stages):
        raise ConfigError("build takes CONFIG, or --pictures DIR and --out DIR")

    new = write_config(pictures, out, encoder=encoder, sae=sae)
    for line in new.said:
        print(line, file=sys.stderr)
    return new.path


def _why_unfit(out_dir: Path) -> str:
    """Return why the SAE does not fit the images, or nothing."""
    from atlas.base.files import read_json
    from atlas.sae.activations import SCAN

    scan = out_dir / "scan" / SCAN
    return str(read_json(scan).get("fit", {}).get("why", "")) if scan.exists() else ""


@app.command()
def sweep(
    config: ConfigArg,
    attempts: Annotated[
        list[str],
        typer.Option(
            "--try",
            help="Settings of [train] to try, such as 'train.activation=topk train.k=32'. May be repeated.",
        ),
    ],
    least_explained: Annotated[
        float,
        typer.Option(
            "--least-explained",
            min=0,
            max=1,
            help="Share of variance that the SAE must explain, at least.",
        ),
    ] = 0.65,
    changes: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Train SAEs with several settings and compare sparsity and explained variance."""
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
        print_json({"tried": rows, "chosen": found.chosen, "why": found.why})
        return
    print_table(HEAD, [one.cells(i + 1) for i, one in enumerate(found.tried)])
    print(f"chosen: {chosen.settings}: {found.why}")
    print(f"to use it, set sae.path to {short_path(chosen.folder)}")
    print(f"open {short_path(chosen.folder.parents[1] / 'report.html')}")


@app.command()
def encoder(
    model: Annotated[
        str, typer.Argument(help="Name of an open_clip model, or hf-hub:ID.", metavar="MODEL")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to save it to.")],
    pretrained: Annotated[
        str,
        typer.Option("--pretrained", help="open_clip tag of the weights, or a checkpoint file."),
    ] = "",
) -> None:
    """Save an open_clip model to a folder, for embed.encoder."""
    from atlas.inputs.encoder import fetch_encoder

    note = fetch_encoder(model, pretrained, out)
    print(f"saved {note['id']}, {note['width']} dimensions, to {out}; set embed.encoder to it")
    if "no_tokenizer" in note:
        print(
            f"its tokenizer can't be had ({note['no_tokenizer']}): pictures can be embedded, words "
            "can't; save it again where the hub can be reached"
        )


@app.command()
def vocabulary(
    words: Annotated[
        Path, typer.Argument(help="Text file with one word or phrase per line.", metavar="WORDS")
    ],
    encoder: Annotated[
        Path, typer.Option("--encoder", help="Folder of an encoder of images and text.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to save it to.")],
    template: Annotated[
        list[str] | None,
        typer.Option("--template", help="Prompt with {} for the word; several are averaged."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
) -> None:
    """Encode words with an encoder's text tower, for catalog.vocabulary: names, search, coverage."""
    from atlas.base.errors import MissingError
    from atlas.base.progress import Progress
    from atlas.inputs.text_tower import TEMPLATES, make_vocabulary

    if not words.is_file():
        raise MissingError(f"no words at {words}; name a text file with one a line")
    count = make_vocabulary(
        words,
        encoder,
        out,
        templates=template or TEMPLATES,
        device=device,
        progress=Progress(),
    )
    print(f"saved {count:,} words to {out}; set catalog.vocabulary to it")


@app.command()
def thumbnails(
    config: ConfigArg,
    changes: SetOpt = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Also ask again for what failed in earlier calls.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Fetch pictures of the images that a site shows from their urls, and keep them small.

    For images that came without pictures. Only https, public addresses and what robots.txt and
    X-Robots-Tag allow; one request at a time to a host. The next build shows what was kept.
    """
    from dataclasses import asdict

    from atlas.base.progress import Progress
    from atlas.fetching.request import Access
    from atlas.fetching.thumbnails import fetch_thumbnails
    from atlas.settings.load import load_config

    loaded = load_config(config, changes or [])
    access = Access(contact=loaded.site.base_url)
    report = fetch_thumbnails(loaded, access, Progress(), retry=retry)
    if as_json:
        print_json(asdict(report))
        return
    print_table(("outcome", "urls", "share", "example"), report.rows())
    if report.n_without_url:
        print(f"{report.n_without_url:,} of {report.n_pictured:,} images have no url")
    print(f"kept {report.n_new:,} new thumbnails; to show them: atlas build {short_path(config)}")


@app.command()
def status(
    config: Annotated[
        Path, typer.Argument(help="TOML file of the atlas.", metavar="[CONFIG]")
    ] = Path("data/demo/atlas.toml"),
    changes: SetOpt = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every file again instead of trusting sizes and times."),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if any stage is stale.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Show which stages a build would run, and why."""
    from atlas.pipeline import status as stage_status
    from atlas.settings.load import load_config

    found = list(stage_status(load_config(config, changes or []), verify=verify))
    if as_json:
        print_json(
            {
                one.stage: {
                    "current": not one.reasons,
                    "reasons": one.reasons,
                    "absent": one.absent,
                }
                for one in found
            }
        )
    else:
        for one in found:
            print(f"{one.stage}: {'; '.join(one.reasons) or 'current'}{_absent_note(one.absent)}")
    if exit_code and any(one.reasons for one in found):
        raise typer.Exit(1)


def _absent_note(absent: Sequence[str]) -> str:
    return f" (inputs not here: {', '.join(absent)}; trusted as of the receipt)" if absent else ""


@app.command()
def plan(config: ConfigArg, changes: SetOpt = None, as_json: JsonOpt = False) -> None:
    """Estimate the time, disk and memory of a build, and list what is missing."""
    from atlas.prepare.plan import make_plan
    from atlas.settings.load import load_config

    estimate = make_plan(load_config(config, changes or []))
    if as_json:
        print_json(estimate.as_json())
    else:
        print_table(("stage", "time", "disk", "memory", "basis"), estimate.rows())
        for line in estimate.notes:
            print(line)
        if estimate.fetches:
            print_table(("\nto fetch", "size", "license", "command"), estimate.fetch_rows())
    if estimate.missing:
        for line in estimate.missing[1:]:
            print(f"missing: {line}", file=sys.stderr)
        raise ConfigError(estimate.missing[0])


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Also check the inputs of this atlas.", metavar="[CONFIG]")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="Torch device to check; else CONFIG's, or cpu."),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Check packages and device, and that a small scan is exact on this machine."""
    from atlas.prepare.doctor import examine

    findings = examine(config, device)
    if as_json:
        print_json([{"what": f.what, "ok": f.ok, "found": f.found, "fix": f.fix} for f in findings])
    else:
        for f in findings:
            print(
                f"{'ok  ' if f.ok else 'FAIL'}  {f.what}: {f.found}"
                + ("" if f.ok else f"; {f.fix}")
            )
    if any(not f.ok for f in findings):
        raise typer.Exit(1)


@app.command()
def review(
    config: ConfigArg,
    changes: SetOpt = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Images on the page, those to be looked at first.")
    ] = 2000,
    as_json: JsonOpt = False,
) -> None:
    """Write a page of what is withheld and why, on which the owner decides: show, withhold or unsure.

    The page lies in the folder of the atlas, never in its site. It saves review.csv; name that file in
    catalog.review, and the next build of catalog and site does as it says.
    """
    from dataclasses import asdict

    from atlas.lookup.review import write_review
    from atlas.settings.load import load_config

    written = write_review(load_config(config, changes or []), most)
    if as_json:
        print_json(asdict(written) | {"path": str(written.path)})
        return
    for kind, n in written.counts.items():
        if n:
            print(f"{kind}: {n:,}")
    if not any(written.counts.values()):
        print("nothing is withheld, and nothing was decided")
    if written.n_left_out:
        print(f"{written.n_left_out:,} are left out of the page; see more with --most")
    print(f"open {short_path(written.path)}; then name what it saves in catalog.review")


@app.command()
def schema() -> None:
    """Print the JSON Schema of atlas.toml, by which an editor completes and checks it."""
    import json

    from atlas.settings.load import Config

    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    print(json.dumps(told, indent=2))
