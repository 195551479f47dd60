"""Putting a bundle on the Hugging Face Hub, as a data set."""

from __future__ import annotations

from pathlib import Path

from atlas.base.errors import MissingError
from atlas.base.extras import explain_missing_package
from atlas.lookup.bundles import HUB
from atlas.lookup.manifest import MANIFEST


def upload(folder: Path, place: str) -> None:
    """Upload a bundle; what is there already is not sent again, and an interrupted upload goes on.

    HF_TOKEN is honored. A new data set is private.

    Args:
        folder: Of the bundle.
        place: hf:OWNER/NAME.

    Raises:
        MissingError: The Hub can't be reached or refuses, or huggingface_hub is not installed.
    """
    repo = place.removeprefix(HUB)
    with explain_missing_package(place, "remote"):
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    api = HfApi()
    large = getattr(api, "upload_large_folder", None)  # up to version 1; then part of upload_folder
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        if large is not None:
            large(repo_id=repo, folder_path=folder, repo_type="dataset")
        else:
            api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                repo_type="dataset",
                allow_patterns=[MANIFEST, "objects/**"],
                delete_patterns="objects/**",  # those that are not of this bundle
                commit_message="Bundle of an atlas",
            )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise MissingError(
            f"{place} can't be written ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            f"check its name and HF_TOKEN, and run the same command to go on; the bundle is at {folder}"
        ) from error
