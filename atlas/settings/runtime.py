"""Settings of how to run: section [runtime]. None of them changes a byte of the output."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.settings.section import Section

ScreenKind = Literal["auto", "bf16", "int8", "float32"]


class Runtime(Section):
    """Devices, processes and batch sizes. Nothing here changes a byte of the output."""

    device: str = Field(
        default="cpu",
        description="Torch device: cpu, cuda:0 for one GPU, cuda for all; pictures are drawn by one process per GPU.",
    )
    threads: int = Field(default=0, ge=0, description="Threads per process; 0 leaves it to torch.")
    workers: int = Field(
        default=0,
        ge=0,
        description="Worker processes for pictures and for a scan; 0 means one per core, for a scan only if it is long.",
    )
    engine: Literal["local", "ranks", "ray"] = Field(
        default="local",
        description="What runs the scan. local: worker processes on this machine. ranks: every process that torchrun starts; they also draw icons, one process per GPU. ray: a Ray cluster.",
    )
    address: str = Field(
        default="auto", description="Address of the Ray cluster; local starts one on this machine."
    )
    screen: ScreenKind = Field(
        default="auto",
        description="Fast product with which a scan finds candidates: auto (the fastest here), bf16, int8 or float32.",
    )
    batch_images: int = Field(
        default=1024, ge=8, description="Images that the scan encodes at once."
    )
