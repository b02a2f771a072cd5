"""The run that is ready for a GPU, a few steps of it, in every chapter that has one.

The cells of the notebook are executed up to its training, with ``RUN = "gpu"``, eight
pictures and one epoch.
"""

import importlib
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

import course_lib
from course_lib import Split
from course_lib.data import FashionMNIST

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
notebooks = importlib.import_module("notebooks")

TEXTS = [path for path in notebooks.texts() if "RUNS[RUN]" in path.read_text()]


def cells(text):
    """The sources of the code cells, without the setup."""
    made = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    return [cell.source for cell in notebooks.code_cells(made)][1:]


def short(sample):
    """`fit`, for one epoch of eight pictures; it remembers what it was asked for."""
    asked, fit = [], course_lib.fit

    def first(split, count):
        return Split(split.images[:count], split.labels[:count])

    def call(net, data, **kwargs):
        asked.append((net, kwargs))
        few = FashionMNIST(*(first(sample.train, count) for count in (8, 4, 4)), "")
        return fit(
            net, few, **(kwargs | {"epochs": 1, "batch_size": 4, "progress": False})
        )

    return call, asked


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_the_run_for_a_gpu(text, sample, monkeypatch):
    call, asked = short(sample)
    monkeypatch.setattr(course_lib, "fit", call)
    monkeypatch.setattr(course_lib, "fashion_mnist", lambda: sample)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {"__name__": "__main__"}
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("ignore")
        for source in cells(text):
            source = source.replace('RUN = "laptop"', 'RUN = "gpu"')
            exec(source, names)
            if "RUNS[RUN]" in source:
                break
    plt.close("all")
    assert names["RUN"] == "gpu"
    assert set(names["RUNS"]) == {"laptop", "gpu"}
    net, arguments = asked[-1]
    assert arguments["epochs"] == 10
    assert course_lib.count_parameters(net) > 60_000


def test_most_chapters_have_one():
    assert {path.stem for path in TEXTS} >= {"lenet", "resnet"}
