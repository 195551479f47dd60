"""What each kind of page shows, a module a kind: rows of the catalog as strings, numbers and links.

These modules write no file and no markup; `press.py` turns what they return into HTML.
"""
