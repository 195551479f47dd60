"""Pictures of a built site for the README and for looking at: every kind of page, three widths, both themes.

usage: python -m tests.screenshots SITE FOLDER
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = (390, 820, 1440)
THEMES = ("light", "dark")
FRONT = ("index", "browse", "map", "families", "pictures", "search", "report", "data", "compare")


def one_of_each(site: Path) -> list[str]:
    """Return the front pages that the site has, and the first feature and example with a strip or knobs."""
    found = [f"{name}.html" for name in FRONT if (site / f"{name}.html").exists()]
    for drawn, page in (("strip", "feature"), ("knob", "image")):
        files = sorted((site / drawn).rglob("*.webp")) if (site / drawn).exists() else []
        if files:
            number = int(files[0].stem.split("-")[0])
            found.append(f"{page}/{number // 1000}/{number}.html")
    return found


def shoot(site: Path, folder: Path) -> int:
    """Write folder/PAGE-WIDTH-THEME.png of the first screen of each page; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = one_of_each(site)
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for width in WIDTHS:
            for theme in THEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": 900},
                    color_scheme=theme,
                    reduced_motion="reduce",
                )
                tab = context.new_page()
                for path in pages:
                    tab.goto((site / path).resolve().as_uri())
                    tab.wait_for_load_state("networkidle")
                    name = path.removesuffix(".html").replace("/", "-")
                    tab.screenshot(path=folder / f"{name}-{width}-{theme}.png")
                context.close()
        browser.close()
    return len(pages) * len(WIDTHS) * len(THEMES)


if __name__ == "__main__":
    print(f"{shoot(Path(sys.argv[1]), Path(sys.argv[2]))} pictures in {sys.argv[2]}")
