"""The run that is ready for a GPU, a step of it, in every chapter that has one.

The cells that its training needs are executed, with ``RUN = "gpu"``, two images and one
epoch.
"""

import ast
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

import course_lib
from course_lib import Split
from course_lib.data import FashionMNIST
from tools import notebooks

ROOT = Path(__file__).parents[1]

TEXTS = [path for path in notebooks.texts() if "RUNS[RUN]" in path.read_text()]


def names(source):
    """The names that a cell makes, and those that it takes from the cells before."""
    made, taken = set(), set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                taken.add(name)
            case (
                ast.Name(id=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name)
            ):
                made.add(name)
            case ast.alias(name=name, asname=other):
                made.add(other or name)
    return made, taken - made


def cells(text):
    """The sources of the cells that the training needs, and of the training."""
    assert text.with_suffix(".ipynb").exists(), f"run: make notebooks NAMES={text.stem}"
    notebook = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    sources = [cell.source for cell in notebooks.code_cells(notebook)][1:]
    last = next(i for i, source in enumerate(sources) if "RUNS[RUN]" in source)
    chosen, wanted = [sources[last]], names(sources[last])[1]
    for source in reversed(sources[:last]):
        made, taken = names(source)
        if made & wanted:
            chosen.insert(0, source)
            wanted = wanted - made | taken
    return chosen


def short(sample):
    """`fit`, for one epoch of two images; it remembers what it was asked for."""
    asked, fit = [], course_lib.fit

    def first(split, count):
        return Split(split.images[:count], split.labels[:count])

    def call(net, data, settings):
        asked.append((net, settings))
        two = first(sample.train, 2)
        short = replace(settings, epochs=1, batch_size=2)
        return fit(net, FashionMNIST(two, two, two, ""), short, progress=False)

    return call, asked


#: Networks with more than fifty million parameters.
LARGE = ("alexnet", "vgg", "zfnet")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.slow] if path.stem in LARGE else [],
        )
        for path in TEXTS
    ],
)
def test_the_run_for_a_gpu(text, sample, monkeypatch):
    call, asked = short(sample)
    monkeypatch.setattr(course_lib, "fit", call)
    monkeypatch.setattr(course_lib, "fashion_mnist", lambda: sample)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("ignore")
        for source in cells(text):
            exec(source.replace('RUN = "quick"', 'RUN = "gpu"'), namespace)
    plt.close("all")
    assert namespace["RUN"] == "gpu", (
        f'book/{text.name}: the cell tagged `parameters` says RUN = "quick"'
    )
    assert set(namespace["RUNS"]) == {"quick", "laptop", "gpu"}, (
        f"book/{text.name}: RUNS has three rows, quick, laptop and gpu"
    )
    assert asked, f"book/{text.name}: the cell with RUNS[RUN] calls `fit`"
    net, settings = asked[-1]
    assert settings.epochs == 10, f"book/{text.name}: ten epochs in the row gpu"
    assert course_lib.count_parameters(net) > 60_000, (
        f"book/{text.name}: the row gpu trains the paper's network, not a small one"
    )


def test_most_chapters_have_one():
    assert {path.stem for path in TEXTS} >= {"lenet", "resnet"}
