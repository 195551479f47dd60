"""Carrying a finished atlas to the machine that publishes it, and telling what changed.

A bundle holds what the catalog and site stages read, each file once and named by its digest.
Nothing here runs a stage.
"""
