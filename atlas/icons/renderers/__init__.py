"""Decoders that draw a picture from an image embedding, a module each.

A module has ENCODERS (width of the embeddings -> the encoder that makes them in the published
weights), DENOISER (the part that torch.compile is worth for), open(folder, device, dtype) and
draw(pipeline, embeddings, negative, drawing).
"""
