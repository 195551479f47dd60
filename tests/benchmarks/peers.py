"""What two other libraries' own code takes for their part of a scan, on a slice of features.

SAEDashboard: what FeatureDataGenerator and SaeVisRunner do for each batch of features with the
data alone: its encoder under FeatureMaskingContext, FeatureStatistics, ActsHistogramData, and the
indices of SequenceDataGenerator. Left out: correlations, logits, the sequences' text, HTML.
saev: all of get_topk_img, from a data set in memory.

Both get an SAE that has the slice alone, so that what they do once for all features, or copy of
all weights, is not counted against them. Both walk feature by feature or hold a dense matrix of
images x features, so the whole takes in proportion to the features.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from sae_dashboard.components import ActsHistogramData
from sae_dashboard.components_config import SequencesConfig
from sae_dashboard.feature_data_generator import FeatureMaskingContext
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sequence_data_generator import SequenceDataGenerator
from sae_dashboard.utils_fns import FeatureStatistics
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from saev import config as saev_config
from saev import nn as saev_nn
from saev import visuals

from atlas.sae.model import SAE

TOKENS = 128
"""SAEDashboard's data are prompts of tokens; so many images stand in for a prompt."""
TOP_IMAGES = 64


def saedashboard(sae: SAE, x: np.ndarray) -> np.ndarray:
    """Return each feature's largest activation, as SAEDashboard finds it among all it finds."""
    n_features, width = sae.W_enc.shape
    other = StandardSAE(StandardSAEConfig(d_in=width, d_sae=n_features, apply_b_dec_to_input=False))
    other.W_enc.data = torch.from_numpy(sae.W_enc.T.copy())
    other.b_enc.data = torch.from_numpy(sae.b_enc)
    other.W_dec.data = torch.from_numpy(sae.W_dec)
    cfg = SaeVisConfig(hook_point="", features=range(n_features))
    prompts = torch.from_numpy(x.astype(np.float32)).view(-1, TOKENS, width)
    tokens = torch.zeros(prompts.shape[:2], dtype=torch.long)
    cfg.feature_centric_layout.seq_cfg = SequencesConfig(buffer=None)
    sequences = SequenceDataGenerator(cfg=cfg, tokens=tokens, W_U=torch.zeros(1))
    found = []
    with torch.inference_mode():
        for features in torch.arange(n_features).split(cfg.minibatch_size_features):
            acts = []
            for part in prompts.split(cfg.minibatch_size_tokens):
                with FeatureMaskingContext(other, features.tolist()):
                    acts.append(other.encode(part))
            whole = torch.cat(acts, dim=0)
            stats = FeatureStatistics.create(
                data=whole.permute(2, 0, 1).reshape(len(features), -1),
                batch_size=cfg.quantile_feature_batch_size,
            )
            found += stats.max
            for place in range(len(features)):
                mine = whole[..., place]
                ActsHistogramData.from_data(mine[mine > 0], 50, "5 ticks", "")
                sequences.get_indices_dict(sequences.buffer, mine)
    return np.array(found, np.float32)


class _Images(torch.utils.data.Dataset):
    """What saev's own data set gives, from memory."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = torch.from_numpy(x.astype(np.float32))

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, image: int) -> dict[str, object]:
        return {"act": self._x[image], "image_i": image}


def saev(sae: SAE, x: np.ndarray) -> np.ndarray:
    """Return (feature, TOP_IMAGES) the largest activations, as saev finds them.

    Its SAE has some whole number of features for each dimension, so the slice must, too.
    """
    n_features, width = sae.W_enc.shape
    assert n_features % width == 0, (n_features, width)
    other = saev_nn.SparseAutoencoder(
        saev_config.SparseAutoencoder(d_vit=width, exp_factor=n_features // width)
    )
    other.W_enc.data = torch.from_numpy(sae.W_enc.T.copy())
    other.b_enc.data = torch.from_numpy(sae.b_enc + sae.W_enc @ sae.b_dec)  # it takes b_dec off x
    other.W_dec.data, other.b_dec.data = torch.from_numpy(sae.W_dec), torch.from_numpy(sae.b_dec)
    cfg = saev_config.Visuals(
        data=saev_config.DataLoad(patches="cls"),
        sort_by="img",
        top_k=TOP_IMAGES,
        device="cpu",
        n_workers=0,
    )
    with (
        mock.patch.object(saev_nn, "load", return_value=other),
        mock.patch.object(visuals.activations, "Dataset", return_value=_Images(x)),
    ):
        return visuals.get_topk_img(cfg).top_values.numpy()
