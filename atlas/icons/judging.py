"""Round trips of all drawn icons, with what random directions and the nearest real pictures give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.icons.roundtrip import IconFirings, Natural, RoundTrips, judge, partners, swap, worst
from atlas.icons.subjects import Subjects
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations, ImageActivations
from atlas.sae.encoding import make_encoder
from atlas.sae.model import SAE

if TYPE_CHECKING:
    import pyarrow as pa

ENCODED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Judged:
    """What the re-encoded pictures tell."""

    fired: IconFirings
    """What the icons activate."""
    bare: IconFirings
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

    def of_sample(pictures: IconFirings) -> RoundTrips:
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


def collect(tables: Sequence[pa.Table], features: NDArray[np.int64]) -> IconFirings:
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
) -> IconFirings:
    drawn = np.isin(feature, features)
    return IconFirings(icon[drawn], np.searchsorted(features, feature[drawn]), activation[drawn])


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


def _on_images(job: Job, images: NDArray[np.int64], features: NDArray[np.int64]) -> IconFirings:
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


def natural_activations(job: Job, table: pa.Table, features: NDArray[np.int64]) -> Natural:
    """Return how features fire on the scanned images: median and 99th percentile."""
    firings = FeatureActivations(job.inputs["scan"])
    q99 = [np.quantile(firings[int(feature)][1], 0.99) for feature in features]
    median = table["median"].to_numpy()[features].astype(np.float32)
    return Natural(median, np.array(q99, np.float32))


def percentiles(
    job: Job, features: NDArray[np.int64], activation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the share of each feature's own firings that its icon exceeds, 0 to 1."""
    firings = FeatureActivations(job.inputs["scan"])
    found = [
        float((firings[int(feature)][1] < own).mean())
        for feature, own in zip(features, activation, strict=True)
    ]
    return np.array(found, np.float32)


def on_intended(sae: SAE, subjects: Subjects) -> NDArray[np.float32]:
    """Return each feature's activation on the embedding that its icon was to have."""
    encoder, found = make_encoder(sae), np.zeros(len(subjects.features), np.float32)
    for start in range(0, len(found), ENCODED_AT_ONCE):
        fired = encoder.fire(subjects.wanted[start : start + ENCODED_AT_ONCE])
        mine = fired.feature == subjects.features[start + fired.image]
        found[start + fired.image[mine]] = fired.activation[mine]
    return found
