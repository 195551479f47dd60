"""clipscope: a .pt with n_features, d_in, k and model_state_dict.

The k largest (x - pre_b) W, without an encoder bias; pre_b is added again.
"""

from __future__ import annotations

import numpy as np

from atlas.sae.formats.weights import Found, finish, make_weights, told_input
from atlas.sae.model import SAE, Activation

PREFIX = "model_state_dict."
READS = "TopKSAE, with its k; as `activation` relu where `k` is not in the file"
REFUSES = "nothing of its own; of the k largest those below 0 are dropped, which its library would keep: they matter only where fewer than k are above 0"


def is_clipscope(found: Found) -> bool:
    """Return whether it has clipscope's tensors."""
    return found.has(f"{PREFIX}pre_b", f"{PREFIX}enc", f"{PREFIX}dec")


def read_clipscope(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: A tensor has the wrong shape, or k is no number.
    """
    decoder = found.take(f"{PREFIX}dec")
    encoder = found.take(f"{PREFIX}enc")
    weights = make_weights(
        found,
        encoder.T.copy(),
        np.zeros(len(decoder), np.float32),
        decoder,
        found.take(f"{PREFIX}pre_b"),
        subtracts=True,
    )
    k = found.settings.k if found.settings.k is not None else found.stored.values.get("k")
    activation = Activation("relu") if k is None else Activation("topk", found.whole("k", k))
    return finish(found, weights, activation, told_input(found, weights.W_enc.shape[1]))
