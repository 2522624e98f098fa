"""The notebooks run from top to bottom in a real kernel, and define nothing that belongs into the package."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
# From where: either must do.
FUNNEL = ("01_the_funnel_and_its_data.ipynb", "notebooks")
MODEL = ("02_the_model_its_figures_and_one_leads_reasons.ipynb", ".")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path, "code")]


def test_both_notebooks_are_there() -> None:
    assert [path.name for path in NOTEBOOKS] == [FUNNEL[0], MODEL[0]]


@every_notebook
def test_outputs_are_stripped_and_nothing_is_counted(path: Path) -> None:
    assert cells(path, "code")
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert cell["metadata"] == {}


@every_notebook
def test_a_notebook_defines_nothing(path: Path) -> None:
    for source in code(path):
        found = [type(node).__name__ for node in ast.walk(ast.parse(source)) if isinstance(node, DEFINITIONS)]
        assert not found, f"{path.name} defines {found}; it belongs into src/:\n{source}"


@every_notebook
def test_a_notebook_reads_only_public_names(path: Path) -> None:
    for source in code(path):
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            names += [node.attr] if isinstance(node, ast.Attribute) else []
            assert not [name for name in names if name.startswith("_")], f"{path.name}: {names}"


@every_notebook
def test_a_notebook_tells_what_it_shows(path: Path) -> None:
    told = ["".join(cell["source"]) for cell in cells(path, "markdown")]

    assert told[0].startswith("# ")
    assert len(told) >= len(code(path)) / 2


@pytest.mark.parametrize(
    ("name", "where"),
    [pytest.param(*FUNNEL, id="01"), pytest.param(*MODEL, id="02", marks=pytest.mark.slow)],
)
def test_a_notebook_runs_from_top_to_bottom(
    name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat, nbclient = (pytest.importorskip(module) for module in ("nbformat", "nbclient"))
    pytest.importorskip("ipykernel")
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(ROOT / where)}}

    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.output_type == "stream"]  # no print, no warning
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6
