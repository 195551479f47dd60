"""What a build will take, printed before anything is fetched or run: time, disk, memory, what is missing.

Estimates, not promises: each is a count times a rate, and the basis is printed beside it. The
rate of products is this machine's own, timed on the spot; those of cards are published ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from atlas.prepare.estimates import StageEstimate, estimate
from atlas.prepare.machine import CARD_TFLOPS, REFERENCE_CARD, Machine, free_bytes, look_at_machine
from atlas.prepare.site_size import tally_of, whole_site
from atlas.prepare.sizes import Size, measure, size_text, time_text
from atlas.sae.fetch import hub_command
from atlas.settings.load import Config
from atlas.settings.outside import outside_files
from atlas.site.hosts import HOSTS, why_over

ON_CARD = ("embed", "train", "scan", "icons", "where", "concepts")
"""Stages whose products run on runtime.device."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """One thing that is not here yet, and how it gets here."""

    what: str
    size_bytes: float
    """0 where it isn't known."""
    license: str
    command: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would take."""

    stages: tuple[StageEstimate, ...]
    fetches: tuple[Fetch, ...]
    missing: tuple[str, ...]
    """What stands in the way, each with what to do."""
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table's cells, with a row for the whole."""
        rows = [
            (
                s.stage,
                time_text(s.time_s),
                size_text(s.disk_bytes),
                size_text(s.memory_bytes),
                s.basis,
            )
            for s in self.stages
        ]
        time_s = sum(s.time_s for s in self.stages)
        disk = sum(s.disk_bytes for s in self.stages)
        memory = max((s.memory_bytes for s in self.stages), default=0)
        return [*rows, ("all", time_text(time_s), size_text(disk), size_text(memory), "")]

    def fetch_rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a table of what is to be fetched, with a row for the whole."""
        rows = [
            (f.what, size_text(f.size_bytes) if f.size_bytes else "?", f.license, f.command)
            for f in self.fetches
        ]
        return [*rows, ("all", size_text(sum(f.size_bytes for f in self.fetches)), "", "")]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values; seconds and bytes."""
        return asdict(self)


def make_plan(config: Config, machine: Machine | None = None) -> Plan:
    """Estimate a build without reading more than the headers of its inputs.

    Args:
        config: The atlas.
        machine: What it would be built on; this machine by default.
    """
    machine = machine or look_at_machine()
    size = measure(config, machine)
    stages = estimate(size, config)
    fetches = _fetches(config)
    missing = _missing(config, fetches) + _too_small(config, machine, stages, fetches)
    return Plan(stages, fetches, missing, _notes(config, machine, size))


def _fetches(config: Config) -> tuple[Fetch, ...]:
    """Return what is missing and known to be fetched somewhere, in the configuration's order."""
    gone = {name for name, (_, files) in outside_files(config).items() if not files}
    listed = [download for download in config.downloads if download.what in gone]
    fetches = [Fetch(d.what, d.size_gb * 1e9, d.license, d.shell_command()) for d in listed]
    if config.sae.repo is not None and "checkpoint" in gone - {d.what for d in listed}:
        fetches.append(Fetch("checkpoint", 0.0, "", hub_command(config.sae)))
    return tuple(fetches)


def _missing(config: Config, fetches: tuple[Fetch, ...]) -> tuple[str, ...]:
    commands = {fetch.what: f"fetch it: {fetch.command}" for fetch in fetches}
    otherwise = "put it there or change the configuration"
    return tuple(
        f"no {name} at {path}; {commands.get(name, otherwise)}"
        for name, (path, files) in outside_files(config).items()
        if not files
    )


def _too_small(
    config: Config,
    machine: Machine,
    stages: tuple[StageEstimate, ...],
    fetches: tuple[Fetch, ...],
) -> tuple[str, ...]:
    """Return what this machine lacks, each with what to do."""
    problems, wanted_gb = [], config.expected.gpu_gb
    least_gb = min((card.memory_bytes for card in machine.cards), default=0) / 1e9
    if config.runtime.device.startswith("cuda") and not machine.cards:
        problems.append(
            f"no CUDA card, and runtime.device is {config.runtime.device}; use a machine with "
            f"one of {wanted_gb:.0f} GB, or --set runtime.device=cpu for the times of the table"
        )
    elif config.runtime.device.startswith("cuda") and least_gb < wanted_gb:
        problems.append(
            f"a card of {least_gb:.0f} GB, about {wanted_gb:.0f} GB are wanted; use a larger one"
        )
    needed = sum(s.disk_bytes for s in stages) + sum(f.size_bytes for f in fetches)
    free = free_bytes(config.out_dir)
    if needed > free:
        problems.append(
            f"{size_text(free)} free at {config.out_dir}, about {size_text(needed)} are wanted; "
            "make room or change out_dir"
        )
    return tuple(problems)


def _notes(config: Config, machine: Machine, size: Size) -> tuple[str, ...]:
    notes = [
        f"{size.images:,} images of width {size.width}, {size.features:,} features.",
        f"This machine: {machine.describe()}.",
        *hosts_of(size, config),
    ]
    if config.runtime.device.startswith("cuda") and not machine.cards:
        rate = 1000.0 * CARD_TFLOPS[REFERENCE_CARD]
        carded = Size(size.images, size.width, size.features, size.gflops, rate)
        times = ", ".join(
            f"{s.stage} {time_text(s.time_s)}"
            for s in estimate(carded, config)
            if s.stage in ON_CARD
        )
        notes.append(f"The times above are without a card. With one {REFERENCE_CARD}: {times}.")
    if config.expected.gpu_gb:
        notes.append(f"GPU memory: about {config.expected.gpu_gb:.0f} GB.")
    notes.append("Money: none beyond this machine's; nothing was fetched for this plan.")
    return tuple(notes)


def hosts_of(size: Size, config: Config) -> tuple[str, ...]:
    """Say of every host whether the site is likely to fit it."""
    found = tally_of(size, config, config.site)
    whole = whole_site(size, config)
    lines = [
        f"Site in layout {config.site.layout}, pictures in {config.site.pictures}: "
        f"about {size_text(found.total_bytes)} in {found.files:,} files."
    ]
    if config.site.media_base_url:
        lines.append(
            f"For {config.site.media_base_url}: pictures of about "
            f"{size_text(whole.total_bytes - found.total_bytes)} in {whole.files - found.files:,} files."
        )
    for host in HOSTS:
        over = why_over(found, host)
        lines.append(f"{host}: {'too much: ' + '; '.join(over) if over else 'fits'}.")
    return tuple(lines)
