"""A site full of hostile text, opened in a real browser with a hook on alerts and violations of its policy counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faults.corpus import INJECTED, TEXTS, fits

HOOK = """
window.hostile = [];
for (const name of ["alert", "confirm", "prompt", "open"]) {
  window[name] = text => { window.hostile.push(name + " " + text); };
}
document.addEventListener("securitypolicyviolation", e => {
  window.hostile.push("violation " + e.violatedDirective + " " + e.blockedURI + " " + e.sample);
});
"""
READ_BY_SCRIPTS = (
    "search.html?q={}",
    "search.html?q=x&{}",
    "map.html#q={}",
    "map.html#f{}",
    "browse.html#order={}",
    "browse.html#q={}&order={}",
    "go.html?f={}",
    "go.html?{}",
    "feature/{feature}.html#turn={}",
    "embed/feature.html#{}",
    "index.html?{}#{}",
)
"""Addresses with the parts that scripts read, to be filled with a text."""
SETTLES_MS = 60


@dataclass
class Visited:
    """What visits came to."""

    visits: int = 0
    wrong: list[str] = field(default_factory=list)


def pages_of(site: Path) -> list[str]:
    """Return every page of a site but the one for missing addresses, whose files have full addresses."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [name for name in found if name != "404.html"]


def addresses(site: Path, texts: list[str]) -> Iterator[str]:
    """Yield the addresses that scripts read, filled with every text, as they stand and quoted."""
    first = min((site / "feature").rglob("*.html"))
    for form in READ_BY_SCRIPTS:
        aim = form.replace("feature/{feature}.html", first.relative_to(site).as_posix())
        if not (site / aim.split("?")[0].split("#")[0]).exists():
            continue
        for number, text in enumerate(texts):
            said = fits(text)[:500]
            yield aim.replace(
                "{}", quote(said) if number % 2 else quote(said, safe="<>\"'`=&();/:")
            )


def visit_all(browser: Any, site: Path, wanted: list[str]) -> Visited:
    """Open addresses of a site from the disk; tell of everything that ran, was blocked or became markup."""
    found = Visited()
    context = browser.new_context()
    context.add_init_script(HOOK)
    page = context.new_page()
    page.on(
        "dialog", lambda dialog: (found.wrong.append(f"dialog {dialog.message}"), dialog.dismiss())
    )
    page.on("pageerror", lambda error: found.wrong.append(f"{page.url[:200]}: {error}"))
    page.on(
        "console", lambda m: m.type == "error" and found.wrong.append(f"{page.url[:200]}: {m.text}")
    )
    page.on("request", lambda r: _asks(found, page.url, r.url))
    for address in wanted:
        # Another page between: going to another anchor of a page would not load it again.
        page.goto("about:blank")
        page.goto(f"file://{site}/{address}")
        page.wait_for_timeout(SETTLES_MS)
        said = page.evaluate("window.hostile")
        injected = page.eval_on_selector_all(
            INJECTED, "all => all.map(e => e.outerHTML.slice(0, 200))"
        )
        found.wrong += [f"{address[:200]}: {one}" for one in [*said, *injected]]
        found.visits += 1
    context.close()
    return found


def _asks(found: Visited, page: str, url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:", "about:")):
        found.wrong.append(f"{page[:200]}: asks for {url[:200]}")


def every_address(site: Path) -> list[str]:
    """Return every page, and every address that a script reads with every text."""
    return [*pages_of(site), *addresses(site, list(TEXTS))]
