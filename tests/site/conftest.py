"""Finished sites of the planted atlases, and the browser that visits them."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from chromium import PATH


@pytest.fixture(scope="module")
def site(planted_atlas):
    """The site of the planted atlas, to read."""
    return planted_atlas / "site"


@pytest.fixture(scope="module")
def drawn_site(drawn_atlas):
    """The site of the planted atlas with icons, to read."""
    return drawn_atlas / "build" / "site"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser, site):
    """Open a page; fail at the end if it ever complained."""
    complaints, contexts = [], []

    def complain(text):
        skipped = (
            "ViewTransition opt-in disabled",
            "Transition was skipped",
            "Transition was aborted",
        )
        if not any(words in text for words in skipped):  # Chromium's own: it skips the fade
            complaints.append(text)

    def open_page(path, width=1440, theme="light", site=site, below=None, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(f"{path}: {m.type} {m.text}"))
        page.on("pageerror", lambda error: complain(f"{path}: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"{path}: dialog {dialog.message}"))
        page.on("response", lambda r: r.ok or complaints.append(f"{path}: {r.status} {r.url}"))
        page.goto(f"{below or f'file://{site}'}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def places(site, grouped_site):
    """Where each layout's site lies on a server: not at its root."""
    servers = {}
    for layout, folder in (("pages", site), ("groups", grouped_site)):
        handler = partial(QuietHandler, directory=folder.parent)
        servers[layout] = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=servers[layout].serve_forever, daemon=True).start()
    yield {
        layout: f"http://127.0.0.1:{server.server_address[1]}/site"
        for layout, server in servers.items()
    }
    for server in servers.values():
        server.shutdown()
        server.server_close()
