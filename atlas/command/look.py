"""Commands that look things up in an atlas: feature, search, neighbors, image, report, sql, coverage, compare."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.command.options import DEMO, JsonOpt, MarkdownOpt, PlaceOpt, app
from atlas.command.printing import print_json, print_table

if TYPE_CHECKING:
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import Feature, Hit


@app.command()
def feature(
    number: Annotated[int, typer.Argument(help="Number of the feature.", metavar="ID", min=0)],
    atlas: PlaceOpt = str(DEMO),
    as_json: JsonOpt = False,
) -> None:
    """Show one feature: what it fires on, its statistics, its neighbors."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.feature(number)
        if as_json:
            print_json(plain(found))
            return
        if sys.stdout.isatty():
            _show_icon(opened, found)
        for line in _describe(found):
            print(line)


@app.command()
def search(
    text: Annotated[list[str], typer.Argument(help="A number, a label, or words.", metavar="TEXT")],
    atlas: PlaceOpt = str(DEMO),
    limit: Annotated[int, typer.Option("--limit", min=1, help="Features shown.")] = 10,
    as_json: JsonOpt = False,
) -> None:
    """Find features by number, label or meaning."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        hits = opened.search(" ".join(text), limit)
    if as_json:
        print_json(plain(hits))
        return
    print_table(
        ("feature", "label", "score", "found by", "density"),
        [
            (f"{h.feature}", h.label or "no name", f"{h.score:.3f}", _why(h), f"{h.density:.2%}")
            for h in hits
        ],
    )


def _why(hit: Hit) -> str:
    """Return in words why a search found a feature."""
    held = f"in {hit.held} of {hit.shown} captions"
    reasons = {
        "id": "its number",
        "label": f"its name, {held}" if hit.held else "its name",
        "prefix": "its name begins so",
        "caption": held,
    }
    return reasons.get(hit.why, "near in meaning")


@app.command()
def neighbors(
    number: Annotated[int, typer.Argument(help="Number of the feature.", metavar="ID", min=0)],
    atlas: PlaceOpt = str(DEMO),
    limit: Annotated[int, typer.Option("--limit", min=1, help="Neighbors shown.")] = 8,
    as_json: JsonOpt = False,
) -> None:
    """List the features with the most similar decoder directions."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.neighbors(number, limit)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("neighbor", "label", "cosine"),
        [(f"{n.feature}", n.label or "no name", f"{n.cosine:.3f}") for n in found],
    )


@app.command()
def image(
    file: Annotated[
        Path, typer.Argument(help="Any picture: PNG, JPEG, WebP and others.", metavar="FILE")
    ],
    atlas: PlaceOpt = str(DEMO),
    tau: Annotated[
        str, typer.Option("--tau", help="coarse, fine, or the least mass of a concept.")
    ] = "fine",
    as_json: JsonOpt = False,
) -> None:
    """Split any picture into the features that fire on it and the concepts they form; list images like it."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        found = opened.decompose(file, tau)
        note = opened.provenance["note"]
    if as_json:
        print_json(plain(found))
        return
    print(
        f"{found.picture}: {len(found.features)} features fire, mass {found.mass:.3g}; "
        f"{len(found.concepts)} concepts of at least {found.tau:.3g} "
        f"({found.lowest} to {found.highest} over restarts)"
    )
    print_table(
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
    if found.similar:
        print("Images of the atlas that look like it:")
        print_table(
            ("image", "cosine", "caption"),
            [(f"{s.image}", f"{s.cosine:.3f}", s.caption) for s in found.similar],
        )
    print(note)


@app.command()
def report(
    atlas: PlaceOpt = str(DEMO), as_json: JsonOpt = False, as_markdown: MarkdownOpt = False
) -> None:
    """Print the figures of the whole atlas, each beside its baseline."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.markdown import FIGURES, cell, figure_rows, figures_table
    from atlas.lookup.records import as_json as plain

    with Atlas(atlas) as opened:
        figures = opened.report()
        note, title = opened.provenance["note"], opened.provenance["title"]
    if as_json:
        print_json(plain(figures))
        return
    if as_markdown:
        print(f"### {cell(title)}\n\n{figures_table(figures)}\n\n{cell(note)}")
        return
    print_table(FIGURES, figure_rows(figures))
    print(note)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query.", metavar="QUERY")],
    atlas: PlaceOpt = str(DEMO),
    as_json: JsonOpt = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Time that it may take; 0 for any.")
    ] = 300.0,
    memory: Annotated[
        float, typer.Option("--memory", min=0.1, help="Memory that it may take, in GB.")
    ] = 4.0,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows that it may give.")] = 1_000_000,
) -> None:
    """Query the catalog in SQL; build/README.md lists the tables."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.catalog import Limits

    with Atlas(atlas) as opened:
        names, found = opened.ask(query, Limits(seconds, memory, rows))
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in found])
    else:
        print_table(
            names, [tuple("" if cell is None else str(cell) for cell in row) for row in found]
        )


@app.command()
def coverage(
    concepts: Annotated[
        Path, typer.Argument(help="Text file with one concept per line.", metavar="CONCEPTS")
    ],
    atlas: PlaceOpt = str(DEMO),
    as_json: JsonOpt = False,
) -> None:
    """Show which concepts of a list the SAE has, confuses or lacks."""
    from atlas.lookup.atlas import Atlas
    from atlas.lookup.coverage import coverage as cover
    from atlas.lookup.coverage import read_concepts
    from atlas.lookup.records import as_json as plain

    listed = read_concepts(concepts)
    with Atlas(atlas) as opened:
        found = cover(opened, listed)
    if as_json:
        print_json(plain(found))
        return
    print_table(
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
    b: Annotated[
        Path, typer.Argument(help="Folder of another atlas of the same images.", metavar="B")
    ],
    as_json: JsonOpt = False,
) -> None:
    """Match the features of two SAEs on the same images; list what each lacks."""
    from atlas.lookup.records import as_json as plain
    from atlas.study.compare import compare as match

    found = match(a, b)
    if as_json:
        print_json(plain(found))
        return
    print_table(
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
    """Print the feature's icon, if it may be shown and the terminal can show it."""
    from atlas.lookup.terminal import protocol_of, show_picture

    path = opened.icon_path(found.feature)
    if path is not None:
        print(show_picture(path, protocol_of(os.environ)), end="")


def _nameless(found: Feature) -> str:
    guesses = ", ".join(label.label for label in found.labels if label.perhaps)
    return f"no name; perhaps {guesses}" if guesses else "no name"


def _describe(found: Feature) -> Iterable[str]:
    """Yield the lines printed about a feature."""
    yield f"{found.citation}  {found.name or _nameless(found)}"
    if not found.alive:
        yield "dead: fires on none of the scanned images"
        return
    yield (
        f"fires on {found.count:,} images ({found.density:.3%}); strongest {found.max:.3g}, "
        f"median {found.median:.3g}, share of mass {found.mass_share:.3%}"
    )
    if found.held is not None:
        yield f"name in the captions or tags of {found.held} of its {found.strong} strongest images"
    if found.sensitive:
        yield "sensitive: its images are withheld"
    for top in found.top_images:
        yield f"  {top.activation:8.3f}  image {top.image}  {top.caption}"
    near = ", ".join(f"{n.feature} {n.label} ({n.cosine:.2f})" for n in found.neighbors)
    yield f"neighbors: {near}"
    yield f"page: {found.page}"
