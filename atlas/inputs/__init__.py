"""What people bring: pictures, captions, embeddings, an encoder and a vocabulary; the embed stage.

Everything in a user's file is checked here, once, before another room sees it.
A new kind of source is a reader in `picture_sets.py` or `image_table.py`.
"""
