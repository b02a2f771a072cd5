"""Every figure of a chapter has a number, a caption and an alt text, and is referred to
by its number; one color means one family; a notebook stays small.
"""

import ast
import colorsys
import re
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from course_lib.diagram.svg import svg
from course_lib.plotting import FAMILY_COLORS
from tools import folds, front
from tools.notebooks import code_cells, texts

ROOT = Path(__file__).parents[1]
TEXTS = texts()
IMAGES = {"image/png", "image/jpeg"}
LARGEST = 1_000_000  # bytes of a notebook
SHOWN = 120  # lines of code, in the median chapter

LABEL = re.compile(r"\*\*Figure (\d+)\.\*\* (?=[^a-z])")
MENTION = re.compile(r"\bFigures? (\d+(?:(?:, | and | to )\d+)*)")


def is_figure(cell):
    """Whether a cell shows an image or a drawing. The cheat sheet is a page."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        html = "".join(data.get("text/html", ""))
        if IMAGES & data.keys() or ("<svg" in html and "cheatsheet" not in html):
            return True
    return False


def read(text):
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


@each
def test_every_figure_has_a_number_and_a_caption(text):
    cells = read(text).cells
    numbers = []
    for cell, below in pairwise(cells):
        if is_figure(cell):
            found = LABEL.match(below.source)
            assert found, f"{cell.id}: write **Figure N.** and what to see below it"
            numbers.append(int(found[1]))
    assert not is_figure(cells[-1])
    captions = [cell for cell in cells if LABEL.match(cell.source)]
    assert len(captions) == len(numbers), "a caption stands under no figure"
    assert numbers == [*range(1, len(numbers) + 1)]


@each
def test_every_plot_has_an_alt_text(text):
    for cell in code_cells(read(text)):
        if any(IMAGES & each.get("data", {}).keys() for each in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 20, f"{cell.id} has no alt text"


@each
def test_figures_are_referred_to_by_numbers_that_exist(text):
    prose = re.sub(r"```.*?```", "", text.read_text(), flags=re.DOTALL)
    captions = {int(number) for number in LABEL.findall(prose)}
    mentioned = {
        int(number)
        for numbers in MENTION.findall(LABEL.sub("", prose))
        for number in re.findall(r"\d+", numbers)
    }
    assert mentioned - captions == set(), "there is no such figure"
    assert captions - mentioned == set(), "the text does not refer to it"


@each
def test_a_notebook_is_small(text):
    size = text.with_suffix(".ipynb").stat().st_size
    assert size < LARGEST, f"{text.stem}.ipynb has {size:,} bytes"


def test_the_median_chapter_shows_little_code():
    shown = {}
    for text in TEXTS:
        lines = [
            len(cell.source.splitlines())
            for cell in code_cells(read(text))
            if not {"hide-input", "hide-cell"} & {*cell.metadata.get("tags", [])}
        ]
        shown[text.stem] = sum(lines)
    assert statistics.median(shown.values()) < SHOWN, shown


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("import torch\n\nimport course_lib\n\ncourse_lib.style()", "the imports"),
        ("figure, axes = plt.subplots()\naxes.plot(x)", "the code of the figure"),
        ("figure, axes = plt.subplot_mosaic([[0, 1]])", "the code of the figure"),
        (
            "rows = [[1]]\n"
            "Table(['a long title', 'another'], rows, 'what is shown in this table')",
            "the code of the table",
        ),
        ("show_photographs([pixels], rows=['image'])", "the code of the figure"),
        ("layer_table(net, (1, 28, 28))", None),
        ("net = LeNet('modern')", None),
        ("%pip install x", None),
        ("", None),
    ],
)
def test_what_is_folded(source, title):
    assert folds.title(source) == title


def hue(color):
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return colorsys.rgb_to_hsv(red, green, blue)[0]


def test_the_first_page_has_the_colors_of_the_families():
    """Its chart has those of the drawings, which follow dark mode: the same hues."""
    drawn = svg(front.bubbles(100, 100), "", "", legend=False)
    for family, style in front.COLORS.items():
        line = re.search(rf"--bb-{style}-line,(#\w+)", drawn)[1]
        apart = abs(hue(line) - hue(FAMILY_COLORS[family]))
        assert min(apart, 1 - apart) < 0.06, f"{family} is {style} on the first page"


def test_charts_of_families_use_the_table():
    """No chapter gives a family another color by a name of its own."""
    for text in TEXTS:
        for cell in code_cells(read(text)):
            try:
                tree = ast.parse(cell.source)
            except SyntaxError:
                continue
            if ".family" in cell.source and "color" in cell.source:
                names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
                assert {"FAMILY_COLORS", "family_style"} & names, cell.id
