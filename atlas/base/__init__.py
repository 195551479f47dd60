"""What every room uses: errors, files, progress, the schema of the catalog, exact products.

Nothing here knows of stages, settings or models. Scripts of users rely on `tables.py`: a changed
name or type of a column needs a new version of the catalog stage.
"""
