"""Finished sites of the planted atlases, and the browser that visits them."""

from __future__ import annotations

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
