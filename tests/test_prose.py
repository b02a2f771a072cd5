"""Every number in the prose was computed by a cell of the same notebook, or is cited.

Names are no claims: of networks and layers, of kernels and images (3x3, 28 by 28), of
years, sections, tables and figures. Code and formulas are not prose.
"""

import re
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import texts

ROOT = Path(__file__).parents[1]

TEXTS = texts()

#: What is not prose, and what is a name.
SILENT = [
    r"```.*?```",  # code, in a block
    r"`[^`]*`",  # and in a line
    r"\$\$.*?\$\$",  # formulas
    r"\$[^$]*\$",
    r"<!--.*?-->",
    r"\]\([^)]*\)",  # where a link leads
    r"<a [^>]*>",
    r"^\s*\d+\. ",  # the items of a list
    r"\d+x\d+(/\d+)?(x\d+)*",  # 3x3, 7x7/2
    r"\d+( by \d+)+",  # 28 by 28 pixels
    r"\b(1[89]|20)\d\d(?![\d,.]*\d)s?\b",  # years
    r"(?i)\b(sections?|tables?|figures?|equations?|exercises?|chapters?|parts?|appendix)"
    r"\s+\d+[\d.]*[a-z]?(\([a-z]\))?((,| and| to) \d+[\d.]*(\([a-z]\))?)*",
    r"\b[A-Za-z][A-Za-z]*[-\u2011]?\d[\w.-]*",  # ResNet-50, conv3, C5, small-44, FP32
    r"\b\d[a-e]\b",  # the modules of GoogLeNet
    r"\b(16|32|64) bits\b",  # formats of numbers
]

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)")
SENTENCE = re.compile(
    r"(?<=[.?!:;)])\s+(?=[\"*A-Z$`\[])|\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.)\s)"
)


def numbers(text):
    """The numbers of a text, without the commas between thousands."""
    return [each.rstrip(",").replace(",", "") for each in NUMBER.findall(text)]


def claims(markdown):
    """The numbers that a text claims, each with its sentence."""
    marked = re.sub(r"\]\(https?://[^)]*\)", "](CITED)", markdown)
    for pattern in SILENT:
        marked = re.sub(
            pattern,
            lambda found: "CITED" if "CITED" in found[0] else " ",
            marked,
            flags=re.DOTALL | re.MULTILINE,
        )
    for sentence in SENTENCE.split(marked):
        if "CITED" not in sentence:
            for number in numbers(sentence):
                yield number, " ".join(sentence.split())


def outputs(notebook):
    """All outputs of the cells of a notebook that are text."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            for kind, data in output.get("data", {}).items():
                if kind in ("text/plain", "text/markdown"):
                    yield data
                if kind in ("text/html", "image/svg+xml"):
                    yield re.sub(r"<[^>]*>", " ", "".join(data))


def unfounded(notebook):
    """The numbers in the prose of `notebook` that nothing computes or cites."""
    computed = {number for text in outputs(notebook) for number in numbers(text)}
    return [
        (cell.id, number, sentence)
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for number, sentence in claims(cell.source)
        if number not in computed
    ]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_number_is_computed_or_cited(text):
    assert text.with_suffix(".ipynb").exists(), f"run: make notebooks NAMES={text.stem}"
    found = unfounded(nbformat.read(text.with_suffix(".ipynb"), as_version=4))
    assert not found, (
        "print these numbers in a cell, with as many digits, or link to a paper in the"
        " same sentence:\n" + "\n".join(" | ".join(each) for each in found)
    )


def notebook(prose, output="61,706 parameters, 0.904 and 28.0%"):
    made = nbformat.v4.new_notebook()
    printed = nbformat.v4.new_output("stream", text=output)
    made.cells = [
        nbformat.v4.new_markdown_cell(prose),
        nbformat.v4.new_code_cell("net", outputs=[printed]),
    ]
    return made


@pytest.mark.parametrize(
    "prose",
    [
        "It has 61,706 parameters, and 28.0% of them matter. It gets 0.904 right.",
        "ResNet-50 of 2015 has a 7x7/2 in conv1, for images of 224 by 224 pixels.",
        "The paper says 27.94% ([He et al. 2015](https://arxiv.org/abs/1), Table 2).",
        "See figures 2 and 3, section 4.1, Table 2(b), and `fc6` with `n = 12`.",
        "1. How many?\n2. With $n = 12$, fewer.\n\n$$ 3 + 4 $$",
    ],
)
def test_what_is_founded(prose):
    assert unfounded(notebook(prose)) == []


@pytest.mark.parametrize(
    ("prose", "number"),
    [
        ("It has 61,707 parameters.", "61707"),
        ("It has 61,706 parameters and 13 layers.", "13"),
        ("It gets 0.90 right.", "0.90"),  # not as precise as what was printed
        ("It gets 0.9040 right.", "0.9040"),
        ("He says 3% ([2015](https://arxiv.org/abs/1)). We measured 4%.", "4"),
        ("- It needs 17 steps.\n- See [He](https://arxiv.org/abs/1).", "17"),
        ("About 30% fewer.", "30"),
        ("| net | 12.5 |", "12.5"),
    ],
)
def test_a_wrong_number_is_found(prose, number):
    assert [each[1] for each in unfounded(notebook(prose))] == [number]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_wrong_number_is_found_in_every_chapter(text):
    """Any chapter, with one sentence more."""
    assert text.with_suffix(".ipynb").exists(), f"run: make notebooks NAMES={text.stem}"
    made = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    made.cells.append(nbformat.v4.new_markdown_cell("It has 98,765,432 parameters."))
    made.cells[-1].id = "planted"
    assert ("planted", "98765432") in [each[:2] for each in unfounded(made)]
