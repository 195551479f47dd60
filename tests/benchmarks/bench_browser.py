"""What a reader waits for on a finished site: bytes, largest paint, the map's frames, search.

Each page is opened cold in headless Chromium from a server on this machine, with the processor
slowed down four times except where it says otherwise; of several openings the median.

    python -m tests.benchmarks.bench_browser SITE
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LoadState = Literal["domcontentloaded", "networkidle"]
COMPRESSED = {".html", ".css", ".js", ".svg", ".json"}
OPENINGS = 5
FRAMES = 60
WATCH_PAINT = """
window.largest = 0;
new PerformanceObserver(list => {
  list.getEntries().forEach(entry => { window.largest = entry.startTime; });
}).observe({ type: "largest-contentful-paint", buffered: true });
"""
TIME_FRAMES = """async frames => {
  const sheet = document.getElementById("sheet"), gaps = [];
  let before = await new Promise(requestAnimationFrame);
  for (let i = 0; i < frames; i++) {
    sheet.dispatchEvent(new WheelEvent("wheel", { deltaY: i % 2 ? -9 : 9, clientX: 700, clientY: 500, cancelable: true }));
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - before);
    before = now;
  }
  return gaps;
}"""
"""From frame to frame, in milliseconds, while each turn of the wheel draws the map anew."""
TIME_KEY = """async typed => {
  const box = document.getElementById("find"), answer = document.getElementById("answer");
  const start = performance.now();
  const there = () => answer.textContent.includes(" named or captioned “" + typed + "”")
    && document.querySelector("#found .clamp, #meant:not([hidden]) .clamp");
  box.value = typed;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  while (!there() && performance.now() - start < 5000) await new Promise(done => setTimeout(done, 1));
  await new Promise(requestAnimationFrame);
  await new Promise(done => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
  return performance.now() - start;
}"""
"""From a key to its first result with its name, painted, in milliseconds: 5 s where none came."""
SEARCHED: tuple[tuple[str, LoadState], ...] = (
    ("as_it_opens", "domcontentloaded"),
    ("once_open", "networkidle"),
)
DEEP = 9
"""Presses of plus that lead to where icons lie side by side."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder as free hosts do, text compressed, without a word."""

    def do_GET(self) -> None:
        """Answer with a file."""
        path = Path(self.translate_path(self.path))
        if path.suffix not in COMPRESSED or not path.is_file():
            super().do_GET()
            return
        body = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A page, and what its processor time is read from."""

    page: Page
    session: CDPSession

    def busy_ms(self) -> float:
        """Return what its main thread has computed: a busy machine does not add to it."""
        found = self.session.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(m["value"] for m in found if m["name"] == "TaskDuration"))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a folder on a server of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@contextmanager
def opened(
    browser: Browser, url: str, slowed: int, until: LoadState = "networkidle"
) -> Iterator[tuple[Opened, dict[str, float]]]:
    """Yield a page in a fresh browser profile, and what its opening took so far."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session: CDPSession = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": slowed})
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    kinds: dict[str, str] = {}
    sizes: dict[str, float] = {}
    session.on("Network.responseReceived", lambda e: kinds.update({e["requestId"]: e["type"]}))
    session.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))  # fmt: skip
    page.add_init_script(WATCH_PAINT)
    page.goto(url, wait_until=until)
    took = {
        "requests": len(sizes),
        "kilobytes": sum(sizes.values()) / 1e3,
        "kilobytes_without_pictures": sum(
            size for request, size in sizes.items() if kinds.get(request) != "Image"
        )
        / 1e3,
        "largest_paint_ms": page.evaluate("window.largest"),
        "interactive_ms": page.evaluate(
            "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        ),
    }
    yield Opened(page, session), took
    context.close()


def first_name(site: Path) -> str:
    """Return the first label that the scripts list."""
    for path in sorted((site / "assets" / "features").iterdir()):
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text.removeprefix("atlasRows(").removesuffix(");\n"))
        for name in rows["name"]:
            if name:
                return str(name)
    return ""


def frames_of(opened: Opened) -> dict[str, float]:
    """Return how far the map's frames lie apart, and what one costs, in milliseconds."""
    before = opened.busy_ms()
    gaps = sorted(opened.page.evaluate(TIME_FRAMES, FRAMES))
    return {
        "gap_median": round(statistics.median(gaps), 1),
        "gap_worst_of_ten": round(gaps[int(0.9 * len(gaps))], 1),
        "main_thread": round((opened.busy_ms() - before) / FRAMES, 1),
    }


def keys_of(opened: Opened, text: str) -> dict[str, list[float]]:
    """Return what each key of a text takes, and computes, in milliseconds."""
    took: dict[str, list[float]] = {"painted": [], "main_thread": []}
    for n in range(1, len(text) + 1):
        before = opened.busy_ms()
        took["painted"].append(round(opened.page.evaluate(TIME_KEY, text[:n]), 1))
        took["main_thread"].append(round(opened.busy_ms() - before, 1))
    return took


def main() -> None:
    """Open the pages and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site
    first = min(site.glob("feature/**/*.html"))
    paths = {"home": "index.html", "feature": first.relative_to(site).as_posix(), "browse": "browse.html", "map": "map.html", "search": "search.html"}  # fmt: skip
    word = first_name(site)
    figures: dict[str, Any] = {"searched": word}
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
        with opened(browser, f"{url}/map.html", 1) as (map_page, _):
            figures["map_frame_ms_not_slowed"] = {"all": frames_of(map_page)}
            map_page.page.select_option(".hues select", "often")
            map_page.page.locator(".legend li").first.wait_for()
            figures["map_frame_ms_not_slowed"]["colored"] = frames_of(map_page)
            map_page.page.select_option(".hues select", "")
            map_page.page.focus("#sheet")
            for _ in range(DEEP):
                map_page.page.keyboard.press("+")
            map_page.page.wait_for_load_state("networkidle")
            figures["map_frame_ms_not_slowed"]["icons"] = frames_of(map_page)
        for when, until in SEARCHED:
            with opened(browser, f"{url}/search.html", 4, until) as (search_page, _):
                if when == "once_open":
                    # The pages' policy forbids Playwright's own way of waiting for a condition.
                    while not search_page.page.evaluate("atlasTable.rows === atlasTable.n"):
                        search_page.page.wait_for_timeout(50)
                figures[f"search_ms_by_key_{when}"] = keys_of(search_page, word)
        browser.close()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
