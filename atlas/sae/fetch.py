"""Getting the SAE's checkpoint from the Hugging Face Hub or an address, where it isn't here yet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from atlas.base.errors import InputError, MissingError
from atlas.base.files import draft
from atlas.base.progress import Progress
from atlas.settings.load import Config
from atlas.settings.outside import sae_path
from atlas.settings.sae import SaeSettings

CHUNK_BYTES = 1 << 20
WANTED = ("*.safetensors", "*.pt", "*.pth", "*.json")
"""Files of a repository that a checkpoint may be."""


def fetch_sae(config: Config, progress: Progress) -> Path | None:
    """Return where the checkpoint is, fetched first if it isn't there; None where none is named.

    The Hub's own cache is used, and HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN are honored.

    Raises:
        MissingError: It can't be reached, or huggingface_hub is not installed.
        InputError: What came is not what sae.sha256 says.
    """
    place, told = sae_path(config), config.sae
    if place is None or told.path is not None or place.exists():
        return place
    progress.say(f"fetching the SAE from {told.repo or told.url}")
    if told.repo is not None:
        _fetch_repo(told)
    else:
        _fetch_url(told, place)
    return sae_path(config)


def _fetch_repo(told: SaeSettings) -> None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingError(
            "fetching from the Hub needs huggingface_hub; pip install 'feature-atlas[scan]'"
        ) from error
    assert told.repo is not None
    wanted = [f"{told.file}/{name}" for name in WANTED] if told.file else list(WANTED)
    wanted += [told.file] if told.file else []
    try:
        snapshot_download(told.repo, revision=told.revision, allow_patterns=wanted)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = type(error).__name__
        raise MissingError(
            f"{told.repo} at {told.revision} is not in the Hub's cache and can't be fetched "
            f"({reason}); where there is a network: {hub_command(told)}"
        ) from error


def hub_command(told: SaeSettings) -> str:
    """Return the command that puts the checkpoint into the Hub's cache."""
    revision = "" if told.revision == "main" else f" --revision {told.revision}"
    include = f" --include '{told.file}*'" if told.file else ""
    return f"hf download {told.repo}{revision}{include}"


def _fetch_url(told: SaeSettings, place: Path) -> None:
    assert told.url is not None
    found = hashlib.sha256()
    try:
        with draft(place) as path, path.open("wb") as file, urlopen(told.url, timeout=60) as answer:
            while chunk := answer.read(CHUNK_BYTES):
                found.update(chunk)
                file.write(chunk)
            _check(told, found.hexdigest())
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = str(getattr(error, "reason", error)).splitlines()[0]
        raise MissingError(
            f"{told.url} can't be fetched ({reason}); put the file at {place}"
        ) from error


def _check(told: SaeSettings, digest: str) -> None:
    if digest != told.sha256:
        raise InputError(
            f"{told.url} holds a file of SHA-256 {digest}, sae.sha256 says {told.sha256}; "
            "it is not the file that was meant"
        )
