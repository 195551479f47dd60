"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: the first example of a test may import torch, and cores are shared.
settings.register_profile("atlas", deadline=None, derandomize=True)
settings.load_profile("atlas")
