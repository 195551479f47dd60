"""An open_clip encoder with tiny random weights, saved to disk."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.inputs.encoder import ensure_torchvision

TOKENS = 2000


def save_tiny_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of Hugging Face's kind that knows some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "a", "photo", "of", "picture", "red", "apple", "cat", "."]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    return folder


def save_tiny_encoder(
    folder: Path,
    width: int,
    seed: int = 0,
    *,
    reads_words: bool = False,
    tokenizer: Path | None = None,
) -> Path:
    """Write an encoder of pictures of 32 px whose embeddings have a width.

    Its text tower reads CLIP's own tokens only if asked, since their table would make it large, or
    those of a tokenizer in a folder.
    """
    ensure_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "embed_dim": width,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "patch_size": 16,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 77 if reads_words else 2,
            "vocab_size": 49408 if reads_words else TOKENS if tokenizer else 3,
            **{"width": 8, "heads": 1, "layers": 1},
            **({"hf_tokenizer_name": str(tokenizer), "context_length": 16} if tokenizer else {}),
        },
    }
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    made, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", load_weights=False)
    with torch.no_grad():
        made.visual.proj *= 30  # planted features fire from 1 on
    weights = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    note = {"id": "tiny-random", "width": width, "normalized": False}
    (folder / "encoder.json").write_text(json.dumps(note))
    return folder
