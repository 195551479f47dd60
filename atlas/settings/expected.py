"""Settings of what is known of the inputs before a build: sections [expected] and [[downloads]]."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.settings.section import Section


class ExpectedSettings(Section):
    """Sizes and figures of inputs known in advance. Only l0 goes into the output: a warning rests on it."""

    images: int = Field(
        default=0,
        ge=0,
        description="Number of images that atlas plan assumes where none are there yet.",
    )
    width: int = Field(default=0, ge=0, description="Dimensions of the embeddings; 0 if unknown.")
    features: int = Field(default=0, ge=0, description="Features of the SAE; 0 if unknown.")
    encode_gflop: float = Field(
        default=0.0,
        ge=0,
        description="GFLOP that the encoder needs per image, for atlas plan.",
    )
    picture_gflop: float = Field(
        default=0.0,
        ge=0,
        description="GFLOP that the decoder needs per picture, for atlas plan.",
    )
    gpu_gb: float = Field(
        default=0.0, ge=0, description="Memory that a GPU should have, in GB; an estimate."
    )
    l0: float | None = Field(
        default=None,
        gt=0,
        description="Mean number of features that fire on an image, as published by the author of the SAE; checked by atlas doctor, and by the scan (scan.own_l0).",
    )
    explained_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Explained variance in percent, as published by the author of the SAE; checked by atlas doctor.",
    )
    gray_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the encoder's embedding of the mean-gray picture; checked by atlas doctor.",
    )
    template_norm: float | None = Field(
        default=None,
        gt=0,
        description="Length of the embedding of the template with its activations scaled; checked by atlas doctor.",
    )


class Download(Section):
    """A download to make before a build. Nothing here changes a byte of the output."""

    what: str = Field(
        description="Input that the download provides, by the name that atlas plan uses: encoder, decoder, checkpoint, pictures."
    )
    to: Path = Field(description="Folder to download to.")
    command: str = Field(description="Command that downloads it; {to} stands for the folder.")
    size_gb: float = Field(ge=0, description="Size of the download, in GB.")
    license: str = Field(default="", description="License, and who states it.")

    def shell_command(self) -> str:
        """Return the command with the folder filled in."""
        return self.command.replace("{to}", str(self.to))

    @classmethod
    def places(cls) -> set[str]:
        """Return the fields that locate inputs."""
        return {"to"}
