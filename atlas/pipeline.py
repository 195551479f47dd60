"""The program on one screen: which stages there are, and what each of them reads."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path

from atlas.base.errors import ConfigError
from atlas.base.files import DigestCache, explain_full_disk
from atlas.base.progress import Progress
from atlas.run.build import Outcome, build_stage, locked, make_job
from atlas.run.receipt import make_plan, outside_source, stage_source, why_damaged, why_stale
from atlas.run.stage import Source, Stage
from atlas.sae.fetch import fetch_sae
from atlas.settings.load import Config, save_config, settings_of
from atlas.settings.outside import needs_conversion, outside_files, sae_path
from atlas.settings.paths import DATABASE

STAGES = (
    Stage(
        "embed",
        "inputs",
        version=3,
        needs=("vectors", "images", "pictures", "compositions", "encoder"),
    ),
    Stage("convert", "sae", version=1, needs=("checkpoint", "input_mean")),
    Stage("train", "training", version=4, needs=("embed",)),
    Stage("scan", "scan", version=3, needs=("embed", "sae")),
    Stage("neighbors", "study", version=4, needs=("embed", "sae", "scan")),
    Stage(
        "families",
        "study",
        version=2,
        needs=("embed", "sae", "scan", "neighbors", "second_vectors"),
    ),
    Stage("compare", "study", version=1, needs=("embed", "scan", "families", "other")),
    Stage(
        "names",
        "study",
        version=2,
        needs=("embed", "scan", "neighbors", "vocabulary", "imported", "kept_names"),
    ),
    Stage(
        "icons",
        "icons",
        version=3,
        needs=("embed", "sae", "scan", "encoder", "decoder", "template", "second_encoder"),
    ),
    Stage("where", "icons", version=1, needs=("embed", "sae", "scan", "encoder")),
    Stage(
        "concepts",
        "concepts",
        version=2,
        needs=("embed", "sae", "scan", "encoder", "decoder", "template"),
    ),
    Stage(
        "catalog",
        "catalog",
        version=6,
        needs=(
            *("embed", "sae", "scan", "neighbors", "families", "compare", "names"),
            *("icons", "where", "concepts", "vocabulary", "figures"),
        ),
        unstable=(DATABASE,),
    ),
    Stage(
        "site",
        "site",
        version=13,
        needs=("embed", "compare", "icons", "concepts", "catalog", "templates"),
    ),
)


SHARED = ("scan", "icons")
"""Stages whose parts every process that torchrun starts can make."""
WAIT_S = 2.0
"""Between looks whether another process has built what a stage reads."""


def stages_of(config: Config) -> tuple[Stage, ...]:
    """Return the stages that this configuration runs.

    Convert runs only where somebody else's SAE is given, train only where none is, icons only
    where a decoder is, names only where words or names are.
    """
    outside = outside_files(config)
    without = {
        "compare": config.compare.other is None,
        "names": not {"vocabulary", "imported", "kept_names"} & outside.keys(),
        "convert": not needs_conversion(config),
        "train": sae_path(config) is not None,
        "icons": config.icons.decoder is None,
        "where": not config.where.features or not {"encoder", "pictures"} <= outside.keys(),
    }
    return tuple(stage for stage in STAGES if not without.get(stage.name, False))


def sources_of(stage: Stage, config: Config, cache: DigestCache) -> dict[str, Source]:
    """Return the stage's inputs, digested. Stages that it needs must have been built."""
    outside = outside_files(config)
    names = {made.name for made in stages_of(config)}
    sources = {}
    for need in stage.needs:
        maker = _maker(need, names)
        if maker in names:
            sources[need] = stage_source(config.out_dir / maker)
        elif need in outside:
            sources[need] = outside_source(need, *outside[need], cache)
    return sources


def _maker(need: str, names: Collection[str]) -> str:
    """Return the stage, among those that run, that makes what is needed; else the need itself."""
    makers = [name for name in ("train", "convert") if need == "sae" and name in names]
    return makers[0] if makers else need


def build_atlas(
    config: Config, only: tuple[str, ...] = (), *, force: bool = False, progress: Progress
) -> list[Outcome]:
    """Build what is stale, in order.

    Args:
        config: What to build.
        only: Names of the last stages wanted; what they need is built too. Empty for all.
        force: Build the named stages (or all) even if they are current.
        progress: Told what is going on.

    Raises:
        ConfigError: A name in only is not a stage of this configuration.
        BusyError: Another build is running.
    """
    wanted_stages(config, only)  # an unknown name is told before anything is fetched
    outcomes = []
    with locked(config.out_dir), explain_full_disk("build", config.out_dir):
        fetch_sae(config, progress)
        wanted = wanted_stages(config, only)
        cache = DigestCache(config.out_dir / ".digests.json")
        for stage in wanted:
            outcomes.append(
                build_stage(
                    stage,
                    import_module(stage.module).run,
                    settings=settings_of(config, stage.name),
                    runtime=config.runtime,
                    sources=sources_of(stage, config, cache),
                    root=config.out_dir,
                    progress=progress,
                    force=force and (not only or stage.name in only),
                )
            )
            cache.save()
        save_config(config)
    return outcomes


def help_build(config: Config, only: tuple[str, ...], progress: Progress) -> None:
    """Make parts of the wanted stages beside the process that builds them.

    Of each stage that can be shared it waits for what the stage reads, which the other process
    makes alone.

    Args:
        config: What is built.
        only: As in build_atlas.
        progress: Told what is going on.
    """
    for stage in wanted_stages(config, only):
        if stage.name not in SHARED:
            continue
        while not _can_begin(stage, config):
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
        import_module(stage.module).help_run(job)


def _can_begin(stage: Stage, config: Config) -> bool:
    """Return whether all stages that this one needs are built and current."""
    reasons = dict(status(config))
    needs = {_maker(need, reasons) for need in stage.needs} & reasons.keys()
    return not any(reasons[need] for need in needs)


def wanted_stages(config: Config, only: tuple[str, ...]) -> list[Stage]:
    """Return the named stages and all that they need, in the table's order."""
    stages = {stage.name: stage for stage in stages_of(config)}
    for name in only:
        if name not in stages:
            raise ConfigError(f"no stage {name}; the stages are {', '.join(stages)}")
    wanted = set(only or stages)
    for stage in reversed(list(stages.values())):
        if stage.name in wanted:
            wanted |= {_maker(need, stages) for need in stage.needs} & set(stages)
    return [stage for stage in stages.values() if stage.name in wanted]


def status(config: Config, *, verify: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield each stage's name with the reasons why it would run, none where it is current.

    Args:
        config: What would be built.
        verify: Read every input and output again instead of trusting sizes and times.
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
        if not reasons:
            sources = sources_of(stage, config, cache)
            plan = make_plan(stage, settings_of(config, stage.name), sources)
            reasons = why_stale(plan, folder)
        if verify and not reasons:
            reasons = [f"{name} is damaged" for name in why_damaged(folder)[:1]]
        if reasons:
            stale.add(stage.name)
        yield stage.name, reasons


def atlas_dir_of(config: Config) -> Path:
    """Return the folder that the configuration builds."""
    return config.out_dir
