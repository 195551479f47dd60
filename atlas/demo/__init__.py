"""How data/demo was made, a file a step: pictures, recipes, encoder, embeddings, vocabulary, figures.

Not needed to use atlas. `python -m atlas.demo` runs every step whose outputs are missing.
"""
