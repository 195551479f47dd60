"""Base class of the sections of a configuration.

Settings enter the fingerprint of the stage that their section is named after, so they may change
its output. Exceptions: the sections [publish], [runtime] and [expected], and fields named by `places()`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs: not in the fingerprint, as inputs are digested."""
        return set()
