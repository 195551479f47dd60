"""What each kind of page shows, one module per kind: rows as strings, numbers and links.

These modules write no files and no markup; `render.py` renders the views that they return.
"""
