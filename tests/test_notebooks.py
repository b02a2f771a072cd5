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
    """The command; that it exits with 0 is left out."""
    monkeypatch.setattr(sys, "argv", ["notebooks.py", *arguments])
    try:
        notebooks.main()
    except SystemExit as stop:
        if stop.code:
            raise


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


def test_another_setup_cell_is_put_in_and_nothing_executed(text, monkeypatch):
    """As when the address changes, and as when a notebook had none."""
    run(monkeypatch)
    target = text.with_suffix(".ipynb")
    made = target.read_bytes()
    old = nbformat.read(target, as_version=4)
    del old.cells[1]
    for number, cell in enumerate(notebooks.code_cells(old), 1):
        cell.execution_count = number
    old.cells[-1].outputs[0].execution_count = 2
    notebooks.write(old, target)
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("not needed"))
    run(monkeypatch)
    assert target.read_bytes() == made
    monkeypatch.setattr(notebooks, "SETUP", notebooks.SETUP + "\n# {repository}")
    run(monkeypatch)
    assert target.read_bytes() != made
    assert notebooks.differences(text) == []


def test_keeping_never_executes(text, monkeypatch):
    run(monkeypatch)
    made = text.with_suffix(".ipynb").read_bytes()
    text.write_text(TEXT.replace("1 + 1", "1 + 2"))
    with pytest.raises(SystemExit, match="has to execute chapter"):
        run(monkeypatch, "--keep")
    assert text.with_suffix(".ipynb").read_bytes() == made


def test_a_notebook_that_was_not_run_in_order_is_executed(text, monkeypatch):
    run(monkeypatch)
    target = text.with_suffix(".ipynb")
    old = nbformat.read(target, as_version=4)
    old.cells[-1].execution_count = 7
    notebooks.write(old, target)
    assert not notebooks.keep_outputs(notebooks.from_text(text), target)


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
    run(monkeypatch, "--check")
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
            assert int(cell.metadata["runs"]) >= 5, (
                "calibrated: python -m proofs.calibrate"
            )


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
