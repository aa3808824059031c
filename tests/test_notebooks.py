"""The notebooks of the site: committed without outputs; `nox -s docs` executes them, and a cell that raises stops it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from places import ROOT, site_hook

import icdbench

nbformat = pytest.importorskip("nbformat", reason="pip install 'icdbench[docs]'")
v4 = nbformat.v4
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return site_hook("notebooks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_without_outputs_and_in_the_sites_navigation(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    lines = [line for cell in code for line in cell.source.splitlines() if not line.startswith("!")]
    used = {
        node.attr
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "icdbench"
    }
    assert used
    assert used <= set(icdbench.__all__)
    assert f"notebooks/{path.stem}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_there_are_three_notebooks_and_the_site_is_built_of_them() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compare", "score", "tune"]
    hooks = next(
        line for line in (ROOT / "mkdocs.yml").read_text(encoding="utf-8").splitlines() if line.startswith("hooks")
    )
    assert "docs/notebooks.py" in yaml.safe_load(hooks)["hooks"]


def test_results_are_shown_and_progress_is_not(pages: ModuleType) -> None:
    outputs = [
        v4.new_output("display_data", {"text/plain": "[1/4] demo", "text/html": "<pre>[1/4] demo</pre>"}),
        v4.new_output("stream", name="stderr", text="a warning\n"),
        v4.new_output("stream", name="stdout", text="\x1b[1mprinted\x1b[0m\n"),
        v4.new_output("display_data", {"image/png": "AAAA\n", "text/plain": "<Figure>"}),
        v4.new_output(
            "execute_result", {"text/html": '<table border="1" class="dataframe"></table>', "text/plain": "rows"}
        ),
        v4.new_output("execute_result", {"text/plain": "0.5"}),
    ]
    cells = [v4.new_markdown_cell("# Title\n\n[next](tune.ipynb)"), v4.new_code_cell("1 / 2", outputs=outputs)]
    assert list(pages.rendered(v4.new_notebook(cells=cells), "one.ipynb")) == [
        "# Title\n\n[next](tune.ipynb)",
        '<a href="../one.ipynb" download>Download this notebook</a>',
        "```python\n1 / 2\n```",
        "```text\nprinted\n```",
        '<img class="output" alt="What the cell above draws" src="data:image/png;base64,AAAA">',
        '<div class="output"><table></table></div>',
        "```text\n0.5\n```",
    ]
