"""Step towers: the demo's encoder, a small image network trained on the pictures with a head for texts.

EfficientNet-Lite0 with ImageNet's weights, its first stages kept, is trained on through a head of
192 dimensions, so that an image lies near the texts of each thing it shows (term, tags, groups,
colors): a sigmoid loss over every pair of image and text, as in SigLIP. The sentence model is
frozen; a linear map brings its vectors into the same space. Some images are softened, as the demo's
decoder would draw them. One run sees all pictures and ships, one sees the training split only: by
that one is told what the recipe makes of pictures never seen.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from atlas.base.files import draft
from atlas.demo import movq, trunk
from atlas.demo.lessons import Batch, Lessons, draw_batch, read_lessons
from atlas.demo.places import CACHE
from atlas.demo.softened import soften
from atlas.demo.words import encode_texts

POOLS = ("all", "train")
WIDTH = 192
SENTENCE_WIDTH = 384
IMAGE_PX = 96
STEPS = 2000
BATCH = 96
LEARNING_RATES = (1e-3, 2e-3)
"""Of the network, and of the heads on it."""
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.02
KEPT = ("conv_stem", "bn1", "blocks.0", "blocks.1")
"""Stages whose weights stay ImageNet's."""
FIRST_SCALE, FIRST_BIAS = 15.0, -8.0
"""Of the cosines in the loss, before training."""
RAREST_SHARE = 0.002
"""Added to a text's share, so that the weight of the rarest is bounded."""
NORM_WEIGHT = 1e-6
SOFTENED_SHARE = 0.25
CHECKPOINT_STEPS = 100
SEED = 1


class Towers(torch.nn.Module):
    """The image network, its head, and the map from sentence vectors.

    The network stays in evaluation mode: its norms keep ImageNet's statistics.
    """

    def __init__(self) -> None:
        """Start from ImageNet's weights and heads at random."""
        super().__init__()
        torch.manual_seed(SEED)
        self.trunk = trunk.load_trunk()
        self.image_head = torch.nn.Linear(1280, WIDTH)
        self.text_head = torch.nn.Linear(SENTENCE_WIDTH, WIDTH)
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        self.bias = torch.nn.Parameter(torch.tensor(FIRST_BIAS))
        for name, weight in self.trunk.named_parameters():
            weight.requires_grad_(not name.startswith(KEPT))
        for module in self.trunk.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.requires_grad_(requires_grad=False)

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return raw embeddings (image, d) of normalized pixels (image, 3, px, px)."""
        found: torch.Tensor = self.image_head(self.trunk(pixels))
        return found

    def embed_texts(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return unit vectors (text, d) of centered sentence vectors (text, 384)."""
        return F.normalize(self.text_head(vectors), dim=1)


def run(device: str = "cpu") -> None:
    """Train both runs, resuming from the cache."""
    for pool in POOLS:
        train(pool, device)


def train(pool: str, device: str = "cpu") -> None:
    """Train on a pool of pictures to the last step, with a checkpoint now and then."""
    if device == "cpu":
        torch.set_num_threads(1)
    lessons, softener = read_lessons(pool), movq.read()
    vectors = sentence_vectors(lessons.texts).to(device)
    towers = Towers().to(device)
    towers.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own
    optimizer = _optimizer(towers)
    step = _restore(pool, towers, optimizer)
    recent: list[float] = []
    while step < STEPS:
        random = np.random.default_rng([SEED, step])
        batch = soften_some(draw_batch(lessons, random, BATCH, IMAGE_PX), softener, random)
        for group, rate in zip(optimizer.param_groups, LEARNING_RATES, strict=True):
            group["lr"] = rate * movq.schedule(step, STEPS, WARMUP_STEPS)
        loss = _loss(towers, batch, vectors, lessons)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        torch.nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimizer.step()
        step += 1
        recent.append(float(loss.detach()))
        if step % CHECKPOINT_STEPS == 0 or step == STEPS:
            print(f"towers {pool}: step {step} of {STEPS}, loss {np.mean(recent):.3f}", flush=True)
            recent.clear()
            _save(pool, towers, optimizer, step)


def sentence_vectors(texts: list[str]) -> torch.Tensor:
    """Return the sentence model's vectors (text, 384), centered on the mean of the lessons' texts."""
    return torch.from_numpy(encode_texts(texts) - text_center())


def text_center() -> NDArray[np.float32]:
    """Return the mean (384,) of the sentence vectors of every lesson's text."""
    found: NDArray[np.float32] = encode_texts(read_lessons("all").texts).mean(axis=0)
    return found


def normalize(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return pixels (image, px, px, 3) as the network reads them, (image, 3, px, px)."""
    x = torch.from_numpy((pixels.astype(np.float32) / 255 - trunk.MEAN) / trunk.STD)
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def soften_some(batch: Batch, softener: Any, random: np.random.Generator) -> Batch:
    """Return the batch with its first images as the decoder's autoencoder gives them back."""
    n_soft = int(SOFTENED_SHARE * len(batch.pixels))
    soft = soften(softener, batch.pixels[:n_soft], random)
    return Batch(np.concatenate([soft, batch.pixels[n_soft:]]), batch.asked, batch.holds)


def _loss(towers: Towers, batch: Batch, vectors: torch.Tensor, lessons: Lessons) -> torch.Tensor:
    """Return the sigmoid loss of every image with every text asked about, rare texts weighing more."""
    device = vectors.device
    seen = towers.embed_images(normalize(batch.pixels).to(device))
    read = towers.embed_texts(vectors[torch.from_numpy(batch.asked).to(device)])
    logits = towers.log_scale.exp() * F.normalize(seen, dim=1) @ read.T + towers.bias
    share = torch.from_numpy(lessons.share[batch.asked]).to(device)
    weight = 1 / (share + RAREST_SHARE).sqrt()
    holds = batch.holds.to(device)
    each = F.binary_cross_entropy_with_logits(logits, holds, reduction="none")
    loss = (each * (weight / weight.mean())).sum() / holds.sum()
    return loss + NORM_WEIGHT * seen.square().sum(dim=1).mean()


def _optimizer(towers: Towers) -> torch.optim.Optimizer:
    trunk_weights = [weight for weight in towers.trunk.parameters() if weight.requires_grad]
    heads = [
        *towers.image_head.parameters(),
        *towers.text_head.parameters(),
        towers.log_scale,
        towers.bias,
    ]
    groups = [{"params": weights} for weights in (trunk_weights, heads)]
    return torch.optim.AdamW(groups, LEARNING_RATES[0], weight_decay=WEIGHT_DECAY)


def read(pool: str) -> Towers:
    """Return the towers of a pool as far as they are trained."""
    towers = Towers()
    towers.load_state_dict(torch.load(state_path(pool), weights_only=True)["towers"])
    return towers.eval()


def state_path(pool: str) -> Path:
    """Return where a run's checkpoint is kept."""
    return CACHE / f"towers-{pool}.pt"


def _save(pool: str, towers: Towers, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"towers": towers.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with draft(state_path(pool)) as path:
        torch.save(state, path)


def _restore(pool: str, towers: Towers, optimizer: torch.optim.Optimizer) -> int:
    if not state_path(pool).exists():
        return 0
    state = torch.load(state_path(pool), weights_only=True)
    towers.load_state_dict(state["towers"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
