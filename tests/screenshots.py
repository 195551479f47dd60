"""Pictures of a built site: every kind of page to look at, and the few that the README shows.

usage: python -m tests.screenshots SITE FOLDER [README_FOLDER]
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (390, 820, 1440)
THEMES = ("light", "dark")
FRONT = ("index", "browse", "map", "families", "pictures", "search", "report", "data", "compare")
README_PX = (1440, 900)
SETTLED_MS = 1500
"""For the map's icons and late lists."""


def drawn_page(site: Path, folder: str, page: str, holds: str = "") -> list[str]:
    """Return the page of the first feature or image that has a picture in a folder.

    Args:
        site: A built site.
        folder: "strip" or "knob".
        page: "feature" or "image".
        holds: What the page says, where any of them does; else the first is taken as it is.
    """
    files = (site / folder).rglob("*.webp") if (site / folder).exists() else []
    numbers = sorted({int(path.stem.split("-")[0]) for path in files})
    pages = [f"{page}/{number // 1000}/{number}.html" for number in numbers]
    saying = [path for path in pages if holds in (site / path).read_text(encoding="utf-8")]
    return (saying or pages)[:1]


def one_of_each(site: Path) -> list[str]:
    """Return the front pages that the site has, and the first feature and example with a strip or knobs."""
    front = [f"{name}.html" for name in FRONT if (site / f"{name}.html").exists()]
    return [*front, *drawn_page(site, "strip", "feature"), *drawn_page(site, "knob", "image")]


def opened(browser: Browser, width: int, theme: str) -> Page:
    """Return an empty tab."""
    context = browser.new_context(
        viewport={"width": width, "height": README_PX[1]},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    return context.new_page()


def show(tab: Page, site: Path, path: str) -> None:
    """Open a page from the disk."""
    tab.goto((site / path).resolve().as_uri())
    tab.wait_for_load_state("networkidle")


def shoot(browser: Browser, site: Path, folder: Path) -> int:
    """Write folder/PAGE-WIDTH-THEME.png of the first screen of each page; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = one_of_each(site)
    for width in WIDTHS:
        for theme in THEMES:
            tab = opened(browser, width, theme)
            for path in pages:
                show(tab, site, path)
                name = path.removesuffix(".html").replace("/", "-")
                tab.screenshot(path=folder / f"{name}-{width}-{theme}.png")
            tab.context.close()
    return len(pages) * len(WIDTHS) * len(THEMES)


def shoot_for_readme(browser: Browser, site: Path, folder: Path) -> list[Path]:
    """Write what the README shows, as WebP: the home page, a feature, a picture and the map."""
    folder.mkdir(parents=True, exist_ok=True)
    (feature,) = drawn_page(site, "strip", "feature", "recognizes this icon: <b>yes</b>")
    (picture,) = drawn_page(site, "knob", "image")
    shots = (
        ("home", "index.html", "light"),
        ("feature", feature, "light"),
        ("picture", picture, "light"),
        ("map", "map.html", "dark"),
    )
    written = []
    for name, path, theme in shots:
        tab = opened(browser, README_PX[0], theme)
        show(tab, site, path)
        tab.wait_for_timeout(SETTLED_MS)
        written.append(folder / f"{name}.webp")
        Image.open(io.BytesIO(tab.screenshot())).save(written[-1], quality=80, method=6)
        tab.context.close()
    return written


def main() -> None:
    """Take them all."""
    site, folder, *readme = (Path(argument) for argument in sys.argv[1:])
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        print(f"{shoot(browser, site, folder)} pictures in {folder}")
        for shown in readme:
            print(f"{len(shoot_for_readme(browser, site, shown))} pictures in {shown}")


if __name__ == "__main__":
    main()
