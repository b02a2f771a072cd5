"""The gate is tested with notebooks that are right, and with notebooks that are wrong
in one place.
"""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from tests.notebooks.compare import (
    active,
    bands,
    difference,
    number_difference,
    picture_difference,
)

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
        ("+0.01", "-0.01", 0.05, True),
        ("10,000 x", "10,400 x", 500, True),
        ("10,000 x", "9,400 x", 500, False),
        ("a 1", "a 1 2", 9, False),
        ("a 1\nb", "a 1 b", 9, False),
        ("a nan", "a 1", 9, False),
        ("a 1", "a inf", 9, False),
        ("a 1", "a nan", 9, False),
        ("x= 5", "x=10", 5, True),
        ("a 1 b 2", "a 1.1 b 2.2", [0.1, 0.2], True),
        ("a 1 b 2", "a 1.2 b 2.1", [0.1, 0.2], False),
        ("a 1 b 2", "a 1 b 2", [0.1], False),
        ("relu 1\ntanh 2", "relu 1.1\ntanh 2.2", {"relu": 0.1, "tanh": 0.2}, True),
        ("relu 1\ntanh 2", "relu 1.2\ntanh 2.1", {"relu": 0.1, "tanh": 0.2}, False),
        ("relu 1\ntanh 2", "relu 1.1\ntanh 2.1", {"relu": 0.1}, False),
        ("relu 1\ntanh 2", "relu 1\ntanh 2", {"relux": 0.1}, False),
        ("  1 0.5\n 11 0.5", "  1 0.6\n 11 0.5", {"1": [0, 0.1]}, True),
        ("  1 0.5\n 11 0.5", "  1 0.5\n 11 0.6", {"1": [0, 0.1]}, False),
        ("x 0\nx, y 1", "x 0\nx, y 2", {"x": 0, "x, y": 1}, True),
    ],
)
def test_band(stored, new, band, same):
    assert (number_difference(stored, new, band) is None) is same


def test_a_band_that_does_not_fit():
    with pytest.raises(ValueError, match="2 bands for 1 numbers"):
        bands("a 1", [1, 2])


def figure(values, dpi=200, **style):
    """A figure like those of the book, as it stands in a notebook."""
    drawn, axes = plt.subplots(figsize=(6.4, 3.6), dpi=dpi)
    axes.plot(values, **style)
    file = io.BytesIO()
    drawn.savefig(file)
    plt.close(drawn)
    return base64.b64encode(file.getvalue()).decode()


def shifted(content):
    """The picture, moved by a pixel: what another release of Matplotlib may do."""
    picture = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    moved = Image.new("RGB", picture.size, "white")
    moved.paste(picture, (1, 1))
    file = io.BytesIO()
    moved.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


VALUES = [0.1, 0.5, 0.7, 0.8]


@pytest.mark.parametrize(
    ("new", "measured", "why"),
    [
        (figure(VALUES), False, None),
        (shifted(figure(VALUES)), False, None),
        (figure([0.1, 0.5, 0.75, 0.8]), False, "the picture changed"),
        (figure(VALUES, linestyle="--"), False, "the picture changed"),
        (figure([0.1, 0.5, 0.75, 0.8]), True, None),
        (figure(VALUES, dpi=100), True, "other size"),
    ],
)
def test_pictures(new, measured, why):
    assert re.match(
        why or "None", str(picture_difference(figure(VALUES), new, measured))
    )


def shown(**data):
    return [
        new_output(
            "display_data",
            {
                mime.replace("_", "/", 1).replace("_", "+"): v
                for mime, v in data.items()
            },
        )
    ]


@pytest.mark.parametrize(
    ("data", "runs"),
    [
        ({"text_html": "<b>a</b><script src='x'></script>"}, True),
        ({"text_html": "<img src='x' alt='' onerror='x()'>"}, True),
        ({"image_svg_xml": "<svg onload=x()></svg>"}, True),
        ({"application_javascript": "x()"}, True),
        ({"text_html": "<b title='a'>on = 1 &lt; 2</b>"}, False),
        ({"text_markdown": "```python\nif a < b:\n    once = 1\n```"}, False),
        ({"text_plain": "<script>"}, False),
    ],
)
def test_what_could_run_in_a_browser(data, runs):
    assert bool(active(shown(**data))) is runs


def test_what_is_not_compared():
    stdout, stderr = (
        new_output("stream", name=name, text="a\n") for name in ("stdout", "stderr")
    )
    widget = "application_vnd.jupyter.widget-view_json"
    bar = shown(**{widget: {"model_id": "1"}, "text_plain": "50%"})
    assert difference([stdout], [stdout, stderr, *bar]) is None
    assert difference([stdout], [stdout, stdout]).startswith("other outputs")


def test_a_long_line_is_cut_around_the_difference():
    line = 1000 * "a"
    why = difference(shown(text_html=line + "b"), shown(text_html=line + "c"))
    assert why.endswith(f"expected ...{60 * 'a'}b...\ngot      ...{60 * 'a'}c...")


DRAW = """\
%config InlineBackend.print_figure_kwargs = {{"bbox_inches": None}}
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=200)
axes.plot({values})
plt.show()"""
SIZE = "<Figure size 1280x720 with 1 Axes>"
PICTURE = {"image/png": figure(VALUES), "text/plain": SIZE}
RUN_ANEW = "make notebooks NAMES=cases"

#: Name -> source, stored output, metadata, and what the failure says, if it is one.
CASES = {
    "exact": ("print(61706)", "61706\n", {}, None),
    "exact, wrong": ("print(61706)", "61707\n", {}, r"-61707\n +\+61706"),
    "nothing": ("x = 1", None, {}, None),
    "edited": ("print('accuracy', 0.905)", "accuracy 0.95\n", {}, "-accuracy 0.95"),
    "in the band": (
        "print('accuracy', 0.905)",
        "accuracy 0.91\n",
        {"band": 0.01, "runs": 10},
        None,
    ),
    "outside": (
        "print('accuracy', 0.905)",
        "accuracy 0.95\n",
        {"band": 0.01, "runs": 10},
        r"expected accuracy 0.95\n +got +accuracy 0.905\n.*the band is 0.01\n"
        r" +band +0.01, of 10 runs\n",
    ),
    "words": (
        "print('accuracy', 0.905)",
        "precision 0.905\n",
        {"band": 0.01},
        "-precision 0.905",
    ),
    "beside a picture": (
        f"print('a', 0.9, 'b', 0.5)\n{DRAW.format(values=[1, 2, 0])}",
        ["a 0.9 b 0.7\n", PICTURE],
        {"band": [0.1, 0.3]},
        None,
    ),
    "by name": (
        "print('a', 0.9)\nprint('b', 0.5)",
        "a 0.9\nb 0.7\n",
        {"band": {"a": 0.1, "b": 0.3}},
        None,
    ),
    "deleted": ("print(1)", None, {}, "it was stripped or deleted"),
    "lost": ("x = 1", "1\n", {}, r"expected \['stdout'\]\n +got +\[\]"),
    "warns": ("import sys\nprint('w', file=sys.stderr)", None, {}, None),
    "raises": ("1 / 0", None, {}, "it raised ZeroDivisionError: division by zero"),
    "unchecked": ("print(1)", "2\n", {"tags": ["nbval-ignore-output"]}, None),
    "unchecked, raises": (
        "1 / 0",
        None,
        {"tags": ["nbval-ignore-output"]},
        "ZeroDivisionError",
    ),
    "unchecked, stripped": (
        "print(1)",
        None,
        {"tags": ["nbval-ignore-output"]},
        "it was stripped or deleted",
    ),
    "progress": (
        "from tqdm import tqdm\nfor _ in tqdm(range(9)):\n    pass",
        None,
        {},
        None,
    ),
    "script": (
        "from IPython.display import HTML\nHTML('<script>1</script>')",
        {
            "text/html": "<script>1</script>",
            "text/plain": "<IPython.core.display.HTML object>",
        },
        {},
        "could run in a browser: <script in text/html",
    ),
    "new script": (
        "from IPython.display import HTML\nHTML('<b onclick=x()>1</b>')",
        {"text/html": "<b>1</b>", "text/plain": "<IPython.core.display.HTML object>"},
        {"tags": ["nbval-ignore-output"]},
        "could run in a browser: <b onclick= in text/html",
    ),
    "picture": (DRAW.format(values=VALUES), PICTURE, {}, None),
    "other picture": (DRAW.format(values=[1, 2, 0]), PICTURE, {}, "picture changed"),
    "measured": (
        DRAW.format(values=[1, 2, 0]),
        PICTURE,
        {"tags": ["measured"]},
        None,
    ),
    "measured, size": (
        DRAW.format(values=VALUES).replace("200", "100"),
        PICTURE,
        {"tags": ["measured"]},
        "other size",
    ),
}
#: Two cells each, with these execution counts.
COUNTS = {"not run": (None, None), "in another order": (2, 1)}


def cell(source, stored, metadata, count):
    stored = stored if isinstance(stored, list) else [stored] if stored else []
    outputs = [
        new_output("stream", name="stdout", text=output)
        if isinstance(output, str)
        else new_output("display_data", output)
        for output in stored
    ]
    return new_code_cell(
        source, outputs=outputs, execution_count=count, metadata=metadata
    )


def run(folder, *options):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-v"]
    # No summary: where CI is set, pytest repeats every message in it.
    command += ["-p", "tests.notebooks.plugin", "--color", "no", "-r", "N"]
    command += ["--rootdir", ROOT]
    command += [*options, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    cells = [cell(*case[:3], i) for i, case in enumerate(CASES.values(), 1)]
    nbformat.write(new_notebook(cells=cells), folder / "cases.ipynb")
    for name, counts in COUNTS.items():
        cells = [cell("1", "1\n", {}, count) for count in counts]
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return run(folder, "--keep-executed", folder / "kept")


@pytest.mark.parametrize("name", CASES)
def test_cell(report, name):
    number = list(CASES).index(name)
    source, _, _, why = CASES[name]
    assert f"cases.ipynb::Cell {number} {'FAILED' if why else 'PASSED'}" in report
    if why:
        (message,) = re.findall(
            rf"cases.ipynb, code cell {number + 1}: .*?{RUN_ANEW}", report, re.DOTALL
        )
        assert source.splitlines()[0] in message
        assert re.search(why, message)


@pytest.mark.parametrize("name", COUNTS)
def test_a_notebook_that_was_not_run_from_top_to_bottom(report, name):
    assert f"{name}.ipynb::Cell 0 FAILED" in report
    assert f"cell 1 has execution count {COUNTS[name][0]}" in report


@pytest.mark.usefixtures("report")
def test_the_executed_notebook_is_kept(folder):
    (kept,) = (folder / "kept").glob("*-cases.ipynb")
    made = nbformat.read(kept, as_version=4)
    nbformat.validate(made)
    outputs = dict(zip(CASES, (cell.outputs for cell in made.cells), strict=True))
    assert outputs["edited"][0].text == "accuracy 0.905\n"
    assert outputs["warns"] == []
    assert outputs["raises"][-1].ename == "ZeroDivisionError"
