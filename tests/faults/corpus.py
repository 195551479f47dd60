"""Hostile text for every field of an atlas, a planted atlas that is full of it, and what must come of it: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from planted import plant

TEXTS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    '"><svg onload=alert(4)>',
    "' autofocus onfocus=alert(5) x='",
    "` onmouseover=alert(6) `",
    "javascript:alert(7)",
    "JaVaScRiPt&colon;alert(8)",
    "data:text/html,<script>alert(9)</script>",
    "{{ 7*7 }}{% raw %}${alert(10)}",
    "</title><x-hostile>title",
    "</textarea></style><x-hostile>",
    "--><x-hostile><!--",
    "]]><x-hostile/><![CDATA[",
    "&lt;x-hostile&gt; &#60;x-hostile&#62;",
    "\\u003cx-hostile\\u003e \\x3cx-hostile\\x3e",
    "*/alert(11)/* //\u2028alert(12)//\u2029",
    "';alert(13);//\\';alert(14);//",
    '=HYPERLINK("https://example.org","click")',
    "@SUM(1+1)*cmd|'/C calc'!A0",
    "+1-1|x \t\r\n-2+3",
    "'; DROP TABLE images; --",
    "' OR 1=1; ATTACH '/etc/passwd' AS x; --",
    "../../../../etc/passwd",
    "..\\..\\con.html%00.png",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\x9b31m",
    "\u202egnp.exe\u2066 \u200b\ufeff",
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x-hostile>&e;",
    "<iframe srcdoc='<script>parent.alert(15)</script>'></iframe>",
    "<base href=https://example.org/><meta http-equiv=refresh content=0;url=https://example.org>",
    "<a href=javascript:alert(16)>x</a><form action=https://example.org><button>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(17)>",
    "__proto__",
    "constructor",
    "%3Cscript%3Ealert(18)%3C/script%3E",
    "\ud83d",
    "x" * 3000 + "<x-hostile>",
)
INJECTED = (
    "x-hostile, [onerror], [onload], [onfocus], [onmouseover], iframe[srcdoc], base, "
    "meta[http-equiv=refresh], form[action^='http'], a[href^='javascript:' i], a[href^='data:' i]"
)
"""What a page would hold if a text of the corpus had become markup."""


def fits(text: str) -> str:
    """Return a text as UTF-8 can hold it, for files of formats that have nothing else."""
    return text.encode("utf-8", "replace").decode()


def plant_hostile(folder: Path) -> Path:
    """Write an atlas whose every text is hostile; return its configuration."""
    planted = plant(folder, n_images=2 * len(TEXTS), n_features=len(TEXTS) + 1, n_shards=2)
    texts = [fits(text) for text in TEXTS]
    table = pq.read_table(folder / "images.parquet")
    rows = range(len(table))
    one = [texts[row % len(texts)] for row in rows]
    urls = [f"https://example.org/{text}" if row % 2 else text for row, text in enumerate(one)]
    new = {
        "name": [f"{text}{row}" for row, text in enumerate(one)],
        "caption": one,
        "url": urls,
        "tags": [[text, one[row - 1]] for row, text in enumerate(one)],
        "terms": [[one[row - 2], text] for row, text in enumerate(one)],
    }
    for name, column in new.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(column))
    pq.write_table(table, folder / "images.parquet")
    (folder / "build/imported").mkdir(parents=True)
    names = [
        {"feature": feature, "label": text, "author": texts[feature - 1], "score": 0.9}
        for feature, text in enumerate(texts)
    ]
    (folder / "build/imported/names.jsonl").write_text("".join(f"{json.dumps(n)}\n" for n in names))
    _write_words(folder / "words", texts, planted.x.shape[1])
    config = folder / "atlas.toml"
    title, note = json.dumps(texts[1]), json.dumps(texts[3] + texts[11])
    text = config.read_text().replace('"SYNTHETIC planted atlas"', title)
    start = text.index("note = ")
    text = f"{text[:start]}note = {note}\n{text[text.index(chr(10), start) + 1 :]}"
    text = text.replace("[catalog]\n", '[catalog]\nvocabulary = "words"\n')
    more = '\n[runtime]\nworkers = 1\n\n[site]\nbase_url = "https://example.org/atlas"\n'
    config.write_text(text + more, encoding="utf-8")
    return config


def _write_words(folder: Path, texts: list[str], width: int) -> None:
    words = list(dict.fromkeys(" ".join(text.split())[:200] for text in texts))
    folder.mkdir()
    (folder / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    vectors = np.random.default_rng(0).normal(size=(len(words), width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors.astype(np.float16))
