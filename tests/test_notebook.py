"""The notebook of the documentation, run as it stands on a planted atlas."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def test_every_cell_of_the_notebook_runs_and_shows_something(drawn_atlas, monkeypatch):
    notebook = nbformat.read(NOTEBOOKS / "look_up.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    monkeypatch.setenv("ATLAS", str(drawn_atlas / "build"))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs, cell.source
            assert not [out for out in cell.outputs if out.output_type == "stream"], cell.source
