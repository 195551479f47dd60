"""What runs on a card against the processor's answer, small and of real size: make gpu."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_part import compare, part_of
from planted import exact_sae

from tests.benchmarks.synthetic import make_sae, make_world

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no card"),
]


@pytest.mark.parametrize("screen", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "jumprelu", "batchtopk"])
def test_a_small_scan_on_the_card_writes_the_processors_part(tmp_path, kind, screen):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, kind, n_features=90, width=8)
    x = (rng.integers(-8, 9, (280, 8)) / 4).astype(np.float16)
    x[~x.any(axis=1)] = 1
    compare(
        part_of(tmp_path, sae, x, screen, card="cuda"),
        part_of(tmp_path, sae, x, screen),
    )


def test_a_scan_of_real_size_on_the_card_writes_the_processors_part(tmp_path):
    world = make_world(81_920)
    sae, x = make_sae(world), world.images(4096, 1000)
    compare(
        part_of(tmp_path, sae, x, "bf16", card="cuda"),
        part_of(tmp_path, sae, x, "float32"),
    )
