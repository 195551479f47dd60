"""A difference of two atlases as text, as Markdown for a summary, and as one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from atlas.base.files import write_text
from atlas.lookup.markdown import table
from atlas.publish.diff import Change, Difference, Figure
from atlas.site.render import open_templates, render

SHOWN = 50
"""Features listed in text and Markdown; JSON and the page have all."""
COMPARE = "the SAEs differ, so numbers mean other features: match them with atlas compare OLD NEW"


def summary(found: Difference) -> str:
    """Return the difference in a line."""
    if not found.same_sae:
        return COMPARE
    counts = ", ".join(f"{kind} {n:,}" for kind, n in found.counts.items() if n)
    return f"{len(found.features):,} of {found.new.n_features:,} features changed" + (
        f" ({counts})" if counts else ""
    )


def told(one: Change) -> str:
    """Return what changed of a feature, in words."""
    parts = []
    if "name" in one.what:
        parts.append(f"{one.old.name or 'no name'} -> {one.new.name or 'no name'}")
    if "verdict" in one.what:
        parts.append(f"{one.old.verdict} -> {one.new.verdict}")
    if "pictures" in one.what:
        parts.append(_pictures(len(one.come), len(one.gone)))
    if "icon" in one.what:
        parts.append("another icon")
    return "; ".join(parts)


def _pictures(n_come: int, n_gone: int) -> str:
    if not n_come and not n_gone:
        return "pictures in another order"
    n, kind = (n_come, "new") if n_come else (n_gone, "fewer")
    return f"{n} {kind} {'picture' if n == 1 else 'pictures'}"


def number(value: float | None) -> str:
    """Return a figure's value; an empty text where there is none."""
    return "" if value is None else f"{value:,.4g}"


def lines(found: Difference) -> Iterator[str]:
    """Yield the difference as lines of text."""
    yield f"{found.old.place} ({found.old.id}) -> {found.new.place} ({found.new.id})"
    yield summary(found)
    for one in found.features[:SHOWN]:
        yield f"{one.feature}\t{told(one)}"
    yield from _more(found.features)
    for figure in found.figures:
        yield f"{figure.name}\t{number(figure.old)} -> {number(figure.new)} {figure.unit}"


def _more(features: Sequence[Change]) -> Iterator[str]:
    if len(features) > SHOWN:
        yield f"and {len(features) - SHOWN:,} more; --json and --html have all"


def markdown(found: Difference) -> str:
    """Return the difference as Markdown, for the summary of a run."""
    rows = [(str(one.feature), told(one)) for one in found.features[:SHOWN]]
    parts = ["### What changed", summary(found)]
    parts += [table(("feature", "change"), rows)] if rows else []
    parts += list(_more(found.features))
    figures = [(one.name, number(one.old), number(one.new), one.unit) for one in found.figures]
    parts += [table(("figure", "before", "now", "unit"), figures)] if figures else []
    return "\n\n".join(parts) + "\n"


def write_page(found: Difference, path: Path) -> None:
    """Write the difference as one page without scripts; every change is on it.

    Pages of features are linked where the new atlas was named by its address.
    """
    base = found.new.place if found.new.place.startswith("https://") else ""
    view = {
        "page": path.name,
        "old": found.old,
        "new": found.new,
        "summary": summary(found),
        "features": [_row(one, base) for one in found.features],
        "figures": [_figure(one) for one in found.figures],
    }
    write_text(path, render(open_templates(), "diff", view))


def _row(one: Change, base: str) -> dict[str, object]:
    root = base.removesuffix("index.html").rstrip("/")
    return {
        "feature": one.feature,
        "href": f"{root}/{one.page}" if base and one.page else "",
        "change": told(one),
        "gone": ", ".join(one.gone),
        "come": ", ".join(one.come),
    }


def _figure(one: Figure) -> dict[str, str]:
    return {"name": one.name, "old": number(one.old), "new": number(one.new), "unit": one.unit}
