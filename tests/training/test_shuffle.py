"""The order of training images: seeded, whole, and never more in memory than a buffer."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.base.errors import InputError
from atlas.inputs.embeddings import EmbeddingSet, Shard
from atlas.training.shuffle import Shuffled


def write_set(folder: Path, *parts: np.ndarray) -> EmbeddingSet:
    shards, first = [], 0
    for number, part in enumerate(parts):
        path = folder / f"{number:04d}.npy"
        np.save(path, part)
        shards.append(Shard(path.stem, path, len(part), first, ""))
        first += len(part)
    return EmbeddingSet(parts[0].shape[1], first, {}, False, tuple(shards))


def numbered(folder: Path, n: int, n_shards: int = 3) -> EmbeddingSet:
    """A set whose row i holds i + 1."""
    rows = np.arange(1, n + 1, dtype=np.float32)[:, None].repeat(2, axis=1)
    return write_set(folder, *np.array_split(rows, n_shards))


def images_of(batch: torch.Tensor) -> list[int]:
    return (batch[:, 0].long() - 1).tolist()


@pytest.mark.parametrize("buffer_images", [1, 7, 40, 99, 100, 1000])
def test_every_pass_shows_each_chosen_image_once(tmp_path, buffer_images):
    chosen = np.arange(100) % 4 != 3
    shuffled = Shuffled(numbered(tmp_path, 100), chosen, buffer_images)
    shown = [image for step in range(30) for image in images_of(shuffled.batch(step, 10))]
    passes = [shown[start : start + 75] for start in range(0, 300, 75)]
    for one in passes:
        assert sorted(one) == np.flatnonzero(chosen).tolist()
    assert len({tuple(one) for one in passes}) == 4


def test_a_batch_may_be_larger_than_the_set(tmp_path):
    shuffled = Shuffled(numbered(tmp_path, 10), np.ones(10, bool), 4)
    assert sorted(images_of(shuffled.batch(0, 30))) == sorted(list(range(10)) * 3)


@pytest.mark.parametrize("buffer_images", [33, 1000])
def test_a_batch_follows_from_its_step_alone(tmp_path, buffer_images):
    embeddings, chosen = numbered(tmp_path, 200), np.ones(200, bool)
    run = Shuffled(embeddings, chosen, buffer_images, seed=3)
    for step in range(40):
        batch, buffer = run.batch(step, 16), run.buffer()
        if step in (0, 11, 12, 13, 39):
            other = Shuffled(embeddings, chosen, buffer_images, seed=3)
            assert torch.equal(other.batch(step, 16), batch)
            assert torch.equal(other.buffer(), buffer)
    assert not torch.equal(Shuffled(embeddings, chosen, buffer_images).batch(39, 16), batch)


def test_a_set_that_fits_is_shuffled_as_a_whole(tmp_path):
    shuffled = Shuffled(numbered(tmp_path, 50), np.ones(50, bool), 50, seed=2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2 * 1_000_003 + 1))
    assert images_of(shuffled.batch(0, 50)) == order.tolist()


def test_a_buffer_mixes_stretches_from_the_whole_set(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.training.shuffle.STRETCH_ROWS", 10)
    shuffled = Shuffled(numbered(tmp_path, 1000, 1), np.ones(1000, bool), 200)
    firsts = {tuple(sorted(images_of(shuffled.batch(step, 200)))) for step in (0, 5, 10)}
    assert len(firsts) == 3
    assert all(max(one) - min(one) > 500 for one in firsts)


def test_blocks_are_all_chosen_images_in_their_own_order(tmp_path):
    shuffled = Shuffled(numbered(tmp_path, 100), np.arange(100) >= 5, 30)
    shuffled.batch(3, 8)
    blocks = list(shuffled.blocks())
    assert all(len(block) <= 30 for block in blocks)
    assert np.concatenate(blocks)[:, 0].tolist() == list(range(6, 101))
    assert Shuffled(numbered(tmp_path, 4), np.zeros(4, bool), 30).read_all().shape == (0, 2)


def test_shards_of_both_kinds_lose_nothing(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    halves = rows[:20].astype(np.float16)
    embeddings = write_set(tmp_path, halves, np.asfortranarray(rows[20:]))
    found = Shuffled(embeddings, np.ones(40, bool), 100).read_all()
    assert np.array_equal(found[:20], halves.astype(np.float32))
    assert np.array_equal(found[20:], rows[20:])


def test_memory_does_not_grow_with_the_set(tmp_path):
    peaks = {}
    for n in (4096, 65_536):
        (tmp_path / str(n)).mkdir()
        rows = np.ones((n, 64), np.float16)
        embeddings = write_set(tmp_path / str(n), *np.array_split(rows, 4))
        shuffled = Shuffled(embeddings, np.ones(n, bool), 2048)
        del rows
        tracemalloc.start()
        for step in range(0, n // 512, 3):
            shuffled.batch(step, 512)
        for _ in shuffled.blocks():
            pass
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[65_536] < 1.2 * peaks[4096], peaks


def test_a_row_that_is_no_number_is_told_whenever_it_is_read(tmp_path):
    rows = np.ones((2000, 2), np.float32)
    rows[1500, 1] = np.nan
    shuffled = Shuffled(write_set(tmp_path, rows), np.ones(2000, bool), 500)
    with pytest.raises(InputError, match=r"0000\.npy: row 1500 has nan in column 1"):
        list(shuffled.blocks())


def test_a_shard_that_shrank_is_told(tmp_path):
    embeddings = numbered(tmp_path, 100)
    shuffled = Shuffled(embeddings, np.ones(100, bool), 10)
    np.save(embeddings.shards[1].path, np.ones((5, 2), np.float32))
    with pytest.raises(InputError, match="has 5 rows, expected 33"):
        list(shuffled.blocks())
