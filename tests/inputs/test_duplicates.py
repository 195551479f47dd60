from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.inputs.duplicates import find_twins
from atlas.inputs.embeddings import EmbeddingSet, Shard


def as_set(folder, x, n_shards=2):
    shards, first = [], 0
    for number, rows in enumerate(np.array_split(x, n_shards)):
        path = folder / f"{number}.npy"
        np.save(path, rows)
        shards.append(Shard(f"{number}", path, len(rows), first, ""))
        first += len(rows)
    return EmbeddingSet(x.shape[1], len(x), {}, False, tuple(shards))


def obvious(x, cosine):
    """The lowest image, itself no repetition, that each is as alike as this; one after another."""
    y = x.astype(np.float64) - x.astype(np.float64).mean(axis=0).astype(np.float32)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    original = np.arange(len(x))
    for image in range(len(x)):
        near = np.flatnonzero(
            (y[:image] @ y[image] >= cosine) & (original[:image] == np.arange(image))
        )
        if len(near):
            original[image] = near[0]
    return original


@given(seed=st.integers(0, 1000), copies=st.integers(0, 30))
def test_copies_are_found_whatever_the_shards(tmp_path_factory, seed, copies):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 24)).astype(np.float32)
    for target in rng.permutation(60)[:copies]:
        x[target] = x[rng.integers(60)]
    folder = tmp_path_factory.mktemp("copies")
    found = find_twins(as_set(folder, x, 3), (), 0.98)
    assert np.array_equal(found.original, obvious(x, 0.98))
    assert found.count == int((found.original != np.arange(60)).sum())
    assert found.firsts == (0, 20, 40)


@pytest.mark.parametrize("cosine", [0.985, 0.995])
def test_near_copies_among_many_are_found_and_nothing_else(tmp_path, cosine):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(4000, 64)).astype(np.float32)
    noise = rng.normal(size=(400, 64)).astype(np.float32)
    noise -= (
        (noise * base[:400]).sum(1, keepdims=True)
        / (base[:400] ** 2).sum(1, keepdims=True)
        * base[:400]
    )
    noise *= np.linalg.norm(base[:400], axis=1, keepdims=True) / np.linalg.norm(
        noise, axis=1, keepdims=True
    )
    near = base[:400] + noise * np.tan(np.arccos(cosine))
    x = np.concatenate([base, near]).astype(np.float32)
    found = find_twins(as_set(tmp_path, x), (), 0.98)
    true = obvious(x, 0.98)
    marked = found.original != np.arange(len(x))
    assert np.array_equal(found.original[marked], true[marked])
    assert marked[4000:].mean() > 0.97


def test_a_chain_of_alike_images_is_not_taken_for_one(tmp_path):
    angles = np.arange(12) * 0.15
    x = np.zeros((12 + 40, 8), np.float32)
    x[:12, 0], x[:12, 1] = np.cos(angles), np.sin(angles)
    x[12:] = np.random.default_rng(0).normal(size=(40, 8))
    x -= x.mean(axis=0)
    found = find_twins(as_set(tmp_path, x), (), 0.98)
    assert np.array_equal(found.original[:12], obvious(x, 0.98)[:12])
    assert len(set(found.original[:12].tolist())) > 3


def test_a_single_image_repeats_none(tmp_path):
    found = find_twins(as_set(tmp_path, np.ones((1, 4), np.float32), 1), (), 0.98)
    assert found.original.tolist() == [0]
