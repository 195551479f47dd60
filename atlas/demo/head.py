"""Step head: a linear head from the frozen image network to a space shared with text.

Locked towers, trained heads (LiT): images and captions of the training split are pulled
together, ImageNet's class names are put where the network's own classifier sees them, and an
image softened (step softened) is pulled to the same image sharp.
The export is an open_clip folder; the sentence model stays outside, only words' vectors ship.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional as F

from atlas.base.files import draft, read_parquet, write_json
from atlas.demo import softened, trunk
from atlas.demo.places import CACHE, ENCODER, IMAGES
from atlas.demo.words import encode_texts
from atlas.inputs.encoder import ensure_torchvision

WIDTH = 256
SENTENCE_WIDTH = 384
STEPS = 300
BATCH = 1024
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
TEMPERATURE = 0.1
TEACHER_TEMPERATURE = 2.0
TEACHER_WEIGHT = 1.0
FEATURE_NOISE = 0.3
LIKENESS_WEIGHT = 2.0
"""Of how far an image softened lies from itself sharp, against the contrast of image and text."""
LIKENESS_CONTRAST_WEIGHT = 1.0
"""Of telling an image's softened self from others': likeness alone leaves a third of the dimensions."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Heads:
    """The two linear maps into the joint space."""

    image: NDArray[np.float32]
    """(d, 1280)."""
    image_bias: NDArray[np.float32]
    """(d,)."""
    text: NDArray[np.float32]
    """(d, 384)."""
    text_bias: NDArray[np.float32]
    """(d,)."""


def run() -> None:
    """Train the heads, keep the text one in the cache, and write the encoder's folder."""
    heads = train(trunk.read_features(), softened.read_features(), texts_of_images())
    with draft(CACHE / "heads.npz") as path, path.open("wb") as file:
        np.savez(
            file,
            image=heads.image,
            image_bias=heads.image_bias,
            text=heads.text,
            text_bias=heads.text_bias,
        )
    export(heads)


def read_heads() -> Heads:
    """Return the heads as last trained."""
    with np.load(CACHE / "heads.npz") as held:
        return Heads(held["image"], held["image_bias"], held["text"], held["text_bias"])


def texts_of_images() -> list[str]:
    """Return each image's caption, with the tags of what it shows where it shows one thing."""
    rows = read_parquet(IMAGES, ["caption", "tags", "terms"]).to_pylist()
    return [
        f"{row['caption']}, {', '.join(row['tags'])}"
        if len(row["terms"]) == 1 and row["tags"]
        else row["caption"]
        for row in rows
    ]


def train(
    features: NDArray[np.float32], soft_features: NDArray[np.float32], texts: list[str]
) -> Heads:
    """Return heads trained on the images of the training split.

    Args:
        features: (image, 1280) of the frozen network.
        soft_features: (image, 1280) of the same images softened.
        texts: A text for each image.
    """
    table = read_parquet(IMAGES, ["split", "caption"])
    rows = np.flatnonzero(np.array(table["split"].to_pylist()) == "train")
    mean, std = features[rows].mean(axis=0), features[rows].std(axis=0) + 1e-3
    x, soft = (torch.from_numpy((f[rows] - mean) / std) for f in (features, soft_features))
    captions = table["caption"].to_pylist()
    long, short = (torch.from_numpy(encode_texts(t)[rows]) for t in (texts, captions))
    classes = torch.from_numpy(encode_texts(class_names()))
    teacher = _teacher(features[rows])
    torch.manual_seed(SEED)
    image = torch.nn.Linear(x.shape[1], WIDTH)
    text = torch.nn.Linear(SENTENCE_WIDTH, WIDTH)
    optimizer = torch.optim.AdamW(
        [*image.parameters(), *text.parameters()], LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, pct_start=0.1)
    random = torch.Generator().manual_seed(SEED)
    for step in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,), generator=random)
        noise = FEATURE_NOISE * torch.randn(BATCH, x.shape[1], generator=random)
        which, softly = (torch.rand(BATCH, 1, generator=random) < 0.5 for _ in range(2))
        both = image(x[chosen] + noise), image(soft[chosen] + noise)
        seen = F.normalize(torch.where(softly, both[1], both[0]), dim=1)
        read = F.normalize(text(torch.where(which, long[chosen], short[chosen])), dim=1)
        loss = (
            _contrast(seen, read, chosen)
            + TEACHER_WEIGHT * _distill(seen, F.normalize(text(classes), dim=1), teacher[chosen])
            + _unlikeness(*both, chosen)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(f"head: step {step}, loss {loss.item():.3f}", flush=True)
    return _fold(image, text, mean, std)


def _contrast(seen: torch.Tensor, read: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the symmetric contrastive loss; an image drawn twice is no negative of itself."""
    scores = seen @ read.T / TEMPERATURE
    same = (chosen[:, None] == chosen[None]) & ~torch.eye(len(chosen), dtype=torch.bool)
    scores = scores.masked_fill(same, -torch.inf)
    wanted = torch.arange(len(seen))
    return (F.cross_entropy(scores, wanted) + F.cross_entropy(scores.T, wanted)) / 2


def _distill(seen: torch.Tensor, names: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    scores = F.log_softmax(seen @ names.T / TEMPERATURE, dim=1)
    return F.kl_div(scores, teacher, reduction="batchmean")


def _unlikeness(sharp: torch.Tensor, soft: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return how far images softened lie from themselves sharp, and how easily they are mistaken."""
    center = sharp.mean(dim=0).detach()
    sharp, soft = sharp - center, soft - center
    off = (sharp - soft).square().sum() / sharp.square().sum()
    turned = 1 - F.cosine_similarity(sharp, soft, dim=1).mean()
    mistaken = _contrast(F.normalize(sharp, dim=1), F.normalize(soft, dim=1), chosen)
    return LIKENESS_WEIGHT * (off + turned) + LIKENESS_CONTRAST_WEIGHT * mistaken


def _teacher(features: NDArray[np.float32]) -> torch.Tensor:
    """Return the classifier's own softened probabilities (image, 1000)."""
    weights = trunk.weights()
    logits = (
        torch.from_numpy(features) @ weights["classifier.weight"].T + weights["classifier.bias"]
    )
    return F.softmax(logits / TEACHER_TEMPERATURE, dim=1)


def class_names() -> list[str]:
    """Return ImageNet's 1,000 class names, first synonym only, in the classifier's order."""
    ensure_torchvision()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return [str(info.index_to_description(index)).split(",")[0] for index in range(1000)]


def _fold(
    image: torch.nn.Linear,
    text: torch.nn.Linear,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> Heads:
    """Return the heads with the features' standardization folded into the image head."""
    weight = image.weight.detach().numpy() / std
    bias = image.bias.detach().numpy() - weight @ mean
    return Heads(
        weight.astype(np.float32),
        bias.astype(np.float32),
        text.weight.detach().numpy(),
        text.bias.detach().numpy(),
    )


def embed_features(heads: Heads, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return raw joint embeddings (image, d) of the frozen network's features."""
    found: NDArray[np.float32] = features @ heads.image.T + heads.image_bias
    return found


def embed_texts(heads: Heads, texts: list[str]) -> NDArray[np.float32]:
    """Return unit joint vectors (text, d)."""
    raw = encode_texts(texts) @ heads.text.T + heads.text_bias
    found: NDArray[np.float32] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return found


MODEL_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": trunk.IMAGE_PX,
            "timm_model_name": trunk.ARCHITECTURE,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
        },
        # open_clip wants a text tower. This one is untrained and never used: see encoder.json.
        "text_cfg": {"context_length": 2, "vocab_size": 3, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [trunk.MEAN] * 3,
        "std": [trunk.STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def export(heads: Heads) -> None:
    """Write the encoder as an open_clip folder: configuration, half-precision weights, note."""
    ensure_torchvision()
    import open_clip

    ENCODER.mkdir(parents=True, exist_ok=True)
    with draft(ENCODER / "open_clip_config.json") as path:
        path.write_text(json.dumps(MODEL_CONFIG, indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(SEED)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{ENCODER}", load_weights=False)
    state = model.state_dict()
    for name, tensor in trunk.weights().items():
        if f"visual.trunk.{name}" in state:
            state[f"visual.trunk.{name}"] = tensor
    state["visual.head.proj.weight"] = torch.from_numpy(heads.image)
    state["visual.head.proj.bias"] = torch.from_numpy(heads.image_bias)
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    with draft(ENCODER / "open_clip_model.safetensors") as path:
        save_file(half, path)
    write_json(ENCODER / "encoder.json", note())


def note() -> dict[str, Any]:
    """Return what is recorded of the encoder."""
    return {
        "id": "atlas-demo-lite0-256",
        "width": WIDTH,
        "normalized": False,
        "library": "open_clip",
        "image_px": trunk.IMAGE_PX,
        "preprocessing": "(value - 127) / 128, square, padded on white, bicubic",
        "tower": "EfficientNet-Lite0, ImageNet weights, frozen",
        "head": f"linear, trained here on the training split, sharp and softened; {STEPS} steps of {BATCH}",
        "text": "none at run time: the folder vocabulary holds words' vectors; the text tower in the weights is untrained",
        "license": "Apache-2.0",
    }
