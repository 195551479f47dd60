"""Features found again in SAEs of other seeds, on directions where the answer is known."""

from __future__ import annotations

import numpy as np

from atlas.study.replicates import count_seen, read_directions


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_direction_is_found_wherever_it_stands_and_however_long_it_is(tmp_path):
    ours = unit(np.random.default_rng(0).standard_normal((40, 64)))
    turned = np.where(np.arange(40)[:, None] < 25, 3 * ours, -ours)[::-1].copy()
    np.save(tmp_path / "other.npy", turned)
    seen = count_seen(ours, [ours, read_directions(tmp_path / "other.npy", 64)])
    assert seen.tolist() == [2] * 25 + [1] * 15


def test_what_is_only_near_or_belongs_to_another_feature_is_not_found():
    x, y, z = np.eye(3, dtype=np.float32)
    far = unit(np.stack([x + 1.1 * y, z]))  # cosine 0.67 to x
    assert count_seen(np.stack([x, z]), [far]).tolist() == [0, 1]
    rival = unit(np.stack([x, x + 0.1 * y]))  # both like x best; it likes the first
    assert count_seen(rival, [np.stack([x, z])]).tolist() == [1, 0]
