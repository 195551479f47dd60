"""Errors that a user can act on: the command line prints one line and exits with status 1."""

from __future__ import annotations


class AtlasError(Exception):
    """Base of every error that the command line reports without a traceback."""


class ConfigError(AtlasError):
    """The configuration file is missing, misspelt or inconsistent."""


class InputError(AtlasError):
    """An input file is missing, truncated or not what it claims to be."""


class MissingError(AtlasError):
    """Something is not there: an atlas, a feature, an optional package."""


class BusyError(AtlasError):
    """Another build is writing to this atlas."""


class SiteError(AtlasError):
    """The finished site fails one of its checks."""


class CheckError(AtlasError):
    """A result differs from the same quantity computed another way."""


class RoomError(AtlasError):
    """The disk is full, or a file exceeds the size that this user may write."""


class FaultError(AtlasError):
    """The system refused something: no permission, read-only, a folder that was removed."""
