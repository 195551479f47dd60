"""The sparse autoencoder: its one form in memory, its checkpoint formats; the convert stage.

A new format is a module in `formats` and a row in `checkpoints.py`. Screens may only ever name too
many candidates: every activation that is kept is computed by `model.py`.
"""
