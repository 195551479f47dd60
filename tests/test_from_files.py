"""Every kind of input that docs/your-data.md names, from files on disk to a site that passes its check."""

import io
import json
import re
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import atlas
from PIL import Image
from tiny_encoder import save_tiny_encoder

from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE

WIDTH, PICTURES = 12, 24
WORDS = ("red boat", "old map", "green apple", "tin robot")


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A tiny encoder, and an SAE of which some features fire on its embeddings."""
    folder = tmp_path_factory.mktemp("tools")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, WIDTH)).astype(np.float32)
    zeros = np.zeros(WIDTH, np.float32)
    sae = SAE(W_enc=weights, b_enc=zeros[:1].repeat(20), W_dec=weights, b_dec=zeros, b_pre=zeros)
    write_own(folder / "sae", sae)
    return save_tiny_encoder(folder / "encoder", WIDTH), folder / "sae"


def levels(n):
    return np.random.default_rng(n).integers(0, 256, (5, 6, 3), np.uint8)


def picture(n, mode="RGB"):
    """A picture of its number, in a mode; those with an alpha channel are half transparent."""
    whole = Image.fromarray(levels(n)).resize((48, 40), Image.Resampling.NEAREST)
    if mode in ("RGBA", "LA"):
        whole = whole.convert(mode)
        whole.putalpha(Image.linear_gradient("L").resize(whole.size))
    return whole.convert(mode) if whole.mode != mode else whole


def encoded(n, mode="RGB", kind="JPEG"):
    data = io.BytesIO()
    picture(n, mode).save(data, kind)
    return data.getvalue()


def caption(n):
    return f"a {WORDS[n % len(WORDS)]}"


def mixed_folder(root):
    """PNG, JPEG, WebP and GIF in every mode that people have, with captions beside and in a table."""
    root.mkdir()
    kinds = [("PNG", m) for m in ("RGB", "RGBA", "L", "LA", "P", "1")]
    kinds += [("JPEG", m) for m in ("RGB", "L", "CMYK")] + [("WEBP", "RGBA"), ("GIF", "P")]
    for n in range(PICTURES):
        kind, mode = kinds[n % len(kinds)]
        (root / f"{n}.{kind.lower()}").write_bytes(encoded(n, mode, kind))
        (root / f"{n}.txt").write_text(caption(n))
    sixteen = np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16)
    Image.fromarray(sixteen).save(root / "deep.png")
    return {"pictures": root}


def tars(root):
    root.mkdir()
    for shard in range(2):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as archive:
            for n in range(shard, PICTURES, 2):
                members = ((".jpg", encoded(n)), (".txt", caption(n).encode()),
                           (".json", json.dumps({"url": f"https://x.example/{n}.jpg"}).encode()))  # fmt: skip
                for suffix, data in members:
                    member = tarfile.TarInfo(f"{shard:05d}{n:04d}{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return {"pictures": root}


def hugging_face(root):
    root.mkdir()
    table = {
        "image": [{"bytes": encoded(n), "path": None} for n in range(PICTURES)],
        "text": [caption(n) for n in range(PICTURES)],
    }
    pq.write_table(pa.table(table), root / "train-00000-of-00001.parquet")
    return {"pictures": root}


def vectors():
    rows = np.random.default_rng(0).normal(size=(PICTURES, WIDTH))
    return rows.astype(np.float16)


def clip_retrieval(root):
    (root / "img_emb").mkdir(parents=True)
    (root / "metadata").mkdir()
    for shard in range(2):
        mine = range(shard * PICTURES // 2, (shard + 1) * PICTURES // 2)
        np.save(root / f"img_emb/img_emb_{shard}.npy", vectors()[mine.start : mine.stop])
        facts = {
            "caption": [caption(n) for n in mine],
            "url": [f"https://x.example/{n}.jpg" for n in mine],
        }
        pq.write_table(pa.table(facts), root / f"metadata/metadata_{shard}.parquet")
    return {"vectors": root / "img_emb/*.npy", "images": root / "metadata"}


def embedding_table(root):
    root.mkdir()
    table = {"embedding": list(vectors()), "caption": [caption(n) for n in range(PICTURES)]}
    pq.write_table(pa.table(table), root / "part-0.parquet")
    return {"vectors": root / "*.parquet"}


def vectors_beside_tars(root):
    return clip_retrieval(root / "emb") | tars(root / "tars")


@pytest.mark.parametrize(
    ("make", "site", "shown"),
    [
        (mixed_folder, {"layout": "pages", "pictures": "files"}, "thumbnails"),
        (tars, {"layout": "groups", "pictures": "sheets"}, "thumbnails"),
        (hugging_face, {"layout": "pages", "pictures": "sheets"}, "thumbnails"),
        (clip_retrieval, {"layout": "groups", "pictures": "files"}, "links"),
        (embedding_table, {"layout": "pages", "pictures": "sheets"}, "none"),
        (vectors_beside_tars, {"layout": "pages", "pictures": "files"}, "thumbnails"),
    ],
)
def test_from_files_to_a_checked_site(make, site, shown, tools, tmp_path):
    encoder, sae = tools
    root = tmp_path / "in"
    if make is vectors_beside_tars:
        root.mkdir()
    embed = {**make(root), "encoder": encoder}
    lines = ["[embed]", *(f'{key} = "{value}"' for key, value in embed.items())]
    lines += ["[sae]", f'path = "{sae}"', "[concepts]", "examples = 3"]
    lines += ["[site]", *(f'{key} = "{value}"' for key, value in site.items())]
    (tmp_path / "atlas.toml").write_text('out_dir = "out"\n' + "\n".join(lines) + "\n")
    status, _, err = atlas("build", tmp_path / "atlas.toml")
    assert status == 0, err
    assert not any(
        re.search(r"(?<!DOES NOT FIT )(Traceback|DeprecationWarning|UserWarning)", line)
        for line in err
    )
    built = tmp_path / "out" / "site"
    status, out, err = atlas("check", built)
    assert (status, err) == (0, []), out
    pages = "".join(path.read_text() for path in built.rglob("*.html"))
    assert ('class="source"' in pages) == (shown == "links")
    pictured = (built / "thumb").exists() or (built / "sheet").exists()
    assert pictured == (shown == "thumbnails")
    assert any(words in pages for words in WORDS)
    if make is mixed_folder:
        table = pq.read_table(tmp_path / "out/embed/images.parquet")
        assert len(table) == PICTURES + 1
