"""The notebooks in `examples/` run from top to bottom and print what they show."""

import json
from pathlib import Path

import pytest
from test_docs import assert_shown

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def printed(cell):
    return "".join(output["text"] for output in cell.get("outputs", []) if output["output_type"] == "stream")


def kinds(cell):
    return [sorted(output["data"]) for output in cell.get("outputs", []) if "data" in output]


@pytest.mark.extra("nbclient", "ipykernel", "pandas", "matplotlib")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs_and_prints_what_it_shows(path, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book, shown = nbformat.read(path, 4), nbformat.read(path, 4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell, before in zip(book.cells, shown.cells, strict=True):
        assert kinds(cell) == kinds(before)
        for text, now in zip(printed(before).splitlines(), printed(cell).splitlines(), strict=True):
            if text.strip():
                assert_shown(text, now, f"{path.name}: {before.source[:40]!r}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_its_pictures_and_no_trace_of_a_machine(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    pictures = [output for cell in book["cells"] for output in cell.get("outputs", []) if "data" in output]
    assert any({"image/svg+xml", "image/png"} & output["data"].keys() for output in pictures)
    assert all(cell.get("execution_count") is None for cell in book["cells"])
    assert "/tmp" not in path.read_text(encoding="utf-8")


def test_there_are_the_three_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["fits", "learn", "tables"]
