"""What a reader waits for on a finished site: bytes, largest paint, the map's frames, search.

Each page is opened cold in headless Chromium from a server on this machine, with the processor
slowed down four times except where it says otherwise; of several openings the median.

    python -m tests.benchmarks.bench_browser SITE
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPENINGS = 5
FRAMES = 60
WATCH_PAINT = """
window.largest = 0;
new PerformanceObserver(list => {
  list.getEntries().forEach(entry => { window.largest = entry.startTime; });
}).observe({ type: "largest-contentful-paint", buffered: true });
"""
TIME_FRAMES = """async frames => {
  const sheet = document.getElementById("sheet"), took = [];
  for (let i = 0; i < frames; i++) {
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    sheet.dispatchEvent(new WheelEvent("wheel", { deltaY: i % 2 ? -9 : 9, cancelable: true }));
    await new Promise(done => requestAnimationFrame(() => { took.push(performance.now() - start); done(); }));
  }
  return took;
}"""
"""A turn of the wheel asks for a frame; from there to the end of its drawing."""
TIME_SEARCH = """async text => {
  const box = document.getElementById("find"), found = document.getElementById("found");
  const took = [];
  for (let n = 1; n <= text.length; n++) {
    const start = performance.now();
    const changed = new Promise(done => {
      const watch = new MutationObserver(() => { watch.disconnect(); done(); });
      watch.observe(found, { childList: true });
      setTimeout(done, 2000);
    });
    box.value = text.slice(0, n);
    box.dispatchEvent(new Event("input", { bubbles: true }));
    await changed;
    took.push(performance.now() - start);
  }
  return took;
}"""
"""From each key to its results; the first also loads the words that begin so."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a folder on a server of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@contextmanager
def opened(browser: Browser, url: str, slowed: int) -> Iterator[tuple[Page, dict[str, float]]]:
    """Yield a page in a fresh browser profile, and what its opening took."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session: CDPSession = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": slowed})
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.add_init_script(WATCH_PAINT)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    took = {
        "requests": len(sizes),
        "kilobytes": sum(sizes) / 1e3,
        "largest_paint_ms": page.evaluate("window.largest"),
        "interactive_ms": page.evaluate(
            "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        ),
    }
    yield page, took
    context.close()


def main() -> None:
    """Open the pages and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site
    first = min(site.glob("feature/**/*.html"))
    paths = {"home": "index.html", "feature": first.relative_to(site).as_posix(), "browse": "browse.html", "map": "map.html", "search": "search.html"}  # fmt: skip
    table = (site / "assets" / "features.js").read_text(encoding="utf-8")
    given = json.loads(table.removeprefix("atlasFeatures(").removesuffix(");\n"))
    word = next(name for name in given["name"] if name)
    figures: dict[str, Any] = {"features_shown": len(given["feature"]), "searched": word}
    path = next(found for name in BROWSERS if (found := shutil.which(name)))
    with sync_playwright() as playwright, served(site) as url:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, page_path in paths.items():
            each = []
            for _ in range(OPENINGS):
                with opened(browser, f"{url}/{page_path}", 4) as (_, took):
                    each.append(took)
            figures[name] = {
                key: round(statistics.median(t[key] for t in each), 1) for key in each[0]
            }
        with opened(browser, f"{url}/map.html", 1) as (page, _):
            frames = sorted(page.evaluate(TIME_FRAMES, FRAMES))
        figures["map_frame_ms_not_slowed"] = {
            "median": round(statistics.median(frames), 1),
            "worst_of_ten": round(frames[int(0.9 * len(frames))], 1),
        }
        with opened(browser, f"{url}/search.html", 4) as (page, _):
            keys = page.evaluate(TIME_SEARCH, word)
        figures["search_ms_by_key"] = [round(ms, 1) for ms in keys]
        browser.close()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
