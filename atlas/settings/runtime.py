"""Settings of how to run: section [runtime], which changes no output."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.settings.section import Section

ScreenKind = Literal["auto", "bf16", "int8", "float32"]


class Runtime(Section):
    """How to run. Nothing here changes a byte of what is built."""

    device: str = Field(
        default="cpu",
        description="Torch device: cpu, cuda:0 for one card, cuda for all; pictures are drawn by one process a card.",
    )
    threads: int = Field(
        default=0, ge=0, description="Threads a process may compute with; 0 leaves it to torch."
    )
    workers: int = Field(
        default=0,
        ge=0,
        description="Worker processes for pictures and for a scan; 0 means one a core, for a scan only where it is long.",
    )
    engine: Literal["local", "ranks", "ray"] = Field(
        default="local",
        description="Who scans. local: this machine's workers. ranks: every process that torchrun starts, which also draw icons, one a card. ray: a cluster.",
    )
    address: str = Field(
        default="auto", description="Of the Ray cluster; local starts one on this machine."
    )
    screen: ScreenKind = Field(
        default="auto",
        description="Fast product that a scan looks for candidates with: auto (the fastest here), bf16, int8 or float32.",
    )
    batch_images: int = Field(default=1024, ge=8, description="Images in memory at once.")
