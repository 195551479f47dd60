"""What can become of a url, and the errors that say so."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a url; the text is what the record and the terminal show."""

    KEPT = "kept"
    GONE = "gone"
    """404, 410, or a host that no longer exists: link rot."""
    REFUSED = "refused by its server"
    """Any other 4xx."""
    ROBOTS = "refused by robots.txt"
    NOAI = "refused by X-Robots-Tag"
    NOT_HTTPS = "not https"
    PRIVATE = "private address"
    LARGE = "too large"
    NOT_PICTURE = "not a picture"
    TIMED_OUT = "timed out"
    NO_ANSWER = "no answer"
    """No connection, no valid certificate, 5xx, an answer that breaks off, or redirects without end."""
    LATER = "left for later"
    """Its host asked for a pause or did not answer others; never recorded, so the next call asks."""


class RefusedError(Exception):
    """A url gives no picture."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        """Keep what became of the url, and why in a few words."""
        super().__init__(why)
        self.outcome = outcome


class StoppedError(Exception):
    """The command was stopped while a request waited for its turn."""
