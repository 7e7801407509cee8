"""Notebooks: text and .ipynb beside it are the same, and run from top to bottom."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

SOURCES = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))


def test_there_are_notebooks() -> None:
    numbers = [int(source.stem.partition("_")[0]) for source in SOURCES]
    assert numbers == list(range(len(SOURCES)))
    assert SOURCES[0].stem == "00_tour"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_pair_is_in_step(source: Path) -> None:
    text = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == text
    assert any(cell.get("outputs") for cell in notebook.cells), "committed without its outputs"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERFMODEL_NOTEBOOK_MEASURES", raising=False)
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    NotebookClient(notebook, timeout=300).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if source == SOURCES[0]:
        texts = [output.get("text", "") for output in outputs]
        assert any("Falling back to PTEs costs" in text for text in texts)
    pictures = [
        output for output in outputs if {"image/png", "image/svg+xml"} & set(output.get("data", ()))
    ]
    assert pictures, "a notebook shows what it found"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_is_small(source: Path) -> None:
    assert source.with_suffix(".ipynb").stat().st_size < 150_000
