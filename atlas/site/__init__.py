"""The site stage: the catalog as static pages, and the checks of a finished site.

A new kind of page is a module in `pages`, a template and a function in `links.py`. Templates
choose markup and never compute; nothing from outside reaches a page unescaped.
"""
