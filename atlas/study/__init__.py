"""What the scan's results say: the stages neighbors, families, names and compare.

Each stage reads folders of earlier stages and writes its own; none imports another.
"""
