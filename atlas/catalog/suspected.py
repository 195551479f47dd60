"""Images that may be sensitive by what they show: near to phrases of the owner, by the encoder's text tower.

What a cosine means differs between encoders, so an image is compared with itself: a phrase is near
if the image is nearer to it than to almost all of some hundred ordinary words. An image that has
nothing to do with a phrase is above a share of 0.99 once in a hundred times: that is the null.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.base.files import read_parquet, write_parquet
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.run.stage import Job
from atlas.settings.paths import SUSPECTED, data_root

WORDS = "wordnet.txt"
ORDINARY = 512
"""The most frequent words of the list that comes along."""
PROMPT = "a photo of {}."


def find_suspects(job: Job) -> list[int]:
    """Write which images are near to a sensitive phrase and return them; none where no phrase is named.

    Raises:
        ConfigError: There are phrases, and no encoder to read them.
        InputError: The encoder has no text tower.
    """
    import pyarrow as pa

    phrases = list(job.settings.sensitive_phrases)
    if not phrases:
        return []
    if "text_encoder" not in job.inputs:
        raise ConfigError(
            "catalog.sensitive_phrases needs an encoder; name its folder in embed.encoder"
        )

    def write(path: Path) -> None:
        from atlas.inputs.text_tower import TextTower

        tower = TextTower(job.inputs["text_encoder"])
        near = tower.encode(phrases, [PROMPT])
        ordinary = tower.encode(ordinary_words(), [PROMPT])
        image, phrase, share = nearest_phrases(
            read_embeddings(job.inputs["embed"]), near, ordinary, job.settings.sensitive_share
        )
        columns = {"image": image, "phrase": phrase.astype(np.int32), "share": share}
        write_parquet(path, pa.table(columns))

    key = {
        "embed": job.digests["embed"],
        "text_encoder": job.digests["text_encoder"],
        "phrases": phrases,
        "share": job.settings.sensitive_share,
    }
    found = read_parquet(job.part("suspected", ".parquet", key, write))
    named = pa.array([phrases[i] for i in found["phrase"].to_pylist()], pa.string())
    at = found.column_names.index("phrase")
    write_parquet(job.out_dir / SUSPECTED, found.set_column(at, "phrase", named))
    n, chance = len(found), 1 - job.settings.sensitive_share
    job.progress.say(
        f"  sensitive by meaning: {n:,} images near one of {len(phrases)} phrases, withheld until decided "
        f"on (atlas review); by chance {chance:.1%} a phrase"
    )
    images: list[int] = found["image"].to_pylist()
    return images


def ordinary_words() -> list[str]:
    """Return the words that phrases are compared with."""
    text = (data_root("words") / WORDS).read_text(encoding="utf-8")
    words = [line for line in text.splitlines() if line and not line.startswith("#")]
    return words[:ORDINARY]


def nearest_phrases(
    embeddings: EmbeddingSet,
    phrases: NDArray[np.float32],
    ordinary: NDArray[np.float32],
    least: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the images that are near a phrase, the phrase, and the share of ordinary words it beats.

    Images and texts of two-tower models lie in separate cones; each are centered on their own mean.

    Args:
        embeddings: Of the images.
        phrases: (phrase, d) unit vectors.
        ordinary: (word, d) unit vectors.
        least: Share of the ordinary words, 0 to 1, that a phrase has to beat.
    """
    middle = ordinary.mean(axis=0, dtype=np.float64).astype(np.float32)
    texts = _unit(np.concatenate([phrases, ordinary]) - middle)
    total = np.zeros(embeddings.width)
    for _, block in embeddings.blocks():
        total += _unit(block).sum(axis=0, dtype=np.float64)
    center = (total / embeddings.rows).astype(np.float32)
    images, nearest, shares = [], [], []
    for first, block in embeddings.blocks():
        cosines = _unit(_unit(block) - center) @ texts.T
        near, others = cosines[:, : len(phrases)], cosines[:, len(phrases) :]
        beaten = np.stack(
            [(others < near[:, [i]]).mean(axis=1) for i in range(len(phrases))], axis=1
        )
        best = beaten.argmax(axis=1)
        share = beaten[np.arange(len(best)), best]
        rows = np.flatnonzero(share >= least)
        images.append(first + rows)
        nearest.append(best[rows])
        shares.append(share[rows])
    return (
        np.concatenate(images).astype(np.int64),
        np.concatenate(nearest),
        np.concatenate(shares).astype(np.float32),
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return found
