"""Train SAEs with several settings, and compare sparsity and explained variance.

Every setting is trained by the train stage in a folder of its own, so that a stopped sweep goes
on where it was, and a setting that was tried before is not trained again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_json, read_json, write_parquet
from atlas.base.progress import Progress
from atlas.pipeline import STAGES, build_atlas, run_stage
from atlas.prepare.curves import Table, draw_dots, write_curves
from atlas.run.build import build_stage, locked
from atlas.run.receipt import stage_source
from atlas.settings.load import Config, load_config

SWEEP = "sweep"
"""Folder of an atlas that sweeps write to; no build deletes it."""
HEAD = ("", "settings", "L0", "explained", "principal components", "alive", "images judged")


@dataclass(frozen=True, slots=True)
class Tried:
    """One setting, trained and judged on held-out images."""

    settings: str
    """What it changes, as given on the command line."""
    folder: Path
    """Its checkpoint."""
    l0: float
    """Mean features an image."""
    explained_variance: float
    null_explained_variance: float
    """Of as many principal components of the training images as features fire."""
    alive: int
    """Features that fire on a held-out image."""
    n_features: int
    n_images: int
    """Held-out images."""

    def cells(self, number: int) -> tuple[str, ...]:
        """Return a row of a table, numbered as in the plot."""
        return (
            f"{number}",
            self.settings,
            f"{self.l0:.1f}",
            f"{self.explained_variance:.1%}",
            f"{self.null_explained_variance:.1%}",
            f"{self.alive:,} of {self.n_features:,}",
            f"{self.n_images:,}",
        )


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that was tried, and which to take."""

    tried: tuple[Tried, ...]
    chosen: int
    """Row of tried."""
    why: str


def run_sweep(
    path: Path,
    attempts: Sequence[str],
    *,
    changes: Iterable[str] = (),
    least_explained: float,
    progress: Progress,
) -> Sweep:
    """Train every setting that isn't yet, and write table and page to OUT_DIR/sweep.

    Args:
        path: The configuration.
        attempts: What each setting changes: section.key=value, several with spaces between.
        changes: Settings that override the file's for all of them.
        least_explained: Share of the variance that the chosen one is to explain, 0 to 1.
        progress: Told what is going on.

    Raises:
        ConfigError: A setting is unknown, or not one of [train].
        InputError: There are no held-out images.
    """
    configs = [load_config(path, [*changes, *_words(attempt)]) for attempt in attempts]
    base = load_config(path, changes)
    build_atlas(base, ("embed",), progress=progress)
    with locked(base.out_dir):
        tried = tuple(
            _try(config, attempt, progress)
            for config, attempt in zip(configs, attempts, strict=True)
        )
        found = choose(tried, least_explained)
        _write(base.out_dir / SWEEP, found)
    return found


def _words(attempt: str) -> list[str]:
    words = attempt.split()
    for word in words:
        if not word.startswith("train."):
            raise ConfigError(f"--try takes settings of [train], as train.l1=9e-6, got {word!r}")
    return words


def _try(config: Config, attempt: str, progress: Progress) -> Tried:
    name = digest_json(config.train.model_dump(mode="json"))[:12]
    root = config.out_dir / SWEEP / name
    progress.say(f"{attempt}: {root}")
    train = next(stage for stage in STAGES if stage.name == "train")
    build_stage(
        train,
        run_stage,
        settings=config.train,
        runtime=config.runtime,
        sources={"embed": stage_source(config.out_dir / "embed")},
        root=root,
        progress=progress,
    )
    figures = {row["name"]: row for row in read_json(root / "train" / "figures.json")["figures"]}
    explained = figures.get("sae_heldout_explained_variance")
    if explained is None:
        raise InputError(
            f"{config.out_dir / 'embed'} has no held-out images that differ, so that settings "
            "can't be compared; mark some in column split"
        )
    return Tried(
        settings=attempt,
        folder=root / "train",
        l0=figures["sae_heldout_l0_mean"]["value"],
        explained_variance=explained["value"],
        null_explained_variance=explained["null_value"],
        alive=figures["sae_heldout_alive"]["value"],
        n_features=config.train.n_features,
        n_images=explained["n"],
    )


def choose(tried: tuple[Tried, ...], least_explained: float) -> Sweep:
    """Return what to take: the sparsest that explains enough, else the one that explains most."""
    enough = [i for i, one in enumerate(tried) if one.explained_variance >= least_explained]
    if enough:
        chosen = min(enough, key=lambda i: (tried[i].l0, -tried[i].explained_variance, i))
        why = (
            f"the sparsest of {len(enough)} that explain at least {least_explained:.0%} of the "
            f"held-out variance, with {tried[chosen].l0:.1f} features an image"
        )
    else:
        chosen = max(range(len(tried)), key=lambda i: (tried[i].explained_variance, -i))
        why = (
            f"none of {len(tried)} explains {least_explained:.0%} of the held-out variance; this "
            f"one explains most, {tried[chosen].explained_variance:.1%}"
        )
    return Sweep(tried, chosen, why)


def _write(folder: Path, found: Sweep) -> None:
    import pyarrow as pa

    rows = [
        asdict(one)
        | {"folder": one.folder.relative_to(folder).as_posix(), "chosen": i == found.chosen}
        for i, one in enumerate(found.tried)
    ]
    write_parquet(folder / "sweep.parquet", pa.Table.from_pylist(rows))
    table = Table(
        "The numbers",
        HEAD,
        tuple(one.cells(i + 1) for i, one in enumerate(found.tried)),
        f"Chosen: {found.tried[found.chosen].settings}, {found.why}.",
        found.chosen,
    )
    plot = draw_dots(
        "Explained variance",
        "L0, features an image",
        [one.l0 for one in found.tried],
        [one.explained_variance for one in found.tried],
        [one.settings for one in found.tried],
        found.chosen,
    )
    lead = (
        "Settings of [train] side by side, judged on images that none was trained on. Principal "
        "components: what as many components as features fire explain, without being sparse."
    )
    write_curves(
        folder / "report.html", "Sparsity against explained variance", lead, [plot], [table]
    )
