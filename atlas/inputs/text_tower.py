"""An encoder's text tower: words and free text as vectors in the space of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_json, draft, read_json, write_json, write_text
from atlas.base.progress import Progress
from atlas.base.text import clean_text
from atlas.inputs.encoder import Encoder, load_encoder, read_encoder_note
from atlas.inputs.image_table import open_text
from atlas.inputs.vocabulary import CENTER, FACTS, VECTORS, WORDS

TEMPLATES = ("a photo of {}.", "a picture of {}.", "{}")
"""Prompts that a word is put into; its vector is the mean over them (Radford et al. 2021, section 3.1.4)."""
FEWEST_TOKENS = 1000
"""A tower of a smaller vocabulary stands for none: it can't read words."""
WORDS_PER_BATCH = 256
WORDS_PER_PART = 4096
"""Words that are kept together: a run that was stopped goes on after the last part."""
PARTS = ".parts"


def has_text_tower(folder: Path) -> bool:
    """Return whether an encoder's configuration has a text tower that reads words."""
    path = folder / "open_clip_config.json"
    if not path.exists():
        return False
    text = read_json(path).get("model_cfg", {}).get("text_cfg") or {}
    if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
        return True
    return int(text.get("vocab_size", 49408)) >= FEWEST_TOKENS


class TextTower:
    """The text tower of an encoder, ready to run."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Open it.

        Raises:
            MissingError: A package or the encoder is missing.
            InputError: The encoder has no text tower, or its tokenizer can't be had.
        """
        if not has_text_tower(folder):
            raise InputError(
                f"the encoder in {folder} has no text tower that reads words; "
                "name a vocabulary made for it in catalog.vocabulary"
            )
        self._encoder: Encoder = load_encoder(folder, device=device)
        import open_clip

        try:
            self._tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the tokenizer of the encoder in {folder} can't be had: {reason}; "
                "fetch the encoder again with its tokenizer"
            ) from error

    def encode(
        self, texts: Sequence[str], templates: Sequence[str] = TEMPLATES
    ) -> NDArray[np.float32]:
        """Return (text, d) unit vectors, each the mean over the templates.

        Raises:
            InputError: A vector is not finite.
        """
        total = np.zeros((len(texts), self._encoder.width), np.float32)
        for template in templates:
            prompts = [template.replace("{}", text) for text in texts]
            total += np.concatenate(
                [
                    self._embed(prompts[start : start + WORDS_PER_BATCH])
                    for start in range(0, len(prompts), WORDS_PER_BATCH)
                ]
            )
        lengths = np.linalg.norm(total, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            bad = int(np.argmin((np.isfinite(lengths) & (lengths > 0)).ravel()))
            raise InputError(f"{texts[bad]!r} has no finite vector; drop the word")
        unit: NDArray[np.float32] = total / lengths
        return unit

    def _embed(self, prompts: list[str]) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            tokens = self._tokenize(prompts).to(self._encoder.device)
            found = self._encoder.model.encode_text(tokens, normalize=True)
        vectors: NDArray[np.float32] = found.float().cpu().numpy()
        return vectors


def read_words(path: Path) -> list[str]:
    """Return the words of a text file, one a line, in lower case, each once, in its order.

    Raises:
        InputError: It holds none.
    """
    with open_text(path) as file:
        words = [" ".join(clean_text(line).lower().split()) for line in file]
    found = [word for word in dict.fromkeys(words) if word and not word.startswith("#")]
    if not found:
        raise InputError(f"{path} holds no word; write one a line")
    return found


def make_vocabulary(
    words_file: Path,
    encoder: Path,
    out: Path,
    *,
    templates: Sequence[str] = TEMPLATES,
    device: str = "cpu",
    progress: Progress,
) -> int:
    """Write the folder of a vocabulary: words, their vectors, the center, how it was made.

    Text and image vectors of two-tower models lie in two separate cones; both are centered. A run
    that was stopped goes on where it was.

    Returns:
        How many words it has.

    Raises:
        ConfigError: A template lacks {}, or the folder holds another vocabulary.
        InputError: There is no word, or the encoder has no text tower.
    """
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"template {template!r} has no {{}} for the word; write one in it")
    words = read_words(words_file)
    note = read_encoder_note(encoder)
    facts = {
        "words": len(words),
        "width": note["width"],
        "encoder": note["id"],
        "templates": list(templates),
        "source": words_file.name,
        "center": "mean vector of the words",
        "text_tower": True,
    }
    if (out / WORDS).exists():
        raise ConfigError(f"{out} holds a vocabulary already; name another folder")
    parts = out / PARTS
    key = digest_json([facts, hashlib.sha256("\n".join(words).encode()).hexdigest()])[:16]
    tower: TextTower | None = None
    progress.start("words", total=len(words), unit="words")
    for start in range(0, len(words), WORDS_PER_PART):
        path, some = parts / f"{key}-{start}.npy", words[start : start + WORDS_PER_PART]
        if not path.exists():
            tower = tower or TextTower(encoder, device=device)
            vectors = tower.encode(some, templates)
            with draft(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, vectors)
        progress.advance(len(some))
    progress.stop()
    paths = [parts / f"{key}-{start}.npy" for start in range(0, len(words), WORDS_PER_PART)]
    _write(out, words, np.concatenate([np.load(path) for path in paths]), facts)
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    return len(words)


def _write(out: Path, words: list[str], unit: NDArray[np.float32], facts: dict[str, Any]) -> None:
    center = unit.mean(axis=0, dtype=np.float64).astype(np.float32)
    vectors = unit - center
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for name, array in ((VECTORS, vectors.astype(np.float16)), (CENTER, center)):
        with draft(out / name) as path, path.open("wb") as file:
            np.save(file, array)
    write_json(out / FACTS, facts)
    write_text(out / WORDS, "\n".join(words) + "\n")  # last: a folder without it is unfinished
