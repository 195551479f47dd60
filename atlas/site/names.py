"""Names of files that a host or a reader's system can not hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

NO_JEKYLL = ".nojekyll"
"""Tells GitHub Pages not to run Jekyll, which drops files that begin with _, # or ~."""
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their ending."""
BARRED = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
"""Characters, and ends of a name, that Windows can't hold."""


def name_problems(names: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the addresses of a site's files.

    Args:
        names: Paths below the site's folder, with slashes.
    """
    jekyll = NO_JEKYLL not in names
    seen: dict[str, str] = {}
    for name in sorted(names):
        parts = name.split("/")
        if any(DEVICES.match(part) or BARRED.search(part) for part in parts):
            yield f"{name} can not be a file's name on Windows"
        if jekyll and any(part[0] in "_#~" for part in parts if part):
            yield f"{name} is dropped by Jekyll, and there is no {NO_JEKYLL}"
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield f"{name} and {other} differ in case alone"
