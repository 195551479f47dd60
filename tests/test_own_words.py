"""From pictures and an encoder of two towers to names, search and coverage in any words."""

import json

import numpy as np
from building import atlas
from PIL import Image
from tiny_encoder import save_tiny_encoder


def test_a_two_tower_encoder_names_its_features_and_reads_free_text(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for n in range(60):
        levels = rng.integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(levels).resize((40, 40), Image.Resampling.NEAREST)
        picture.save(tmp_path / "photos" / f"{n}.png")
    encoder, words = save_tiny_encoder(tmp_path / "enc", 16, reads_words=True), tmp_path / "words"
    (tmp_path / "list.txt").write_text("\n".join(f"word{n}" for n in range(50)))
    status, out, err = atlas(
        "vocabulary", tmp_path / "list.txt", "--encoder", encoder, "--out", words
    )
    assert (status, err) == (0, [])
    assert out == [f"saved 50 words to {words}; set catalog.vocabulary to it"]
    built = tmp_path / "atlas"
    given = ("--pictures", tmp_path / "photos", "--encoder", encoder, "--out", built)
    status, _, err = atlas("build", *given, "embed")
    assert status == 0, err
    settings = [
        f'catalog.vocabulary="{words}"',
        "train.n_features=24",
        "train.steps=60",
        "embed.crops=0",
    ]
    changes = [word for setting in settings for word in ("--set", setting)]
    status, _, err = atlas("build", built / "atlas.toml", *changes)
    assert status == 0, err
    found = {}
    for text in ("word7", "a sentence that no list has"):
        status, out, err = atlas("search", text, "--atlas", built, "--json")
        assert status == 0, err
        found[text] = json.loads("\n".join(out))
        assert found[text][0]["why"] in ("meaning", "label", "prefix")
    (tmp_path / "wanted.txt").write_text("word1\nanother sentence\n")
    status, out, err = atlas("coverage", tmp_path / "wanted.txt", "--atlas", built, "--json")
    assert status == 0, err
    assert [row["verdict"] != "unknown" for row in json.loads("\n".join(out))] == [True, True]
