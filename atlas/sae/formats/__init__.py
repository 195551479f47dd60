"""Published checkpoint formats, a module each, read into the one form of `atlas.sae.model`.

Nothing in a checkpoint is ever run, and every declared size is checked before memory is allocated.
"""
