"""What a host allows: its robots.txt (RFC 9309) and the header X-Robots-Tag.

Not urllib.robotparser: in Python 3.11 it takes the * of "/*.jpg" for a letter and the first rule that
fits for the one that counts, so it would fetch what hosts forbid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

from atlas.fetching.request import AGENT

DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""Values of X-Robots-Tag that refuse; img2dataset heeds the first four."""
WITH_VALUES = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)
"""Directives with a colon of their own, which would otherwise look like a program's name."""


class Rule(NamedTuple):
    """A line that allows or forbids."""

    allows: bool
    path: str

    def fits(self, target: str) -> bool:
        """Return whether a path with its query begins as the rule says; * is any text, $ the end."""
        # Not a regular expression: a hostile rule of many * would take it hours.
        ends = self.path.endswith("$")
        first, *pieces = (self.path[:-1] if ends else self.path).split("*")
        if not pieces:
            return target == first if ends else target.startswith(first)
        at, last = len(first), pieces.pop() if ends else ""
        if not target.startswith(first):
            return False
        for piece in pieces:
            found = target.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return target.endswith(last) and len(target) - len(last) >= at


@dataclass(frozen=True, slots=True)
class Robots:
    """What a host's robots.txt says to this program."""

    rules: tuple[Rule, ...] = ()
    delay_s: float = 0.0
    """The pause between requests that it asks for."""

    def allow(self, target: str) -> bool:
        """Return whether a path with its query may be asked: the longest rule counts, else allowing."""
        even = _even(target)
        fitting = [rule for rule in self.rules if rule.fits(even)]
        return max(fitting, key=lambda r: (len(r.path), r.allows), default=Rule(True, "")).allows


NOTHING = Robots((Rule(False, "/"),))
"""No page of the host."""


def _even(path: str) -> str:
    """Return a path in one way of quoting."""
    return quote(unquote(path), safe="/*$?&=%:;,+@!~'()")


def parse_robots(text: str) -> Robots:
    """Return what a robots.txt says to this program: the groups that name it, else those for all."""
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    named = False  # whether the last line named a program
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.split("#")[0].partition(":"))
        if not colon:
            continue
        if key.lower() == "user-agent":
            agents = [*(agents if named else ()), value.lower()]
            groups.setdefault(value.lower(), [])
        elif key.lower() in ("allow", "disallow", "crawl-delay"):
            for agent in agents:
                groups[agent].append((key.lower(), value))
        named = key.lower() == "user-agent"
    return _robots_of(groups.get(AGENT, groups.get("*", [])))


def _robots_of(lines: Iterable[tuple[str, str]]) -> Robots:
    rules = [Rule(key == "allow", _even(value)) for key, value in lines if key != "crawl-delay"]
    delays = [value for key, value in lines if key == "crawl-delay"]
    seconds = [float(value) for value in delays if re.fullmatch(r"\d{1,6}(\.\d*)?", value)]
    return Robots(tuple(rule for rule in rules if rule.path), max(seconds, default=0.0))


def refuses(tags: Iterable[str]) -> bool:
    """Return whether X-Robots-Tag headers refuse that a picture is kept, to all or to this program.

    Args:
        tags: Their values, such as "noai" or "otherbot: noindex, nofollow".
    """
    for tag in tags:
        name, colon, rest = tag.lower().partition(":")
        if colon and name.strip() not in WITH_VALUES and "," not in name:
            if name.strip() != AGENT:
                continue
            tag = rest
        if {word.strip() for word in tag.lower().split(",")} & DIRECTIVES:
            return True
    return False
