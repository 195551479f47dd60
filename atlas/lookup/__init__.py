"""Questions to a finished atlas: features, search, pictures, SQL, steering, names, coverage.

A look-up starts in under 0.3 s, so torch, pydantic and open_clip are imported only by the
functions that need them.
"""
