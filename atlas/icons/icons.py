"""The icons stage: one picture for every live feature, drawn and then encoded again.

A sample, drawn by lot, is rendered with other seeds too and held against random directions, the
nearest real pictures and, if there is one, a second encoder. Sensitive features get no icon.
Writes icons.parquet, replicates.parquet, side_effects.parquet, strips.parquet and icons.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.base.tables import SENSITIVE_SHARE
from atlas.icons.drawing import TEMPLATE, Sheet, Studio, draw_sheets, open_studio, share_sheets
from atlas.icons.roundtrip import (
    MOST_RANK,
    Fired,
    Natural,
    RoundTrips,
    judge,
    partners,
    swap,
    worst,
)
from atlas.icons.second_encoder import Look, look_again
from atlas.icons.template import icon_embeddings, set_strengths
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.run.workers import own_device
from atlas.sae.activations import FeatureActivations, ImageActivations
from atlas.sae.model import SAE, limit_threads, make_encoder

if TYPE_CHECKING:
    import pyarrow as pa

ENCODED_AT_ONCE = 4096
GAINS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Of a strip, over the icon's own strength; at 1 it is the icon."""
OTHER_GAINS = tuple(gain for gain in GAINS if gain != 1)
SIDE_EFFECTS = 6
COMMAND = "atlas build CONFIG icons"


@dataclass(frozen=True, slots=True)
class Subjects:
    """The features that get an icon, and what is asked of each. Places count in features."""

    features: NDArray[np.int64]
    """(feature,) numbers, ascending."""
    strengths: NDArray[np.float32]
    """(feature,) what each is set to."""
    wanted: NDArray[np.float32]
    """(feature, d) the embedding that each icon is drawn from."""
    moved: NDArray[np.float32]
    """(feature,) its distance from the bare template's."""
    largest: NDArray[np.float32]
    """(feature,) the largest activation on the scanned images."""
    sample: NDArray[np.int64]
    """(sampled,) places of the sample, ascending."""
    strips: NDArray[np.int64]
    """(strip,) places of the features that get a strip, ascending."""


def run(job: Job) -> None:
    """Draw what isn't drawn yet, judge all, and write the tables.

    Raises:
        ConfigError: No encoder is named, or the decoder doesn't fit the SAE or the encoder.
        InputError: An embedding isn't finite, or an icon comes out as one flat color.
    """
    limit_threads(job.runtime.threads)
    studio = open_studio(job.settings, job.inputs, own_device(job.runtime))
    table = read_parquet(job.inputs["scan"] / "features.parquet")
    subjects = find_subjects(job, studio, table)
    _say_strengths(job, subjects)
    plan = plan_sheets(job, studio, subjects)
    if job.runtime.engine == "ranks":
        share_sheets(job, studio, _all_sheets(plan))
    drawn = draw_all(job, studio, plan)
    natural = _natural(job, table, subjects.features)
    found = judge_all(job, drawn, subjects, natural)
    webps = _webps(drawn["icons"])
    look = look_again(
        job,
        features=subjects.features[subjects.sample],
        moved=subjects.moved[subjects.sample],
        webps=[webps[place] for place in subjects.sample],
        nearest=found.nearest,
    )
    write_parquet(job.out_dir / "icons.parquet", _icon_table(job, studio, subjects, drawn, found))
    write_parquet(job.out_dir / "replicates.parquet", _replicate_table(subjects, drawn, found))
    write_parquet(job.out_dir / "side_effects.parquet", side_effects(subjects, found, natural))
    write_parquet(job.out_dir / "strips.parquet", _strip_table(subjects, drawn, found))
    write_json(job.out_dir / "icons.json", {"figures": figures(job, subjects, found, look)})


def help_run(job: Job) -> None:
    """Draw sheets beside the process that runs the stage, until none is missing."""
    limit_threads(job.runtime.threads)
    studio = open_studio(job.settings, job.inputs, own_device(job.runtime))
    subjects = find_subjects(job, studio, read_parquet(job.inputs["scan"] / "features.parquet"))
    share_sheets(job, studio, _all_sheets(plan_sheets(job, studio, subjects)))


def _all_sheets(plan: dict[str, list[Sheet]]) -> list[Sheet]:
    return [sheet for sheets in plan.values() for sheet in sheets]


def draw_all(job: Job, studio: Studio, plan: dict[str, list[Sheet]]) -> dict[str, list[pa.Table]]:
    """Return the tables of every kind's sheets."""
    tables = iter(draw_sheets(job, studio, _all_sheets(plan)))
    return {kind: list(islice(tables, len(sheets))) for kind, sheets in plan.items()}


def find_subjects(job: Job, studio: Studio, table: pa.Table) -> Subjects:
    """Return the features to draw, their embeddings, and who is in which sample."""
    settings, features = job.settings, features_to_draw(job, table)
    largest = table["max"].to_numpy()[features].astype(np.float32)
    strengths = set_strengths(
        studio.sae, features, largest, settings.strength, settings.strength_unit
    )
    wanted = icon_embeddings(studio.sae, studio.template, features, strengths)
    lot = np.random.default_rng(settings.seed).permutation(len(features))
    return Subjects(
        features=features,
        strengths=strengths,
        wanted=wanted,
        moved=np.linalg.norm(wanted - studio.template.base, axis=1),
        largest=largest,
        sample=np.sort(lot[: settings.sample_features]),
        strips=np.sort(lot[: settings.strip_features]),
    )


def features_to_draw(job: Job, table: pa.Table) -> NDArray[np.int64]:
    """Return the numbers of the live features that aren't sensitive, ascending."""
    top = read_parquet(job.inputs["scan"] / "top_images.parquet", ["feature", "image"])
    images = read_parquet(job.inputs["embed"] / "images.parquet", ["sensitive"])
    feature = top["feature"].to_numpy()
    hidden = images["sensitive"].to_numpy()[top["image"].to_numpy()].astype(np.float64)
    n = len(table)
    kept = np.bincount(feature, minlength=n)
    share = np.bincount(feature, weights=hidden, minlength=n) / np.maximum(kept, 1)
    return np.flatnonzero(table["alive"].to_numpy() & (share < SENSITIVE_SHARE))


def plan_sheets(job: Job, studio: Studio, subjects: Subjects) -> dict[str, list[Sheet]]:
    """Return every sheet to draw, by kind; what is on one depends on nothing but the settings."""
    settings, base = job.settings, studio.template.base
    sample, names = subjects.sample, [f"feature {f}" for f in subjects.features]
    random = np.random.default_rng([settings.seed, 1]).standard_normal((len(sample), len(base)))
    random *= (subjects.moved[sample] / np.linalg.norm(random, axis=1))[:, None]
    gains = np.array(OTHER_GAINS, np.float32)
    strips = subjects.strips
    strip_wanted = icon_embeddings(
        studio.sae,
        studio.template,
        np.repeat(subjects.features[strips], len(gains)),
        (subjects.strengths[strips, None] * gains).ravel(),
    )

    def cut(
        kind: str, embeddings: NDArray[np.float32], labels: Sequence[str], seed: int
    ) -> list[Sheet]:
        size = settings.block_features
        return [
            Sheet(
                f"{kind}-{start:06d}",
                embeddings[start : start + size],
                tuple(labels[start : start + size]),
                seed,
            )
            for start in range(0, len(embeddings), size)
        ]

    sampled = [names[place] for place in sample]
    plan = {
        "template": cut("template", base[None], [TEMPLATE], settings.seed),
        "icons": cut("icons", subjects.wanted, names, settings.seed),
        "random": cut(
            "random",
            (base + random).astype(np.float32),
            [f"a random direction, as long as that of {name}" for name in sampled],
            settings.seed,
        ),
        "strips": cut(
            "strips",
            strip_wanted,
            [
                f"{names[place]} at {gain} of its strength"
                for place in strips
                for gain in OTHER_GAINS
            ],
            settings.seed,
        ),
    }
    for seed in settings.replicate_seeds:
        plan[f"seed-{seed}"] = cut(f"seed-{seed}", subjects.wanted[sample], sampled, seed)
    return plan


@dataclass(frozen=True, slots=True)
class Judged:
    """What the re-encoded pictures tell."""

    fired: Fired
    """What the icons activate."""
    bare: Fired
    """What the drawn template activates."""
    on_template: NDArray[np.float32]
    """(feature,)."""
    trips: RoundTrips
    """Of every feature, on its own seed."""
    swapped: RoundTrips
    """Each feature judged by another one's icon."""
    replicates: dict[int, RoundTrips]
    """Seed -> of the sample."""
    random: RoundTrips
    """Each sampled feature judged by the picture of a random direction."""
    nearest: NDArray[np.int64]
    """(sampled,) the image whose embedding is most like the icon's."""
    nearest_trips: RoundTrips
    """Each sampled feature judged by that image."""
    verdict: NDArray[np.str_]
    """(feature,) the least of all seeds."""
    seeds: NDArray[np.int32]
    """(feature,) in how many seeds it was rendered."""


def judge_all(
    job: Job, drawn: dict[str, list[pa.Table]], subjects: Subjects, natural: Natural
) -> Judged:
    """Return the round trip of every picture and of the baselines."""
    features, sample, n = subjects.features, subjects.sample, len(subjects.features)
    fired = collect(drawn["icons"], features)
    bare = collect(drawn["template"], features)
    on_template = np.zeros(n, np.float32)
    on_template[bare.feature] = bare.activation
    trips = judge(fired, on_template, natural, subjects.moved)
    swapped = judge(
        swap(fired, n), on_template, natural, subjects.moved[partners(n)] if n else subjects.moved
    )

    def of_sample(pictures: Fired) -> RoundTrips:
        return judge(pictures, on_template, natural, subjects.moved, sample, fired)

    replicates = {
        seed: of_sample(collect(drawn[f"seed-{seed}"], features))
        for seed in job.settings.replicate_seeds
    }
    verdict, seeds = trips.verdict.copy(), np.ones(n, np.int32)
    for replicate in replicates.values():
        verdict[sample] = worst(verdict[sample], replicate.verdict)
        seeds[sample] += 1
    nearest = nearest_images(job, subjects.wanted[sample])
    return Judged(
        fired=fired,
        bare=bare,
        on_template=on_template,
        trips=trips,
        swapped=swapped,
        replicates=replicates,
        random=of_sample(collect(drawn["random"], features)),
        nearest=nearest,
        nearest_trips=of_sample(_on_images(job, nearest, features)),
        verdict=verdict,
        seeds=seeds,
    )


def collect(tables: Sequence[pa.Table], features: NDArray[np.int64]) -> Fired:
    """Return what pictures activate among the drawn features, by place."""
    icon, feature, activation = [], [], []
    first = 0
    for table in tables:
        lists = table["fired"].combine_chunks()
        counts = np.diff(lists.offsets.to_numpy())
        icon.append(first + np.repeat(np.arange(len(table)), counts))
        feature.append(lists.values.to_numpy().astype(np.int64))
        activation.append(table["activation"].combine_chunks().values.to_numpy())
        first += len(table)
    return _among(
        np.concatenate([np.zeros(0, np.int64), *icon]),
        np.concatenate([np.zeros(0, np.int64), *feature]),
        np.concatenate([np.zeros(0, np.float32), *activation]),
        features,
    )


def _among(
    icon: NDArray[np.int64],
    feature: NDArray[np.int64],
    activation: NDArray[np.float32],
    features: NDArray[np.int64],
) -> Fired:
    drawn = np.isin(feature, features)
    return Fired(icon[drawn], np.searchsorted(features, feature[drawn]), activation[drawn])


def nearest_images(job: Job, wanted: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (wanted,) the image whose embedding has the largest cosine; ties go to the first."""
    best = np.full(len(wanted), -np.inf, np.float32)
    found = np.zeros(len(wanted), np.int64)
    directions = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    for first, block in read_embeddings(job.inputs["embed"]).blocks():
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        cosine = (block / lengths) @ directions.T
        row = cosine.argmax(axis=0) if len(wanted) else found
        value = np.take_along_axis(cosine, row[None], axis=0)[0]
        better = value > best
        best[better], found[better] = value[better], first + row[better]
    return found


def _on_images(job: Job, images: NDArray[np.int64], features: NDArray[np.int64]) -> Fired:
    """Return what real images activate, as if each were the icon in its place."""
    reader = ImageActivations(job.inputs["scan"])
    rows = [reader[int(image)] for image in images]
    counts = [len(row[0]) for row in rows]
    return _among(
        np.repeat(np.arange(len(rows)), counts),
        np.concatenate([np.zeros(0, np.int64), *(row[0] for row in rows)]),
        np.concatenate([np.zeros(0, np.float32), *(row[1] for row in rows)]).astype(np.float32),
        features,
    )


def _natural(job: Job, table: pa.Table, features: NDArray[np.int64]) -> Natural:
    firings = FeatureActivations(job.inputs["scan"])
    q99 = [np.quantile(firings[int(feature)][1], 0.99) for feature in features]
    median = table["median"].to_numpy()[features].astype(np.float32)
    return Natural(median, np.array(q99, np.float32))


def _percentiles(
    job: Job, features: NDArray[np.int64], activation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the share of each feature's own firings that its icon exceeds, 0 to 1."""
    firings = FeatureActivations(job.inputs["scan"])
    found = [
        float((firings[int(feature)][1] < own).mean())
        for feature, own in zip(features, activation, strict=True)
    ]
    return np.array(found, np.float32)


def _on_intended(sae: SAE, subjects: Subjects) -> NDArray[np.float32]:
    """Return each feature's activation on the embedding that its icon was to have."""
    encoder, found = make_encoder(sae), np.zeros(len(subjects.features), np.float32)
    for start in range(0, len(found), ENCODED_AT_ONCE):
        fired = encoder.fire(subjects.wanted[start : start + ENCODED_AT_ONCE])
        mine = fired.feature == subjects.features[start + fired.image]
        found[start + fired.image[mine]] = fired.activation[mine]
    return found


def _webps(tables: Sequence[pa.Table]) -> list[bytes]:
    return [webp for table in tables for webp in table["webp"].to_pylist()]


def _icon_table(
    job: Job,
    studio: Studio,
    subjects: Subjects,
    drawn: dict[str, list[pa.Table]],
    found: Judged,
) -> pa.Table:
    import pyarrow as pa

    trips = found.trips
    return pa.table(
        {
            "feature": pa.array(subjects.features, pa.int32()),
            "webp": pa.array(_webps(drawn["icons"]), pa.binary()),
            "strength": subjects.strengths,
            "moved": subjects.moved.astype(np.float32),
            "on_template": found.on_template,
            "on_intended": _on_intended(studio.sae, subjects),
            "on_icon": trips.activation,
            "percentile": _percentiles(job, subjects.features, trips.activation),
            "icon_rank": trips.rank.astype(np.int32),
            "p": trips.p,
            "passes": trips.passes,
            "seeds": found.seeds,
            "verdict": pa.array(found.verdict.tolist(), pa.string()),
        }
    )


def _replicate_table(
    subjects: Subjects, drawn: dict[str, list[pa.Table]], found: Judged
) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(
        {
            "feature": pa.int32(),
            "seed": pa.int32(),
            "webp": pa.binary(),
            "on_icon": pa.float32(),
            "icon_rank": pa.int32(),
            "p": pa.float64(),
            "verdict": pa.string(),
        }
    )
    parts = [
        pa.table(
            [
                pa.array(subjects.features[subjects.sample], pa.int32()),
                pa.array(np.full(len(subjects.sample), seed), pa.int32()),
                pa.array(_webps(drawn[f"seed-{seed}"]), pa.binary()),
                pa.array(trips.activation),
                pa.array(trips.rank, pa.int32()),
                pa.array(trips.p),
                pa.array(trips.verdict.tolist(), pa.string()),
            ],
            schema=schema,
        )
        for seed, trips in found.replicates.items()
    ]
    return pa.concat_tables([schema.empty_table(), *parts])


def side_effects(subjects: Subjects, found: Judged, natural: Natural) -> pa.Table:
    """Return for each icon the other features whose activation changed most against the template.

    The change is in units of the other feature's 99th percentile, so that features compare.
    """
    import pyarrow as pa

    on_template = found.on_template
    feature, rank, other, on_icon = [], [], [], []
    starts = np.searchsorted(found.fired.icon, np.arange(len(subjects.features) + 1))
    for place in range(len(subjects.features)):
        span = slice(*starts[place : place + 2])
        here = np.zeros(len(on_template), np.float32)
        here[found.fired.feature[span]] = found.fired.activation[span]
        change = (here - on_template) / natural.q99
        change[place] = 0
        order = np.argsort(-np.abs(change), kind="stable")[:SIDE_EFFECTS]
        order = order[change[order] != 0]
        feature.append(np.full(len(order), subjects.features[place]))
        rank.append(np.arange(len(order)))
        other.append(order)
        on_icon.append(here[order])
    places = np.concatenate([np.zeros(0, np.int64), *other])
    return pa.table(
        {
            "feature": pa.array(np.concatenate([np.zeros(0, np.int64), *feature]), pa.int32()),
            "rank": pa.array(np.concatenate([np.zeros(0, np.int64), *rank]), pa.int32()),
            "other": pa.array(subjects.features[places], pa.int32()),
            "on_icon": np.concatenate([np.zeros(0, np.float32), *on_icon]),
            "on_template": on_template[places],
        }
    )


def _strip_table(subjects: Subjects, drawn: dict[str, list[pa.Table]], found: Judged) -> pa.Table:
    import pyarrow as pa

    fired = collect(drawn["strips"], subjects.features)
    whose = np.repeat(subjects.strips, len(OTHER_GAINS))
    own = np.zeros(len(whose), np.float32)
    mine = fired.feature == whose[fired.icon]
    own[fired.icon[mine]] = fired.activation[mine]
    icons, others = _webps(drawn["icons"]), iter(zip(own, _webps(drawn["strips"]), strict=True))
    rows = []
    for place in subjects.strips:
        for step, gain in enumerate(GAINS):
            itself = (found.trips.activation[place], icons[place])
            on_icon, webp = itself if gain == 1 else next(others)
            rows.append(
                {
                    "feature": subjects.features[place],
                    "step": step,
                    "strength": subjects.strengths[place] * np.float32(gain),
                    "on_icon": on_icon,
                    "webp": webp,
                }
            )
    schema = pa.schema(
        {
            "feature": pa.int32(),
            "step": pa.int32(),
            "strength": pa.float32(),
            "on_icon": pa.float32(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def figures(job: Job, subjects: Subjects, found: Judged, look: Look | None) -> list[dict[str, Any]]:
    """Return the figures for the report, each beside its baseline."""
    n, m = len(subjects.features), len(subjects.sample)
    circular = "the same encoder conditions and judges: never proof that an icon shows its feature"
    swapped = "each feature judged by another one's icon"
    trips, others = found.trips, found.swapped
    rows: list[tuple[str, float, int, float, str, str]] = []
    if n:
        rows += [
            ("icons_round_trip_shown", (found.verdict == "shown").mean(), n,
             (others.verdict == "shown").mean(), swapped, circular),
            ("icons_feature_among_ten_strongest", (trips.rank <= MOST_RANK).mean(), n,
             (others.rank <= MOST_RANK).mean(), swapped, circular),
            ("icons_feature_fires", (trips.activation > 0).mean(), n,
             (others.activation > 0).mean(), swapped, circular),
        ]  # fmt: skip
    if m:
        strong = "as strong as the feature's median firing and among its picture's ten strongest"
        random = "pictures of random directions of the same length"
        rows += [
            ("icons_strong", trips.strong[subjects.sample].mean(), m,
             found.random.strong.mean(), random, strong),
            ("nearest_pictures_strong", found.nearest_trips.strong.mean(), m,
             found.random.strong.mean(), random,
             f"{strong}; the image nearest to the icon's embedding in the icon's place"),
            ("icons_shown_in_every_seed", (found.verdict[subjects.sample] == "shown").mean(), m,
             (others.verdict[subjects.sample] == "shown").mean(), swapped,
             f"{1 + len(found.replicates)} seeds"),
        ]  # fmt: skip
    if look is not None:
        asked = "a second encoder's features of icon and top images, cosine; it did not draw them"
        if job.settings.second_layer == "trunk":
            asked += "; its network is the first encoder's, without the trained last map"
        rows += [
            ("icons_two_choice", look.two_choice, m, look.null_two_choice,
             "icons handed round among the features",
             f"which of two icons belongs to one feature's top images: {asked}"),
            ("nearest_pictures_two_choice", look.nearest_two_choice, m, look.null_two_choice,
             "icons handed round among the features",
             f"the same with the nearest image in each icon's place: {asked}"),
            ("icons_auc", look.auc, m, look.null_auc, "icons handed round among the features",
             f"icon to its own against another feature's top images: {asked}"),
        ]  # fmt: skip
    return [
        {
            "name": name,
            "value": float(value),
            "unit": "share",
            "n": count,
            "null_value": float(null),
            "null_name": null_name,
            "command": COMMAND,
            "note": note,
        }
        for name, value, count, null, null_name, note in rows
    ]


def _say_strengths(job: Job, subjects: Subjects) -> None:
    """Print what the strength means for this SAE."""
    if not len(subjects.features):
        return
    norms = np.sort(
        read_parquet(job.inputs["scan"] / "images.parquet", ["norm"])["norm"].to_numpy()
    )
    lengths = np.linalg.norm(subjects.wanted, axis=1)
    place = np.searchsorted(norms, np.median(lengths)) / max(len(norms), 1)
    job.progress.say(
        f"  strength: median {np.median(subjects.strengths):.3g}, "
        f"{np.median(subjects.strengths / subjects.largest):.2g} times the largest activation; "
        f"adds a length of {np.median(subjects.moved):.3g}; the embedding's "
        f"{np.median(lengths):.3g} is longer than {place:.0%} of the images'"
    )
