"""Notebooks as pages of the site: a hook of MkDocs, which executes docs/notebooks/*.ipynb while the site is built.

They are committed without outputs. A cell that raises stops the build. Of what a cell writes its result, its pictures and its
standard output are shown, but no progress.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = Path(__file__).parent / "notebooks"
LONGEST = 300  # seconds for a cell
PANDAS = re.compile('<table border="1" class="dataframe">')  # a look of its own, which is not the site's
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook; the notebook itself is there to download."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = "\n\n".join(rendered(executed(path), path.name)) + "\n"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
    return files


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, from an empty folder and with an empty cache. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ICDBENCH_CACHE": f"{folder}/cache", "ICDBENCH_FLOORS": "0"}
        files = {"transport": "ipc", "ip": f"{folder}/kernel"}  # no ports, which others of this machine could read
        client = NotebookClient(
            notebook,
            config=Config({"ConnectionFileMixin": files}),
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            startup_timeout=LONGEST,
            timeout=LONGEST,
        )
        client.execute(env=environment)
    return notebook


def rendered(notebook: nbformat.NotebookNode, name: str) -> Iterator[str]:
    """The parts of the page, in Markdown."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield cell.source
        else:
            yield f"```python\n{cell.source}\n```"
            yield from filter(None, map(shown, cell.outputs))
        if number == 0:
            yield f'<a href="../{name}" download>Download this notebook</a>'


def shown(output: nbformat.NotebookNode) -> str:
    """An output of a cell; nothing for progress and warnings."""
    data = output.get("data", {})
    if picture := data.get("image/png"):
        return f'<img class="output" alt="What the cell above draws" src="data:image/png;base64,{picture.strip()}">'
    if output.output_type == "execute_result" and "text/html" in data:
        table = PANDAS.sub("<table>", data["text/html"].strip())
        return f'<div class="output">{table}</div>'
    text = data.get("text/plain", "") if output.output_type == "execute_result" else ""
    if output.output_type == "stream" and output.name == "stdout":
        text = output.text
    return f"```text\n{COLOUR.sub('', text).rstrip()}\n```" if text else ""
