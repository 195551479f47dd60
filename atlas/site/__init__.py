"""The site stage: the catalog as static pages, and the checks of a finished site.

To add a kind of page: a module in `pages`, a template, a function in `links.py` and a line in
`other_pages.py`. Templates choose markup and never compute; all text is escaped.
"""
