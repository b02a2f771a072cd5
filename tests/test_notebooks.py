"""The maker of notebooks: tools/notebooks.py."""

import importlib
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.compare import banded, bands, parts

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
notebooks = importlib.import_module("notebooks")

TEXT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

```{code-cell} ipython3
:band: 0.5

import sys

print("a number: 1.0")
print("a warning", file=sys.stderr)
```

Words.

```{code-cell} ipython3
1 + 1
```
"""


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    path = tmp_path / "chapter.md"
    path.write_text(TEXT)
    (tmp_path / "notes.md").write_text("# A page without code\n")
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["notebooks.py", *arguments])
    notebooks.main()


def test_executes_once_and_keeps(text, monkeypatch):
    run(monkeypatch)
    target = text.with_suffix(".ipynb")
    first = target.read_bytes()
    assert notebooks.differences(text) == []
    made = nbformat.read(target, as_version=4)
    assert [cell.id for cell in made.cells] == [f"chapter-{i}" for i in range(5)]
    assert [cell.execution_count for cell in notebooks.code_cells(made)] == [1, 2, 3]
    _, printed, summed = notebooks.code_cells(made)
    assert printed.metadata["band"] == 0.5
    assert [output.name for output in printed.outputs] == ["stdout"], (
        "stderr is left out"
    )
    assert summed.outputs[0].data["text/plain"] == "2"

    run(monkeypatch)
    assert target.read_bytes() == first
    run(monkeypatch, "chapter")
    assert target.read_bytes() == first, "executed again, and still the same bytes"

    text.write_text(TEXT.replace("Words.", "Other words."))
    with pytest.raises(SystemExit, match="make notebooks"):
        run(monkeypatch, "--check")
    monkeypatch.setattr(
        notebooks, "execute", lambda *_: pytest.fail("the code did not change")
    )
    run(monkeypatch)
    assert b"Other words." in target.read_bytes()
    assert notebooks.differences(text) == []


def test_changed_code_is_executed(text, monkeypatch):
    run(monkeypatch)
    text.write_text(TEXT.replace("1 + 1", "1 + 2"))
    assert notebooks.differences(text) == [
        "chapter.ipynb, cell chapter-4: source differs from chapter.md"
    ]
    run(monkeypatch)
    made = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    assert made.cells[-1].outputs[0].data["text/plain"] == "3"


def test_check(text, monkeypatch):
    with pytest.raises(SystemExit, match=r"chapter\.ipynb is missing"):
        run(monkeypatch, "--check")
    assert not text.with_suffix(".ipynb").exists()
    run(monkeypatch)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "--check")
    assert stop.value.code == 0
    text.write_text(TEXT + "\nMore words.\n")
    assert notebooks.differences(text) == [
        "chapter.ipynb has other cells than chapter.md"
    ]


def test_formats_the_code_of_a_text(text, monkeypatch):
    text.write_text(TEXT.replace("1 + 1", "1+1"))
    (text.with_suffix(".ipynb")).touch()
    assert notebooks.differences(text) == ["the code of chapter.md is not formatted"]
    monkeypatch.setattr(notebooks, "execute", lambda *_: None)
    run(monkeypatch, "chapter")
    assert text.read_text() == TEXT


def test_no_such_chapter(text, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "chpater")
    assert "no chapter chpater; there are chapter" in capsys.readouterr().err


#: What nbval runs: Makefile.
COMPARED = sorted([*ROOT.glob("book/*.ipynb"), *ROOT.glob("book/solutions/*.ipynb")])

#: What a cell may be tagged with: nothing else keeps nbval from looking at it.
TAGS = {"parameters", "hide-cell", "hide-input", "nbval-ignore-output", "measured"}


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_what_is_left_out_of_the_comparison(path):
    for cell in notebooks.code_cells(nbformat.read(path, as_version=4)):
        assert set(cell.metadata.get("tags", [])) <= TAGS
        assert "NBVAL_" not in cell.source
        if "band" in cell.metadata:
            found = dict(parts(cell.outputs))
            assert bands(found[banded(cell.outputs)], cell.metadata["band"])


def test_one_cell_in_ten_is_not_compared_or_fewer():
    cells = [
        cell
        for path in COMPARED
        for cell in notebooks.code_cells(nbformat.read(path, as_version=4))
    ]
    unchecked = [
        cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])
    ]
    assert len(unchecked) <= 0.1 * len(cells)
