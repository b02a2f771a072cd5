"""The gate is tested with notebooks that are right, and with notebooks that are wrong
in one place.
"""

import base64
import functools
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from tests.notebooks import plugin
from tests.notebooks.compare import (
    active,
    bands,
    difference,
    image_difference,
    number_difference,
    values,
)

ROOT = Path(__file__).parents[2]
HEAD = "notebook,cpu_seconds\n"


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
        ("p .50", "p .51", 0.02, True),
        ("p .5", "p .05", 0.02, False),
        ("p -.5", "p .5", 0.02, False),
        ("loss 2E-05", "loss 1e-05", 0.001, True),
        ("loss 2E-05", "loss 2E+05", 0.001, False),
        ("[1. 2.5]", "[1.2 2. ]", 0.5, True),
        ("[1. 2.5]", "[1.2 2. ]", 0.4, False),
        ("x \u22120.5", "x -0.4", 0.1, True),
        ("x \u22120.5", "x 0.5", 0.1, False),
        ("1 000", "1 900", 900, True),  # spaces that do not break
        ("(1.5-0.25j)", "(1.5+0.25j)", 0.5, True),
        ("0.7-0.8", "0.75-0.85", 0.05, True),
        ("ResNet-18 0.9", "ResNet-34 0.9", 99, False),
        ("conv2 0.9", "conv3 0.9", 99, False),
        ("3x3 0.9", "5x5 0.9", 99, False),
        ("torch 2.1.0", "torch 2.2.0", 99, False),
        ("on 2024-01-15", "on 2024-01-16", 99, False),
        ("at 0x1f", "at 0x2f", 99, False),
        ("a nan b inf", "a nan b inf", 0, True),
        ("a inf", "a -inf", 99, False),
        ("1e999", "1e999", 0, True),
    ],
)
def test_band(stored, new, band, same):
    assert (number_difference(stored, new, band) is None) is same


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10,000 and 1_000 and 1\u202f000", [10_000, 1_000, 1_000]),
        (".5 5. +.5 -.5 [.5,.25]", [0.5, 5, 0.5, -0.5, 0.5, 0.25]),
        ("1E-5 1e+3 1.e-05 \u22122e\u22123", [1e-5, 1e3, 1e-5, -2e-3]),
        ("tensor([1., -2.]) 50% 5s 2x", [1, -2, 50, 5, 2]),
        ("1-2 1 -2 1/2 12:30", [1, 2, 1, -2, 1, 2, 12, 30]),
        ("1+2j 1.-0.5j", [1, 2, 1, -0.5]),
        ("1234,567 1,2345", [1234, 567, 1, 2345]),
        ("acc=.95. At 5.", [0.95, 5]),
        ("1.2.3 2.15.0+cpu v1.2 3x3 0x1f 0b11 2024-01-15 nan -inf", []),
        ("ResNet-18 conv-2 conv2 a.5 layer1.0.conv2", []),
    ],
)
def test_numbers(text, found):
    assert values(text) == found


def test_a_band_is_for_a_table_of_pandas_too():
    table = "<table>\n<tr><th></th><th>acc</th></tr>\n<tr><th>relu</th><td>{}</td></tr>"
    plain = "       acc\nrelu  {}"

    def result(value, mark="<b>"):
        return shown(
            text_html=table.format(value) + mark, text_plain=plain.format(value)
        )

    assert difference(result(0.9), result(0.91)).startswith("text/html")
    for band in (0.1, [0.1], {"relu": 0.1}):
        assert difference(result(0.9), result(0.95), band) is None
        assert "the band is 0.1" in difference(result(0.9), result(0.7), band)
    assert "not the same" in difference(result(0.9), result(0.9, "<i>"), 0.1)
    printed = new_output("stream", name="stdout", text="1\n")
    why = difference([printed, *result(0.9)], [printed, *result(0.91)], 0.1)
    assert why.endswith("the band of the cell is for stdout")


def test_a_band_that_does_not_fit():
    with pytest.raises(ValueError, match="2 bands for 1 numbers"):
        bands("a 1", [1, 2])


@functools.cache
def figure(values, dpi=200, **style):
    """A figure like those of the book, as it stands in a notebook."""
    drawn, axes = plt.subplots(figsize=(6.4, 3.6), dpi=dpi)
    axes.plot(values, **style)
    file = io.BytesIO()
    drawn.savefig(file)
    plt.close(drawn)
    return base64.b64encode(file.getvalue()).decode()


def shifted(content):
    """The image, moved by a pixel: what another release of Matplotlib may do."""
    image = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    moved = Image.new("RGB", image.size, "white")
    moved.paste(image, (1, 1))
    file = io.BytesIO()
    moved.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


VALUES = (0.1, 0.5, 0.7, 0.8)


@pytest.mark.parametrize(
    ("new", "measured", "why"),
    [
        (figure(VALUES), False, None),
        (shifted(figure(VALUES)), False, None),
        (figure((0.1, 0.5, 0.75, 0.8)), False, "the image changed"),
        (figure(VALUES, linestyle="--"), False, "the image changed"),
        (figure((0.1, 0.5, 0.75, 0.8)), True, None),
        (figure(VALUES, dpi=100), True, "other size"),
    ],
)
def test_images(new, measured, why):
    assert re.match(why or "None", str(image_difference(figure(VALUES), new, measured)))


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
IMAGE = {"image/png": figure(VALUES), "text/plain": SIZE}
RUN_ANEW = "make notebooks NAMES=cases"
RAISED = new_output("error", ename="ZeroDivisionError", evalue="division by zero")
SKIPPED = "SKIPPED"
THREAD = """\
import threading
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(), thread.join();"""

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
    "beside an image": (
        f"print('a', 0.9, 'b', 0.5)\n{DRAW.format(values=[1, 2, 0])}",
        ["a 0.9 b 0.7\n", IMAGE],
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
    "image": (DRAW.format(values=VALUES), IMAGE, {}, None),
    "other image": (DRAW.format(values=[1, 2, 0]), IMAGE, {}, "image changed"),
    "measured": (
        DRAW.format(values=[1, 2, 0]),
        IMAGE,
        {"tags": ["measured"]},
        None,
    ),
    "measured, size": (
        DRAW.format(values=VALUES).replace("200", "100"),
        IMAGE,
        {"tags": ["measured"]},
        "other size",
    ),
    "semicolon": ("5;", None, {}, None),
    "line magic": ("x = 1\n%notmagic\nx = 2", None, {}, "cut off by UsageError: Line"),
    "and the rest was not run": ("print(x)", "1\n", {}, None),
    "cell magic": ("%%notmagic\nx", None, {}, "cut off by UsageError: Cell magic"),
    "arguments": (
        "if x:\n    %timeit -z",
        None,
        {"tags": ["nbval-ignore-output"]},
        "cut off by UsageError: option -z",
    ),
    "magic, meant": ("%notmagic", None, {"tags": ["raises-exception"]}, None),
    "no script": ("%run nofile.py", None, {}, "File `'nofile.py'` not found"),
    "syntax": ("def f(:", None, {}, "SyntaxError"),
    "exits": ("import sys\nsys.exit(0)", None, {}, "SystemExit: 0"),
    "interrupted": ("raise KeyboardInterrupt", None, {}, "KeyboardInterrupt"),
    "thread": (THREAD, None, {}, "a thread raised ZeroDivisionError: division"),
    "shell": ("!exit 3", None, {}, "shell command failed: 'exit 3' ended with 3"),
    "shell, first": ("!false\n!true", None, {}, "'false' ended with 1"),
    "shell, meant": ("!false", None, {"tags": ["raises-exception"]}, None),
    "shell, unchecked": ("!false", None, {"tags": ["nbval-ignore-output"]}, None),
    "shell, inside": (
        "def f(what):\n    !echo {what}; exit $x\nf('a')",
        "a\n",
        {},
        "ended with 1",
    ),
    "shell, judged": ("found = !false\nprint(found)", "[]\n", {}, None),
    "shell, well": ("!true", None, {}, None),
    "bash": ("%%bash\nexit 2", None, {}, "CalledProcessError"),
    "comment": ("# nothing", None, {}, None),
    "skipped": ("# NBVAL_SKIP\n1 / 0", None, {}, SKIPPED),
    "skipped, tag": ("1 / 0", None, {"tags": ["nbval-skip"]}, SKIPPED),
    "unchecked, comment": ("# NBVAL_IGNORE_OUTPUT\nprint(1)", "2\n", {}, None),
    "checked": ("# NBVAL_CHECK_OUTPUT\nprint(1)", "2\n", {}, r"-2\n +\+1"),
    "raises, meant": ("# NBVAL_RAISES_EXCEPTION\n1 / 0", [RAISED], {}, None),
    "raises, meant otherwise": (
        "[][0]",
        [RAISED],
        {"tags": ["raises-exception"]},
        r"-ZeroDivisionError: .*\n +\+IndexError",
    ),
    "raises no more": (
        "1",
        [RAISED],
        {"tags": ["raises-exception"]},
        r"expected \['error'\]",
    ),
    "dies": ("import os\nos._exit(0)", None, {}, "the kernel died"),
    "after its death": ("1", None, {}, "a cell before has ended the kernel"),
}

#: Another notebook, as Colab and JupyterLab save them: nbformat 4.0, no ids, cells that
#: nobody ran. Source, execution count, and what the failure says.
SAVED = [
    ("print(1)\n", 1, None),
    ("", None, None),
    (" \n", None, None),
    ("print(1)", 2, None),
    ("print(1)", None, "cell 3 has execution count None: the notebook was not run"),
    ("print(1)", 3, "cell 4 has execution count 3"),
    ("exit", 5, "it ends the kernel"),
    ("", None, None),
]
METADATA = {"id": "x", "outputId": "y", "executionInfo": {"elapsed": 3}}

#: What is no notebook, and what pytest says.
BROKEN = {
    "empty": ("", "does not appear to be JSON"),
    "mark": ("\ufeff{}", "does not appear to be JSON"),
    "list": ("[]", "is not a notebook"),
    "newer": ('{"nbformat": 9, "cells": []}', "Unsupported nbformat version 9"),
    "cells": ('{"nbformat": 4, "metadata": {}}', "missing an expected key: cells"),
}


def cell(source, stored, metadata, count):
    stored = stored if isinstance(stored, list) else [stored] if stored else []
    outputs = [
        new_output("stream", name="stdout", text=output)
        if isinstance(output, str)
        else output
        if "output_type" in output
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
    command += ["--rootdir", ROOT, "-p", "no:randomly"]  # cells have an order
    command += [*options, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    cells = [cell(*case[:3], i) for i, case in enumerate(CASES.values(), 1)]
    nbformat.write(new_notebook(cells=cells), folder / "cases.ipynb")
    saved = {"nbformat": 4, "nbformat_minor": 0, "metadata": {}, "cells": []}
    for source, count, _ in SAVED:
        made = cell(source, "1\n" if source.startswith("print") else None, {}, count)
        for output in made.outputs:
            output.text = ["1\n"]
        made |= {"source": source.splitlines(keepends=True), "metadata": METADATA}
        del made["id"]
        saved["cells"] += [{"cell_type": "raw", "metadata": {}, "source": []}, made]
    (folder / "saved.ipynb").write_text(json.dumps(saved))
    for name, (content, _) in BROKEN.items():
        (folder / f"{name}.ipynb").write_text(content)
    (folder / "times.csv").write_text(HEAD + "longer.ipynb,99.0\n")
    return folder


@pytest.fixture(scope="module")
def report(folder):
    options = ("--times", folder / "times.csv", "--continue-on-collection-errors")
    return run(folder, "--keep-executed", folder / "kept", *options)


@pytest.mark.parametrize("name", CASES)
def test_cell(report, name):
    number = list(CASES).index(name)
    source, _, _, why = CASES[name]
    outcome = why if why == SKIPPED else "FAILED" if why else "PASSED"
    assert f"cases.ipynb::Cell {number} {outcome}" in report
    if outcome == "FAILED":
        (message,) = re.findall(
            rf"cases.ipynb, code cell {number + 1}: .*?{RUN_ANEW}", report, re.DOTALL
        )
        assert source.splitlines()[0] in message
        assert re.search(why, message)


@pytest.mark.parametrize("number", range(len(SAVED)))
def test_a_notebook_as_other_programs_save_it(report, number):
    why = SAVED[number][2]
    assert f"saved.ipynb::Cell {number} {'FAILED' if why else 'PASSED'}" in report
    if why:
        assert re.search(rf"saved.ipynb, code cell {number + 1}: .*\n  {why}", report)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_notebook(report, name):
    assert re.search(
        rf"{name}.ipynb is not a notebook \(.*\)\nTo make it anew: make notebooks"
        rf" NAMES={name}\n",
        report,
    )
    assert BROKEN[name][1] in report


def test_the_seconds_of_each_notebook(report, folder):
    """Those whose kernel did not end itself, longest first."""
    times = plugin._read_times(folder / "times.csv")
    measured = str(folder / "saved.ipynb")
    assert list(times) == sorted([measured, "longer.ipynb"])
    assert 0 < times[measured] < 30
    table = report.partition("seconds that a processor was busy")[2]
    assert f"{times[measured]:8.1f}  {measured}" in table
    assert f"{times[measured]:8.1f}  in all" in table


def config(file):
    return SimpleNamespace(
        getoption=lambda name: {"times": file}[name], stash={plugin.SECONDS: {}}
    )


@pytest.mark.parametrize(
    "kept", [HEAD + "a,1\nb,30.5\nc,7\n", "", "[1]", HEAD + "b,\n", HEAD + "b\n"]
)
def test_the_longest_begin_first(tmp_path, kept):
    (tmp_path / "times.csv").write_text(kept)
    items = [
        SimpleNamespace(where=name, cell=cell) for name in "abcde" for cell in range(2)
    ]
    plugin.pytest_collection_modifyitems(config(tmp_path / "times.csv"), items)
    order = "debca" if "30.5" in kept else "abcde"
    assert [(item.where, item.cell) for item in items] == [
        (name, cell) for name in order for cell in range(2)
    ]


def test_the_seconds_of_all_workers_are_kept(tmp_path):
    """As pytest-xdist calls the hooks: in the workers, and in who started them."""
    file = tmp_path / "times.csv"
    controller = config(file)
    for name, seconds in {"b": 2.5, "a": 1.5}.items():
        worker = config(file)
        worker.workeroutput = {}
        worker.stash[plugin.SECONDS][name] = seconds
        plugin.pytest_sessionfinish(SimpleNamespace(config=worker))
        assert not file.exists()
        node = SimpleNamespace(config=controller, workeroutput=worker.workeroutput)
        plugin.pytest_testnodedown(node)
    plugin.pytest_testnodedown(SimpleNamespace(config=controller))  # it crashed
    plugin.pytest_sessionfinish(SimpleNamespace(config=controller))
    assert file.read_text() == HEAD + "a,1.5\nb,2.5\n"


@pytest.mark.usefixtures("report")
def test_the_executed_notebook_is_kept(folder):
    (kept,) = (folder / "kept").glob("*-cases.ipynb")
    made = nbformat.read(kept, as_version=4)
    nbformat.validate(made)
    outputs = dict(zip(CASES, (cell.outputs for cell in made.cells), strict=True))
    assert outputs["edited"][0].text == "accuracy 0.905\n"
    assert outputs["warns"] == []
    assert outputs["shell, inside"][0].text.split() == ["a"]
    assert outputs["raises"][-1].ename == "ZeroDivisionError"
