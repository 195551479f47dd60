"""The browser that tests drive; PATH is None on a machine without one."""

import os
import shutil

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATH = next((path for name in BROWSERS if (path := shutil.which(name))), None)
if PATH is None and os.environ.get("BROWSER") == "required":
    pytest.fail(
        "no Chromium, and BROWSER=required; on Debian: apt install chromium-headless-shell",
        pytrace=False,
    )
