"""Base class of the sections of a configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are; their content is digested instead."""
        return set()
