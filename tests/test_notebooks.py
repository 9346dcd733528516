"""The notebooks are stored as they ran, and run from nothing."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["01_training", "02_visualization", "03_results"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return [cell for cell in nbformat.read(str(path), 4).cells if cell.cell_type == "code"]


def python(cell):
    """The Python of a cell, its magics left out."""
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))


def test_it_is_stored_as_it_ran(path, cells):
    assert path.stat().st_size < 1.5e6
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {}) for output in outputs)


def test_it_defines_nothing_that_belongs_into_the_package(cells):
    for cell in cells:
        assert not [node for node in ast.walk(python(cell)) if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda))], cell.source
        assert len(cell.source.splitlines()) <= 25


def test_one_variable_switches_to_the_users_data(cells):
    assigned = [target.id for cell in cells for node in ast.walk(python(cell)) if isinstance(node, ast.Assign) for target in node.targets
                if isinstance(target, ast.Name)]
    assert assigned.count("DATA") == 1 and 'DATA = "demo"' in cells[0].source


def test_it_shows_nothing_of_the_machine_it_ran_on(path):
    assert not re.search(r"/(work|home|root|tmp|Users)/", path.read_text())


@pytest.mark.slow
def test_it_runs_from_nothing(path, tmp_path):
    """In a folder of its own: the demo's paintings are drawn there, and what it trains is written there."""
    NotebookClient(nbformat.read(str(path), 4), timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "data" / "demo" / "demo.json").is_file()
