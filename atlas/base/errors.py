"""Failures a user can act on: one line each, exit status 1, never a traceback."""

from __future__ import annotations


class AtlasError(Exception):
    """Base of every failure that the command line reports without a traceback."""


class ConfigError(AtlasError):
    """The configuration file is missing, misspelt or inconsistent."""


class InputError(AtlasError):
    """An input file is missing, truncated or not what it claims to be."""


class MissingError(AtlasError):
    """Something asked for is not there: an atlas, a feature, an optional package."""


class BusyError(AtlasError):
    """Another build holds this atlas."""


class SiteError(AtlasError):
    """The finished site breaks one of its own promises."""


class CheckError(AtlasError):
    """What was computed failed its comparison with the same computed otherwise."""


class RoomError(AtlasError):
    """The disk is full, or a file larger than this user may write."""
