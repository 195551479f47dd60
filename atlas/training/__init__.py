"""The train stage: an SAE by the published recipe, TopK or BatchTopK, from embeddings.

A run that was killed goes on to the same bytes, so every random number comes from the step's own
seed and all state is in the checkpoint.
"""
