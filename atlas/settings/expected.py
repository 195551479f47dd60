"""What a preset knows of its inputs before a build: section [expected] and [[downloads]]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


class ExpectedSettings(Section):
    """What is known of the inputs beforehand. Nothing here changes a byte of what is built."""

    images: int = Field(
        default=0, ge=0, description="Images that atlas plan reckons with where none are here yet."
    )
    width: int = Field(
        default=0, ge=0, description="Dimensions of the encoder's embeddings; 0 where unknown."
    )
    features: int = Field(default=0, ge=0, description="Features of the SAE; 0 where unknown.")
    encode_gflop: float = Field(
        default=0.0,
        ge=0,
        description="Billions of operations that the encoder takes for an image, for atlas plan.",
    )
    picture_gflop: float = Field(
        default=0.0,
        ge=0,
        description="Billions of operations that the decoder takes for a picture, for atlas plan.",
    )
    gpu_gb: float = Field(
        default=0.0, ge=0, description="Memory that a card should have, in GB; an estimate."
    )
    l0: float | None = Field(
        default=None,
        gt=0,
        description="Features that fire on an image, on average, as the SAE's author says; atlas doctor measures.",
    )
    explained_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Variance explained, in percent, as the SAE's author says; atlas doctor measures.",
    )
    gray_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the encoder's embedding of the mean-gray picture; atlas doctor measures.",
    )
    template_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the template's embedding, its codes scaled; atlas doctor measures.",
    )


class Download(Section):
    """One thing to fetch before a build, with its price. Nothing here changes a byte."""

    what: str = Field(
        description="Input that it becomes, as atlas plan calls it: encoder, decoder, checkpoint, pictures."
    )
    to: Path = Field(description="Folder that it belongs in.")
    command: str = Field(description="Command that fetches it; {to} stands for the folder.")
    size_gb: float = Field(ge=0, description="Bytes to fetch, in GB.")
    license: str = Field(default="", description="License, and who says so.")

    def told(self) -> str:
        """Return the command with the folder in it."""
        return self.command.replace("{to}", str(self.to))

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that say where inputs are."""
        return {"to"}
