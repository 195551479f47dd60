"""Pictures of features: the stages icons and where, the template, the decoders, the round trip.

A new decoder is a module in `renderers`. The template's arithmetic is the seed's: see
`template.py` before changing what is added, set or scaled.
"""
