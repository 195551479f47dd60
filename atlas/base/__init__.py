"""What every room uses: errors, files, progress, the catalog's tables, exact products.

Nothing here knows of stages, settings or models. `tables.py` is the contract with other people's
scripts: a changed name or type of a column needs a new version of the catalog stage.
"""
