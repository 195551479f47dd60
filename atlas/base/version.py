"""The version of the package, which its metadata and every catalog carry."""

__version__ = "0.1.0"
