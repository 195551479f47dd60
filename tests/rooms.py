"""The floors of the package: a room imports only rooms of the floors below its own."""

FLOORS = (
    ("base",),
    ("settings",),
    ("run",),
    ("inputs", "sae"),
    ("scan", "study", "icons", "pipeline"),
    ("concepts", "catalog", "site"),
    ("lookup", "prepare", "fetching"),
    ("publish", "plots"),
    ("training", "command", "demo"),
    ("__init__", "__main__"),
)
"""The rooms of each floor, lowest first; pipeline, plots and the two entrances are modules."""
ENTRANCES = {"__init__", "__main__"}
