"""The program on one screen: the stages of a build, and what each of them reads."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import import_module

from atlas.base.errors import ConfigError, InputError
from atlas.base.extras import explain_missing_package
from atlas.base.faults import explain_faults
from atlas.base.files import DigestCache, read_sealed
from atlas.base.progress import Progress
from atlas.run.build import Outcome, build_stage, locked, make_job
from atlas.run.receipt import (
    Verified,
    digests_in_receipt,
    make_plan,
    outside_source,
    stage_source,
    why_damaged,
    why_stale,
)
from atlas.run.stage import Job, Source, Stage
from atlas.sae.fetch import fetch_sae
from atlas.settings.load import SAVED_CONFIG, Config, save_config, settings_of
from atlas.settings.outside import needs_conversion, outside_files, sae_path
from atlas.settings.paths import DATABASE


def _stage(
    name: str, room: str, version: int, needs: str, unstable: str = "", kept: str = ""
) -> Stage:
    return Stage(
        name, room, version, tuple(needs.split()), tuple(unstable.split()), tuple(kept.split())
    )


# fmt: off
STAGES = (
    #      name         room    version needs (stages and outside inputs)
    _stage("embed",     "inputs",    4, "vectors images pictures compositions encoder"),
    _stage("convert",   "sae",       1, "checkpoint input_mean"),
    _stage("train",     "training",  4, "embed"),
    _stage("scan",      "scan",      3, "embed sae"),
    _stage("neighbors", "study",     4, "embed sae scan"),
    _stage("families",  "study",     3, "embed sae scan neighbors second_vectors replicates"),
    _stage("compare",   "study",     1, "embed scan families other"),
    _stage("names",     "study",     4, "embed scan neighbors vocabulary imported kept_names"),
    _stage("icons",     "icons",     4, "embed sae scan encoder decoder template second_encoder"),
    _stage("where",     "icons",     1, "embed sae scan encoder"),
    _stage("concepts",  "concepts",  3, "embed sae scan encoder decoder template"),
    _stage("catalog",   "catalog",   9, "embed sae scan neighbors families compare names icons "
                                        "where concepts vocabulary figures takedown "
                                        "review text_encoder",
                                        unstable=DATABASE, kept="sae text_encoder"),
    _stage("site",      "site",     15, "embed compare icons concepts catalog templates fetched "
                                        "takedown"),
)
# fmt: on
"""In the order of the build. A need that the configuration lacks is left out. The need "sae" is made
by train or convert, unless the configuration names an SAE in our own format."""
SHARED = ("scan", "icons")
"""Stages whose parts can be shared by all processes that torchrun starts."""
RECORDS = (SAVED_CONFIG, ".digests.json", ".site.json")
"""Files in the folder of an atlas that builds and look-ups believe."""
WAIT_S = 2.0
"""Seconds between checks whether the inputs of a shared stage have been built."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a stage stands before a build."""

    stage: str
    reasons: tuple[str, ...]
    """Why it would run; empty if it is current."""
    absent: tuple[str, ...]
    """Inputs that are not here, and are taken to be as its receipt says."""


def stages_of(config: Config) -> tuple[Stage, ...]:
    """Return the stages that this configuration runs.

    Some stages need an input that not every configuration has: convert an SAE in another format,
    train that no SAE is given, icons a decoder, names a vocabulary, a file of names or captions.
    """
    outside = outside_files(config)
    without = {
        "compare": config.compare.other is None,
        "names": not config.names.captions
        and not {"vocabulary", "imported", "kept_names"} & outside.keys(),
        "convert": not needs_conversion(config),
        "train": sae_path(config) is not None,
        "icons": config.icons.decoder is None,
        "where": not config.where.features or not {"encoder", "pictures"} <= outside.keys(),
    }
    return tuple(stage for stage in STAGES if not without.get(stage.name, False))


FILES = ("images", "pictures", "compositions", "takedown", "review")
"""Inputs that may be single files: what is there in such a place and can't be read is no absence."""


def sources_of(stage: Stage, config: Config, cache: DigestCache) -> dict[str, Source]:
    """Return the inputs of a stage with their digests; the stages that it needs must be built.

    The receipt of a finished stage stands in for inputs that are no longer there.

    Raises:
        InputError: An input is not there, and the stage was never finished with it.
    """
    outside = outside_files(config)
    names = {other.name for other in stages_of(config)}
    sources = {}
    before = digests_in_receipt(config.out_dir / stage.name)
    for need in stage.needs:
        maker = _maker(need, names)
        if maker in names:
            sources[need] = stage_source(config.out_dir / maker)
        elif need in outside:
            path, files = outside[need]
            if files or need not in before or (need in FILES and path.exists()):
                sources[need] = outside_source(need, path, files, cache)
            else:
                sources[need] = Source(path, (), before[need], here=False)
    return sources


def _maker(need: str, names: Collection[str]) -> str:
    """Return the stage, among those with these names, that makes what is needed; else the need."""
    makers = [name for name in ("train", "convert") if need == "sae" and name in names]
    return makers[0] if makers else need


def build_atlas(
    config: Config,
    only: tuple[str, ...] = (),
    *,
    force: bool = False,
    allowed: Collection[str] | None = None,
    progress: Progress,
) -> list[Outcome]:
    """Build what is stale, in order.

    Args:
        config: What to build.
        only: Names of the stages to build; what they need is built too. Empty for all.
        force: Build the named stages (or all that may run) even if they are current.
        allowed: The only stages that may run, and nothing is downloaded; None for all.
        progress: Shows what is going on.

    Raises:
        ConfigError: A name in only is not a stage of this configuration, or a stage that is not
            allowed is stale.
        BusyError: Another build is running.
    """
    wanted_stages(config, only)  # report an unknown name before anything is downloaded
    outcomes = []
    with explain_faults("build", config.out_dir), locked(config.out_dir):
        if allowed is None:
            fetch_sae(config, progress)
        else:
            refuse_stale(config, only, allowed, force=force)
        wanted = wanted_stages(config, only)  # again: a downloaded SAE may need no conversion
        cache, verified = DigestCache(config.out_dir / ".digests.json"), Verified()
        names = {stage.name for stage in wanted}
        absent: dict[str, Source] = {}
        for stage in wanted:
            sources = sources_of(stage, config, cache)
            absent |= {name: source for name, source in sources.items() if not source.here}
            outcomes.append(
                build_stage(
                    stage,
                    run_stage,
                    settings=settings_of(config, stage.name),
                    runtime=config.runtime,
                    sources=sources,
                    root=config.out_dir,
                    progress=progress,
                    force=force and stage.name in (only or allowed or names),
                    verified=verified,
                )
            )
            cache.save()
        save_config(config)
        if absent:
            progress.say(f"inputs not here: {', '.join(absent)}; trusted as of the receipts")
    return outcomes


def refuse_stale(
    config: Config, only: tuple[str, ...], allowed: Collection[str], *, force: bool = False
) -> None:
    """Refuse a build that would run a stage which is not allowed.

    Raises:
        ConfigError: Such a stage is stale; the first is named, with why and what to run elsewhere.
    """
    wanted_stages(config, tuple(allowed))
    wanted = {stage.name for stage in wanted_stages(config, only)}
    for one in status(config):
        forced = ["forced"] if force and one.stage in only else []
        reasons = [*one.reasons, *forced]
        if reasons and one.stage in wanted and one.stage not in allowed:
            raise ConfigError(
                f"{one.stage} is stale ({reasons[0]}), and only {', '.join(allowed)} may run here; "
                f"where its inputs are, run: atlas build CONFIG {one.stage}, then atlas bundle"
            )


def run_stage(job: Job) -> None:
    """Run the stage of a job; only now is its module imported, with the packages that it needs."""
    (stage,) = (stage for stage in STAGES if stage.name == job.name)
    with explain_missing_package(stage.name):
        import_module(stage.module).run(job)


def help_build(config: Config, only: tuple[str, ...], progress: Progress) -> None:
    """Make parts of the shared stages beside the process that builds the atlas.

    Before each of them it waits until that process has built what the stage reads.

    Args:
        config: What is built.
        only: As in build_atlas.
        progress: Shows what is going on.
    """
    for stage in wanted_stages(config, only):
        if stage.name not in SHARED:
            continue
        while not _is_ready(stage, config):
            time.sleep(WAIT_S)
        sources = sources_of(stage, config, DigestCache(config.out_dir / ".digests.json"))
        job = make_job(
            stage,
            settings_of(config, stage.name),
            config.runtime,
            sources,
            config.out_dir,
            progress,
        )
        with explain_missing_package(stage.name):
            import_module(stage.module).help_run(job)


def _is_ready(stage: Stage, config: Config) -> bool:
    """Return whether all stages that this one needs are built and current."""
    reasons = {one.stage: one.reasons for one in status(config)}
    needs = {_maker(need, reasons) for need in stage.needs} & reasons.keys()
    return not any(reasons[need] for need in needs)


def wanted_stages(config: Config, only: tuple[str, ...]) -> list[Stage]:
    """Return the named stages and all stages that they need, in the order of STAGES."""
    stages = {stage.name: stage for stage in stages_of(config)}
    for name in only:
        if name not in stages:
            raise ConfigError(f"no stage {name}; the stages are {', '.join(stages)}")
    wanted = set(only or stages)
    for stage in reversed(list(stages.values())):
        if stage.name in wanted:
            wanted |= {_maker(need, stages) for need in stage.needs} & set(stages)
    return [stage for stage in stages.values() if stage.name in wanted]


def status(config: Config, *, verify: bool = False) -> Iterator[Standing]:
    """Yield how each stage stands: why it would run, and what it is trusted without.

    Args:
        config: What would be built.
        verify: Read every input and output again, instead of trusting sizes and times.
    """
    cache = DigestCache(config.out_dir / ".digests.json")
    if verify:
        cache.forget()
    stale: set[str] = set()
    stages = stages_of(config)
    names = {stage.name for stage in stages}
    for stage in stages:
        folder = config.out_dir / stage.name
        needs = {_maker(need, names) for need in stage.needs}
        reasons = [f"waits for {name}" for name in sorted(needs & stale)]
        absent: tuple[str, ...] = ()
        if not reasons:
            sources = sources_of(stage, config, cache)
            absent = tuple(name for name, source in sources.items() if not source.here)
            plan = make_plan(stage, settings_of(config, stage.name), sources)
            reasons = why_stale(plan, folder)
        if verify and not reasons:
            reasons = [f"{name} is damaged" for name in why_damaged(folder)[:1]]
        if reasons:
            stale.add(stage.name)
        yield Standing(stage.name, tuple(reasons), absent)
    damaged = _damaged_records(config) if verify else []
    if damaged:
        yield Standing("records", tuple(damaged), ())


def _damaged_records(config: Config) -> list[str]:
    """Return what is wrong with the records beside the stages: of settings, digests, parts of the site."""
    found = []
    for name in RECORDS:
        try:
            read_sealed(config.out_dir / name)
        except InputError:
            found.append(f"{name} is damaged; delete it and build again")
    return found
