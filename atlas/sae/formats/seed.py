"""The published SAE (gytdau/sae-clip-2): one .pth of four tensors, float16 or float32, tied or untied.

relu(W x + b) on raw embeddings, with no bias subtracted; decoder weights lie as (dimension,
feature).
"""

from __future__ import annotations

from atlas.sae.formats.weights import Found, finish, make_weights, told_activation, told_input
from atlas.sae.model import SAE, Activation

KEYS = ("enc_bias", "encoder.weight", "dec_bias", "decoder.weight")
READS = "`enc_bias`, `encoder.weight`, `dec_bias`, `decoder.weight` in one .pth, .pt or .safetensors; float16 or float32, any size; ReLU on raw embeddings"
REFUSES = "nothing of its own"


def is_seed(found: Found) -> bool:
    """Return whether the file holds the four tensors."""
    return found.has(*KEYS)


def read_seed(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: A tensor is missing or has the wrong shape.
    """
    weights = make_weights(
        found,
        found.take("encoder.weight"),
        found.take("enc_bias"),
        found.take("decoder.weight").T.copy(),
        found.take("dec_bias"),
        subtracts=bool(found.settings.pre_bias),
    )
    width = weights.W_enc.shape[1]
    activation = told_activation(found, weights, Activation("relu"))
    return finish(found, weights, activation, told_input(found, width))
