"""Planted atlases: an SAE and embeddings whose answers follow from sets, not from arithmetic.

Each image turns some dimensions on (1 to 2, in quarters) and all others off (-4). Each feature
reads two dimensions and fires where both are on; its activation is a power of two times their
sum. So every number is exact in float16, ties abound, and which images fire a feature needs no
matrix product to know. Features 2i and 2i + 1 are twins: their decoders are each other's
nearest. Everything says that it is synthetic.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from atlas.base.files import digest_file, write_json
from atlas.base.progress import Progress
from atlas.inputs import embed
from atlas.run.stage import Job
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE, Activation
from atlas.settings.load import load_config
from atlas.settings.outside import outside_files
from atlas.settings.runtime import Runtime
from atlas.settings.sae import TrainSettings

OFF = -4.0
LEVELS = np.array([1.0, 1.25, 1.5, 1.75, 2.0])
GLYPHS = 48
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "a long caption " * 60,
    "",
    'say "it\'s" & <b>bold</b> {{ 7 * 7 }} {% raw %} `tick` \\',
    '=HYPERLINK("https://example.org","click")',
    "bell \x07 escape \x1b[31m tab \t newline \n return \r delete \x7f end",
    "--><!-- ]]> %00 ../../etc/passwd 'OR 1=1;--",
    "\U0001f469\u200d\U0001f680 e\u0301 \ufeff \u2028 \ufffd",
)
"""Captions of the first images."""
KINDS = ("relu", "topk", "jumprelu", "batchtopk")
"""Activations of atlas.sae.model."""

QUICK = TrainSettings(
    n_features=64,
    steps=240,
    batch_images=64,
    learning_rate=5e-3,
    warmup_steps=20,
    decay_steps=50,
    l1=1e-4,
    l1_warmup_steps=20,
    resample_steps=(100,),
)
"""A training of a second."""


@dataclass(frozen=True)
class Planted:
    """A planted atlas's inputs on disk, and its answers."""

    folder: Path
    sae: SAE
    x: NDArray[np.float16]
    """(image, dimension) embeddings."""
    pairs: NDArray[np.int64]
    """(feature, 2) the dimensions that it reads."""
    gain: NDArray[np.float64]
    """(feature,) what their sum is multiplied by."""
    dead: NDArray[np.bool_]
    """(feature,) never fires, by its bias."""

    def activations(self, first: int = 0, last: int | None = None) -> NDArray[np.float64]:
        """Return the (image, feature) activations of some images, from sets of dimensions."""
        x = self.x[first:last].astype(np.float64)
        on = x > 0
        left, right = self.pairs.T
        fires = on[:, left] & on[:, right] & ~self.dead
        return np.where(fires, self.gain * (x[:, left] + x[:, right]), 0.0)


def plant(
    folder: Path,
    *,
    n_features: int = 96,
    width: int = 32,
    n_images: int = 300,
    n_shards: int = 3,
    l0: float = 8.0,
    dead_share: float = 0.1,
    seed: int = 0,
) -> Planted:
    """Write atlas.toml and all that it names, and return the answers.

    Args:
        folder: Written to; vectors/, images.parquet, pictures.parquet, sae/, atlas.toml.
        n_features: At most width * (width - 1) / 2, and even.
        width: Dimensions.
        n_images: Images, some of them exact copies of others.
        n_shards: Files that the vectors are cut into.
        l0: About how many features fire on an image.
        dead_share: Share of features that never fire.
        seed: Seed of everything.
    """
    rng = np.random.default_rng(seed)
    pairs = _pairs(rng, n_features, width)
    gain = 2.0 ** rng.integers(-2, 3, n_features)
    dead = np.zeros(n_features, bool)
    dead[rng.permutation(n_features)[: int(dead_share * n_features)]] = True
    x = _embeddings(rng, n_images, width, l0 * (width * (width - 1) / 2) / n_features)
    sae = _sae(pairs, gain, dead, width, x)
    planted = Planted(folder, sae, x, pairs, gain, dead)
    folder.mkdir(parents=True, exist_ok=True)
    _write_vectors(folder / "vectors", x, n_shards)
    pq.write_table(image_table(x), folder / "images.parquet")
    pq.write_table(_pictures(rng, n_images), folder / "pictures.parquet")
    write_own(folder / "sae", sae)
    (folder / "atlas.toml").write_text(_toml(), encoding="utf-8")
    return planted


def _pairs(rng: np.random.Generator, n_features: int, width: int) -> NDArray[np.int64]:
    every = width * (width - 1) // 2
    assert n_features <= every, f"{n_features} features need more than {width} dimensions"
    chosen = np.sort(rng.choice(every, n_features, replace=False))
    left, right = np.triu_indices(width, 1)
    return rng.permutation(np.stack([left[chosen], right[chosen]], axis=1))


def _embeddings(
    rng: np.random.Generator, n_images: int, width: int, pairs_on: float
) -> NDArray[np.float16]:
    """Return embeddings with about so many pairs of dimensions on; each tenth is a copy."""
    n_on = min(max(2, round(0.5 + np.sqrt(0.25 + 2 * pairs_on))), width)
    x = np.full((n_images, width), OFF, np.float16)
    # Low dimensions are on more often, so that features differ in how often they fire.
    odds = 1.0 / (1 + np.arange(width)) ** 0.4
    odds /= odds.sum()
    for row in range(n_images):
        on = rng.choice(width, n_on, replace=False, p=odds)
        x[row, on] = rng.choice(LEVELS, n_on)
    x[9::10] = x[rng.integers(0, n_images, len(x[9::10]))]
    return x


def _sae(
    pairs: NDArray[np.int64],
    gain: NDArray[np.float64],
    dead: NDArray[np.bool_],
    width: int,
    x: NDArray[np.float16],
) -> SAE:
    n_features = len(pairs)
    rows = np.arange(n_features)
    encoder = np.zeros((n_features, width), np.float32)
    encoder[rows, pairs[:, 0]] = gain
    encoder[rows, pairs[:, 1]] = gain
    decoder = np.zeros((n_features, width), np.float32)
    first = rows - rows % 2
    for side in (0, 1):
        # Twins share the first one's direction; a sixteenth tells the second apart.
        decoder[rows, pairs[first, side]] += 0.5
        np.add.at(decoder, (rows[1::2], pairs[1::2, side]), 0.0625)
    decoder[1::2] *= 0.5
    return SAE(
        W_enc=encoder,
        b_enc=np.where(dead, -1000.0, 0.0).astype(np.float32),
        W_dec=decoder,
        b_dec=x.astype(np.float64).mean(axis=0).astype(np.float32),
        b_pre=np.zeros(width, np.float32),
        provenance={"name": "planted", "synthetic": True},
    )


def _write_vectors(folder: Path, x: NDArray[np.float16], n_shards: int) -> None:
    folder.mkdir(exist_ok=True)
    for number, rows in enumerate(np.array_split(x, n_shards)):
        np.save(folder / f"{number:04d}.npy", rows)


def image_table(x: NDArray[np.float16]) -> pa.Table:
    """Return the images' names, captions and the rest, hostile captions first."""
    n_images = len(x)
    terms = [[f"shape {d}" for d in np.flatnonzero(row > 0)[:4]] for row in x]
    captions = [", ".join(words) for words in terms]
    captions[: len(HOSTILE)] = HOSTILE[:n_images]
    split = ["held_out" if image % 4 == 3 else "train" for image in range(n_images)]
    return pa.table(
        {
            "name": [f"planted-{image:06d}" for image in range(n_images)],
            "caption": captions,
            "url": pa.array(
                ["javascript:alert(1)" if image == 0 else None for image in range(n_images)],
                pa.string(),
            ),
            "tags": [words[:2] for words in terms],
            "terms": terms,
            "split": split,
            "sensitive": [image % 50 == 7 for image in range(n_images)],
        }
    )


def _pictures(rng: np.random.Generator, n_images: int) -> pa.Table:
    glyphs = [_glyph(rng) for _ in range(min(GLYPHS, n_images))]
    return pa.table({"webp": pa.array([glyphs[i % len(glyphs)] for i in range(n_images)])})


def _glyph(rng: np.random.Generator) -> bytes:
    """Return a 96 px WebP: one colored shape on white."""
    picture = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(picture)
    color = tuple(int(level) for level in rng.integers(40, 220, 3))
    left, top = (int(edge) for edge in rng.integers(6, 30, 2))
    right, bottom = (int(edge) for edge in rng.integers(60, 92, 2))
    shape = int(rng.integers(3))
    if shape == 0:
        draw.ellipse((left, top, right, bottom), fill=color)
    elif shape == 1:
        draw.rectangle((left, top, right, bottom), fill=color)
    else:
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=color)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=80, method=0)
    return data.getvalue()


def _toml() -> str:
    return """out_dir = "build"

[embed]
vectors = "vectors/*.npy"
images = "images.parquet"
pictures = "pictures.parquet"

[sae]
path = "sae"

[concepts]
examples = 12

[catalog]
title = "SYNTHETIC planted atlas"
note = "Synthetic data with known answers, for tests. No figure here is a finding."
synthetic = true
"""


def write_embed(planted: Planted, folder: Path) -> Path:
    """Write what the embed stage would leave of a planted atlas, without pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    first = 0
    for path in sorted((planted.folder / "vectors").glob("*.npy")):
        rows = len(np.load(path, mmap_mode="r", allow_pickle=False))
        shards.append(
            {
                "name": path.stem,
                "path": str(path.resolve()),
                "rows": rows,
                "first_image": first,
                "sha256": digest_file(path),
            }
        )
        first += rows
    width = planted.x.shape[1]
    index = {"width": width, "rows": first, "encoder": {}, "normalized": False, "shards": shards}
    write_json(folder / "embeddings.json", index)
    table = pq.read_table(planted.folder / "images.parquet")
    table = table.add_column(0, "image", pa.array(np.arange(first, dtype=np.int64)))
    table = table.append_column("duplicate_of", pa.nulls(first, pa.int64()))
    pq.write_table(table, folder / "images.parquet")
    return folder


def make_job(
    name: str, settings: Any, inputs: dict[str, Path], out_dir: Path, **runtime: Any
) -> Job:
    """Return a job as the stage runner would give it, with nothing published before."""
    out_dir.mkdir(parents=True, exist_ok=True)
    return Job(
        name=name,
        version=1,
        settings=settings,
        runtime=Runtime(**runtime),
        inputs=inputs,
        files={},
        digests=dict.fromkeys(inputs, "0" * 64),
        out_dir=out_dir,
        published_dir=out_dir.parent / "published" / name,
        published_home=out_dir,
        progress=Progress(silent=True),
    )


def run_embed(root: Path, out: Path, **settings: object) -> Path:
    """Run the embed stage on what a configuration in root names; return its folder."""
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    (root / "atlas.toml").write_text("[embed]\n" + "\n".join(lines) + "\n")
    config = load_config(root / "atlas.toml")
    named = {key: value for key, value in outside_files(config).items() if key != "templates"}
    job = make_job("embed", config.embed, {name: place for name, (place, _) in named.items()}, out)
    files = {name: found for name, (_, found) in named.items()}
    digests = {name: tuple(digest_file(p) for p in paths) for name, paths in files.items()}
    embed.run(replace(job, files=files, file_digests=digests))
    return out


def exact_sae(rng: np.random.Generator, kind: str, n_features: int = 7, width: int = 4) -> SAE:
    """Return an SAE of quarters, so that every float32 sum is exact and ties are common."""

    def quarters(*shape: int) -> np.ndarray:
        return (rng.integers(-8, 9, shape) / 4).astype(np.float32)

    threshold = np.abs(quarters(n_features)) if kind in ("jumprelu", "batchtopk") else None
    return SAE(
        W_enc=quarters(n_features, width),
        b_enc=quarters(n_features),
        W_dec=np.where((w := quarters(n_features, width)).any(1, keepdims=True), w, 1).astype("f4"),
        b_dec=quarters(width),
        b_pre=quarters(width),
        activation=Activation(kind, 2 if kind == "topk" else None, threshold),
    )


def oracle(sae: SAE, x: np.ndarray) -> np.ndarray:
    """Return activations the obvious way: dense, in float64, one image at a time."""
    z = (x.astype(np.float64) - sae.b_pre) @ sae.W_enc.T.astype(np.float64) + sae.b_enc
    if sae.activation.kind == "topk":
        for row in z:
            best = sorted(range(len(row)), key=lambda j: (-row[j], j))[: sae.activation.k]
            row[[j for j in range(len(row)) if j not in best]] = 0
    elif sae.activation.threshold is not None:
        z = np.where(z > sae.activation.threshold, z, 0)
    return np.maximum(z, 0)


@dataclass(frozen=True)
class PlantedKin:
    """An atlas whose families are known: which feature is whose duplicate, parent, antipode."""

    folder: Path
    x: NDArray[np.float16]
    """(image, dimension)."""
    duplicates: set[tuple[int, int]]
    parents: set[tuple[int, int]]
    """(child, parent)."""
    antipodes: set[tuple[int, int]]
    family: NDArray[np.int64]
    """(feature,) which decoder bundle it is of."""


KIN_DIMENSIONS = 5
"""Of each family: two that its parent reads, one more a child, and one of a lone feature."""


def plant_kin(folder: Path, n_families: int = 6, n_images: int = 3000, seed: int = 0) -> PlantedKin:
    """Write atlas.toml and all that it names for families known beforehand.

    Of each family feature 0 fires where two dimensions are on; 1 and 2 where a third one is
    too, so they are its children; 3 is a copy of 0 at twice the gain; 4 reads a dimension
    of its own and points away from these four. Dimensions are on at random, each by itself.
    """
    rng = np.random.default_rng(seed)
    width = n_families * KIN_DIMENSIONS
    odds = np.tile([0.45, 0.45, 0.15, 0.15, 0.1], n_families)
    x = np.where(rng.random((n_images, width)) < odds, rng.choice(LEVELS, (n_images, width)), OFF)
    x = x.astype(np.float16)
    x[~(x > 0).any(axis=1), 0] = 1.0
    reads = [(0, 1), (0, 1, 2), (0, 1, 3), (0, 1), (4,)]
    points = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 0, 0],
                       [-1, -1, 0, 0, 0.5]], np.float32)  # fmt: skip
    n_features = n_families * len(reads)
    encoder = np.zeros((n_features, width), np.float32)
    decoder = np.zeros((n_features, width), np.float32)
    for feature in range(n_features):
        first, kind = feature // len(reads) * KIN_DIMENSIONS, feature % len(reads)
        encoder[feature, [first + d for d in reads[kind]]] = 2.0 if kind == 3 else 1.0
        decoder[feature, first : first + KIN_DIMENSIONS] = points[kind]
    sae = SAE(
        W_enc=encoder,
        b_enc=np.zeros(n_features, np.float32),
        W_dec=decoder,
        b_dec=np.zeros(width, np.float32),
        b_pre=np.zeros(width, np.float32),
        provenance={"name": "planted kin", "synthetic": True},
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write_vectors(folder / "vectors", x, 2)
    pq.write_table(image_table(x), folder / "images.parquet")
    pq.write_table(_pictures(rng, n_images), folder / "pictures.parquet")
    write_own(folder / "sae", sae)
    (folder / "atlas.toml").write_text(_toml(), encoding="utf-8")
    heads = range(0, n_features, len(reads))
    return PlantedKin(
        folder,
        x,
        {pair for f in heads for pair in ((f, f + 3), (f + 3, f))},
        {(f + child, f + parent) for f in heads for child in (1, 2) for parent in (0, 3)},
        {(f + 4, f) for f in heads} | {(f + kind, f + 4) for f in heads for kind in range(4)},
        np.repeat(np.arange(n_families), len(reads)),
    )
