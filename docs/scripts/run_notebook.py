"""Run `examples/reconstruct.ipynb` from top to bottom and store it with what it printed and drew.

python docs/scripts/run_notebook.py
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "reconstruct.ipynb"


def main() -> None:
    """Store what a run gives; nothing in it tells when or where it ran."""
    notebook = run_notebook(NOTEBOOK)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, NOTEBOOK)


def run_notebook(path: Path) -> Any:
    """Run the cells in a fresh kernel, without the outputs that are stored; CellExecutionError when one raises."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    asyncio.run(client.async_execute())
    return notebook


if __name__ == "__main__":
    main()
