"""The workflows that publish an atlas: one text for GitHub, one for GitLab, filled for a project."""

from __future__ import annotations

from pathlib import Path

from atlas.base.version import __version__

PLACES = {"github": ".github/workflows/atlas.yml", "gitlab": ".gitlab-ci.yml"}
"""What runs a workflow -> its file in a project."""
CI = 'atlas ci "$CONFIG" --site _site --summary "$GITHUB_STEP_SUMMARY" --diff diff.html'
OF_A_PROJECT = {
    "FORK": "Change atlas.toml alone: its section [publish] names the bundle.",
    "MINUTES": "30",
    "CONFIG": "atlas.toml",
    "INSTALL": f"pip install 'feature-atlas[remote]=={__version__}'",
    "RUN": CI,
}
OF_THIS_REPOSITORY = {
    "FORK": "A fork changes this file alone: CONFIG names its atlas.toml, whose section [publish] names a bundle.",
    "MINUTES": "60",
    "CONFIG": "data/demo/atlas.toml",
    "INSTALL": "make .venv/.ready LOCK=requirements.lock TORCH_INDEX=https://download.pytorch.org/whl/cpu",
    "RUN": 'make publish CONFIG="$CONFIG" SUMMARY="$GITHUB_STEP_SUMMARY"',
}


def workflow(of: str, words: dict[str, str] = OF_A_PROJECT) -> str:
    """Return a workflow.

    Args:
        of: github or gitlab.
        words: What stands for each @@NAME@@ in it.
    """
    text = (Path(__file__).parent / "project" / f"{of}.yml").read_text(encoding="utf-8")
    for name, value in words.items():
        text = text.replace(f"@@{name}@@", value)
    return text
