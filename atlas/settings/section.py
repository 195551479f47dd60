"""Base class of the sections of a configuration.

Settings in a section enter the fingerprint of the stage of that name, so they may change its output.
Two exceptions: the sections [runtime] and [expected], and fields named by `places()`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields left out of the fingerprint: locations of inputs, which are digested instead."""
        return set()
