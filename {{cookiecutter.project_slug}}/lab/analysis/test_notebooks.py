from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from taglab.testing import environment

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom_and_is_stored_without_output(
        svm_search_store, monkeypatch, path):
    for name, value in environment(svm_search_store).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count], "clear outputs"

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": path.parent}}).execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
