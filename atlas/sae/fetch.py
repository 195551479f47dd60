"""Download the SAE's checkpoint from the Hugging Face Hub or a URL, unless it is already here."""

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
    place, settings = sae_path(config), config.sae
    if place is None or settings.path is not None or place.exists():
        return place
    progress.say(f"fetching the SAE from {settings.repo or settings.url}")
    if settings.repo is not None:
        _fetch_repo(settings)
    else:
        _fetch_url(settings, place)
    return sae_path(config)


def _fetch_repo(settings: SaeSettings) -> None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingError(
            "fetching from the Hub needs huggingface_hub; pip install 'feature-atlas[scan]'"
        ) from error
    assert settings.repo is not None
    wanted = [f"{settings.file}/{name}" for name in WANTED] if settings.file else list(WANTED)
    wanted += [settings.file] if settings.file else []
    try:
        snapshot_download(settings.repo, revision=settings.revision, allow_patterns=wanted)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = type(error).__name__
        raise MissingError(
            f"{settings.repo} at {settings.revision} is not in the Hub's cache and can't be fetched "
            f"({reason}); where there is a network: {hub_command(settings)}"
        ) from error


def hub_command(settings: SaeSettings) -> str:
    """Return the command that puts the checkpoint into the Hub's cache."""
    revision = "" if settings.revision == "main" else f" --revision {settings.revision}"
    include = f" --include '{settings.file}*'" if settings.file else ""
    return f"hf download {settings.repo}{revision}{include}"


def _fetch_url(settings: SaeSettings, place: Path) -> None:
    assert settings.url is not None
    found = hashlib.sha256()
    try:
        with (
            draft(place) as path,
            path.open("wb") as file,
            urlopen(settings.url, timeout=60) as answer,
        ):
            while chunk := answer.read(CHUNK_BYTES):
                found.update(chunk)
                file.write(chunk)
            _check(settings, found.hexdigest())
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = str(getattr(error, "reason", error)).splitlines()[0]
        raise MissingError(
            f"{settings.url} can't be fetched ({reason}); put the file at {place}"
        ) from error


def _check(settings: SaeSettings, digest: str) -> None:
    if digest != settings.sha256:
        raise InputError(
            f"{settings.url} holds a file of SHA-256 {digest}, sae.sha256 says {settings.sha256}; "
            "it is not the file that was meant"
        )
