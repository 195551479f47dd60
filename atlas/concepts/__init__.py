"""The concepts stage: each image's features in groups, what recurs, examples with knobs.

`grouping.py` is the seed's iterated k-means, held against obvious code by its tests; the rest
decides what is kept, matched and drawn.
"""
