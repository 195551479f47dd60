"""Sensitive by meaning: images near to phrases, through the real encoder class with tiny random weights."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from building import atlas, built_stages
from planted import plant
from tiny_encoder import save_tiny_encoder

from atlas.catalog.suspected import ORDINARY, PROMPT, nearest_phrases, ordinary_words
from atlas.inputs.embeddings import read_embeddings
from atlas.inputs.text_tower import TextTower

PHRASES = ("a naked person", "<b>blood</b>")
SET = (
    "--set",
    f"catalog.sensitive_phrases={list(PHRASES)!r}",
    "--set",
    "catalog.sensitive_share=0.97",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suspected")
    plant(folder)
    save_tiny_encoder(folder / "encoder", 32, reads_words=True)
    toml = folder / "atlas.toml"
    toml.write_text(toml.read_text().replace("[embed]\n", '[embed]\nencoder = "encoder"\n'))
    built_stages(folder)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "atlas")


def by_hand(folder, least):
    """Image -> (phrase, share), one image at a time in float64."""
    vectors = read_embeddings(folder / "build/embed").read_all().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors -= vectors.mean(axis=0)
    tower = TextTower(folder / "encoder")
    ordinary = tower.encode(ordinary_words(), [PROMPT]).astype(np.float64)
    middle = ordinary.mean(axis=0)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    phrases = [v - middle for v in tower.encode(PHRASES, [PROMPT]).astype(np.float64)]
    found = {}
    for image, vector in enumerate(vectors):
        null = [cosine(vector, word - middle) for word in ordinary]
        shares = [np.mean([n < cosine(vector, v) for n in null]) for v in phrases]
        if max(shares) >= least:
            found[image] = (PHRASES[int(np.argmax(shares))], max(shares))
    return found


def sensitive(folder):
    rows = pq.read_table(folder / "build/catalog/parquet/images.parquet").to_pydict()
    return {i for i, hidden in zip(rows["image"], rows["sensitive"], strict=True) if hidden}


def test_images_near_a_phrase_are_withheld_until_the_owner_decides(copy):
    before = sensitive(copy)
    assert not (copy / "build/catalog/suspected.parquet").exists()  # off by default
    expected = by_hand(copy, 0.97)
    assert 0 < len(expected) < 200
    assert built_stages(copy, *SET) == ["catalog", "site"]
    rows = pq.read_table(copy / "build/catalog/suspected.parquet").to_pylist()
    assert [row["image"] for row in rows] == sorted(expected)
    for row in rows:
        phrase, share = expected[row["image"]]
        assert (row["phrase"], row["share"]) == (phrase, pytest.approx(share, abs=2 / ORDINARY))
    assert sensitive(copy) == before | set(expected)

    status, out, _ = atlas("review", copy / "atlas.toml", *SET)
    assert (status, out[0]) == (0, f"asked: {len(expected.keys() - before)}")
    page = (copy / "build/review/index.html").read_text()
    assert "of ordinary words" in page
    assert "<b>" not in page

    image = min(expected.keys() - before)
    (copy / "review.csv").write_text(f"image,key,decision\n{image},,show\n")
    review = ("--set", f"catalog.review={copy / 'review.csv'}")
    assert built_stages(copy, *SET, *review) == ["catalog", "site"]
    assert sensitive(copy) == (before | set(expected)) - {image}


def test_phrases_without_an_encoder_are_one_line(tmp_path):
    plant(tmp_path)
    status, _, err = atlas("build", tmp_path / "atlas.toml", *SET)
    assert status == 1
    assert err[-1] == (
        "atlas: catalog.sensitive_phrases needs an encoder; name its folder in embed.encoder"
    )


def test_what_has_nothing_to_do_with_a_phrase_is_near_it_as_often_as_the_null_says():
    random = np.random.default_rng(0)
    rows = random.standard_normal((4000, 32)).astype(np.float32)

    class Embeddings:
        width = 32
        rows = 4000

        def blocks(self):
            yield 0, rows[:1000]
            yield 1000, rows[1000:]

    texts = random.standard_normal((ORDINARY + 1, 32)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    images, _, shares = nearest_phrases(Embeddings(), texts[:1], texts[1:], 0.95)
    assert len(images) / 4000 == pytest.approx(0.05, abs=0.015)
    assert shares.min() >= 0.95
    assert len(
        nearest_phrases(Embeddings(), rows[7:8], texts[1:], 1)[0]
    )  # an image's own direction
