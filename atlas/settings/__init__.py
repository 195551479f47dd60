"""The configuration: sections of `atlas.toml`, how they are read, where an atlas keeps its files.

A new setting is a field with its description; docs/settings.md is generated from these. A setting outside
`[runtime]` enters the fingerprint of its stage, so it may change bytes; one in `[runtime]` may not.
"""
