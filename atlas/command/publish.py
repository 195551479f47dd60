"""Commands for what is finished: bundle, diff, ci, init, demo, serve, check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atlas.command.options import DEMO, AtlasOpt, ConfigArg, JsonOpt, MarkdownOpt, SetOpt, app
from atlas.command.printing import print_json
from atlas.site.hosts import HOSTS


@app.command()
def bundle(
    atlas: AtlasOpt = DEMO,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            help="Folder of the bundle, a .zip, or hf:OWNER/NAME; ATLAS-bundle by default.",
        ),
    ] = "",
) -> None:
    """Bundle what a machine without models and embeddings needs to build the catalog and site."""
    from atlas.lookup.bundles import HUB
    from atlas.publish.bundle import make_bundle

    on_hub = out.startswith(HUB)
    place = Path(out) if out and not on_hub else atlas.with_name(f"{atlas.name}-bundle")
    made = make_bundle(atlas, place)
    print(f"{place}: {len(made.files):,} files, {made.size_bytes / 1e6:.1f} MB, of {made.atlas}")
    if on_hub:
        from atlas.publish.upload import upload

        upload(place, out)
        print(f"uploaded to {out}")
    print(f"elsewhere: atlas build --from {out if on_hub else place} --out DIR")


@app.command("diff")
def diff_command(
    old: Annotated[
        str, typer.Argument(help="An atlas, a bundle or a published site.", metavar="OLD")
    ],
    new: Annotated[str, typer.Argument(help="Another build of it.", metavar="NEW")],
    as_json: JsonOpt = False,
    as_markdown: MarkdownOpt = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the difference to this page.")
    ] = None,
) -> None:
    """Tell what changed between two builds: features' names, verdicts and pictures, and figures."""
    from dataclasses import asdict

    from atlas.publish.diff import diff
    from atlas.publish.diff_report import lines, markdown, write_page

    found = diff(old, new)
    if html is not None:
        write_page(found, html)
    if as_json:
        print_json(asdict(found) | {"counts": found.counts})
    elif as_markdown:
        print(markdown(found), end="")
    else:
        for line in lines(found):
            print(line)


@app.command()
def ci(
    config: ConfigArg,
    site: Annotated[
        Path | None, typer.Option("--site", help="Put the finished site into this folder.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Append a summary in Markdown to this file.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--diff", help="Write what changed to this page.")
    ] = None,
    compressed: Annotated[
        bool,
        typer.Option(
            "--gzip", help="Also put NAME.gz beside each text, for servers that send those."
        ),
    ] = False,
    changes: SetOpt = None,
) -> None:
    """Do what continuous integration does: restore the bundle, build, check, compare, summarize."""
    from atlas.base.progress import Progress
    from atlas.publish.ci import run
    from atlas.publish.diff_report import summary as told
    from atlas.settings.load import load_config

    loaded = load_config(config, changes or [])
    done = run(
        loaded,
        config.resolve().parent,
        site=site,
        page=page,
        compressed=compressed,
        progress=Progress(),
    )
    print(f"built: {', '.join(done.built) or 'nothing, all is current'}")
    print(done.checked.summary())
    print(told(done.difference) if done.difference else "nothing to compare with")
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(done.summary)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new project.", metavar="DIR")],
    preset: Annotated[str, typer.Option("--preset", help="Start from this preset.")] = "",
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Start from this folder of pictures.")
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", help="Start from this bundle.")] = "",
    title: Annotated[str, typer.Option("--title", help="Title of the atlas.")] = "",
    license_: Annotated[
        str | None,
        typer.Option("--license", help="License of pictures and texts; asked for if left out."),
    ] = None,
    runner: Annotated[str, typer.Option("--ci", help="github or gitlab.")] = "github",
) -> None:
    """Begin a project: atlas.toml with comments, the workflow that publishes it, a README."""
    from atlas.command.printing import short_path
    from atlas.publish.project import Origin, make_project
    from atlas.publish.workflows import PLACES

    if runner not in PLACES:
        raise typer.BadParameter(f"--ci is one of {', '.join(PLACES)}")
    if license_ is None and sys.stdin.isatty():
        license_ = typer.prompt(
            "License of pictures and texts, as every page will say", default="not stated"
        )
    license_ = "" if license_ in (None, "not stated") else license_
    written = make_project(
        folder,
        Origin(preset, pictures, bundle),
        title=title,
        license_=license_,
        runner=runner,
    )
    for path in written:
        print(f"wrote {short_path(path.resolve())}")
    print(f"next: cd {folder}; atlas plan atlas.toml")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo.")] = DEMO,
    bundle: Annotated[
        str, typer.Option("--from", help="Restore the demo from this bundle instead of making one.")
    ] = "",
) -> None:
    """Get a demo to look at: a checkout's own, one from a bundle, or a small one drawn here."""
    from atlas.command.build import build
    from atlas.prepare.small_demo import write_demo

    own = Path("data/demo/atlas.toml")
    if bundle:
        build(None, [], bundle=bundle, out=out)
    elif own.is_file() and out == DEMO:
        build(own, [])
    else:
        build(write_demo(out), [])


@app.command()
def serve(
    atlas: AtlasOpt = DEMO,
    port: Annotated[
        int, typer.Option("--port", help="Port on 127.0.0.1; 0 picks a free one.")
    ] = 8000,
) -> None:
    """Serve the site of an atlas on this machine, until stopped."""
    from atlas.site.serve import serve_folder

    serve_folder(atlas / "site", port, announce=print)


@app.command()
def check(
    site: Annotated[Path, typer.Argument(help="Folder of a finished site.", metavar="SITE")] = DEMO
    / "site",
    host: Annotated[
        str,
        typer.Option("--host", help=f"Also check the limits of this host: {', '.join(HOSTS)}."),
    ] = "local",
) -> None:
    """Check links, anchors, scripts and sizes of a finished site, and that nothing withheld is in it."""
    from atlas.site.check import check_host, check_site
    from atlas.site.withheld import check_atlas

    checked = check_site(site)
    print(checked.summary())
    n_read = check_atlas(site.resolve().parent) if site.resolve().name == "site" else 0
    if n_read:
        print(f"withheld: nothing of it in {n_read:,} files")
    check_host(checked.tally, host)
