"""The gate is tested with notebooks that are right, and with notebooks that are wrong
in one place.
"""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.plugin import banded

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stored", "new", "band", "same"),
    [
        ("accuracy 0.905", "accuracy 0.915", 0.01, True),
        ("accuracy 0.905", "accuracy 0.916", 0.01, False),
        ("accuracy 0.905", "accuracy 0.895", 0.01, True),
        ("accuracy 0.905", "loss 0.905", 0.01, False),
        ("5  1.00", "5   9.99e-1", 0.01, True),
        ("epoch 5", "epoch 6", 0.1, False),
        ("-0.01", "0.01", 0.05, True),
        ("a 1", "a 1 2", 9, False),
        ("a nan", "a 1", 9, False),
        ("a 1", "a inf", 9, False),
    ],
)
def test_band(stored, new, band, same):
    assert (banded(stored, band) == banded(new, band)) is same
    assert (banded(stored, band) != banded(new, band)) is not same


def test_what_is_no_text_is_compared_as_it_is():
    assert banded({"a": 1}, 0.1) == {"a": 1}


def notebook(cells):
    """A notebook of (source, stored output, execution count, band)."""
    made = nbformat.v4.new_notebook()
    for source, stored, count, band in cells:
        outputs = (
            [nbformat.v4.new_output("stream", name="stdout", text=stored)]
            if stored
            else []
        )
        cell = nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=count)
        cell.metadata.update({"band": band} if band else {})
        made.cells.append(cell)
    return made


CASES = {
    "right": [
        ("x = 0.905\nprint(x)", "0.91\n", 1, 0.01),
        ("print(x)", "0.905\n", 2, None),
    ],
    "warns": [("import sys\nprint('w', file=sys.stderr)", "", 1, None)],
    "edited": [("print('accuracy', 0.905)", "accuracy 0.95\n", 1, 0.01)],
    "words": [("print('accuracy', 0.905)", "precision 0.905\n", 1, 0.01)],
    "exact": [("print(61706)", "61707\n", 1, None)],
    "deleted": [("print('accuracy', 0.905)", "", 1, None)],
    "unrun": [("print(1)", "2\n", None, None)],
    "order": [("print(1)", "1\n", 2, None), ("print(2)", "2\n", 1, None)],
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    for name, cells in CASES.items():
        nbformat.write(notebook(cells), folder / f"{name}.ipynb")
    options = [
        "--nbval",
        "--nbval-current-env",
        "-p",
        "tests.notebooks.plugin",
        "-v",
        "--color",
        "no",
    ]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", ROOT, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("name", ["right", "warns"])
def test_passes(outcome, name):
    assert f"{name}.ipynb::Cell 0 PASSED" in outcome


@pytest.mark.parametrize("name", ["edited", "words", "exact", "deleted"])
def test_fails(outcome, name):
    assert f"{name}.ipynb::Cell 0 FAILED" in outcome


@pytest.mark.parametrize("name", ["unrun", "order"])
def test_fails_before_it_runs(outcome, name):
    assert f"{name}.ipynb::Cell 0 ERROR" in outcome
    assert "was not run from top to bottom" in " ".join(outcome.split())
