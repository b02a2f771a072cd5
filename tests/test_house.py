"""The layout is a test: one word leads to a text, a notebook, a module, a proof."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell

import course_lib
from tools import notebooks

ROOT = Path(__file__).parents[1]

TEXTS = notebooks.texts()
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
FILES = [entry["file"] for part in TOC["parts"] for entry in part["chapters"]]
PAGES = ["speed"]  # executed like chapters, but about all modules
CHAPTERS = [
    stem
    for file in FILES
    if file.endswith(".ipynb")
    and Path(file).parent.name == "book"
    and (stem := Path(file).stem) not in PAGES
]
SOLUTIONS = [Path(file).stem for file in FILES if Path(file).parent.name == "solutions"]
MODULES = [
    path.stem
    for path in (ROOT / "course_lib").iterdir()
    if path.stem[0].isalpha() and path.suffix == ".py"
]
PACKAGES = [path.parent.name for path in (ROOT / "course_lib").glob("*/__init__.py")]
COMMITTED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
).stdout.split()


def cells(kind):
    """Every code cell of every notebook, with an identity for messages."""
    for text in TEXTS:
        for cell in nbformat.read(text.with_suffix(".ipynb"), as_version=4).cells:
            if cell.cell_type == kind:
                yield pytest.param(cell, id=cell.id)


#: The chapters whose module has another name.
MODULE = {
    "comparison": "summary",
    "scaling": "training/__main__",
    "claims": "pages/claims",
    "cheatsheet": "pages/cheatsheet",
}


@pytest.mark.parametrize("name", CHAPTERS)
def test_one_word_four_files(name):
    module = MODULE.get(name, name)
    if (ROOT / "course_lib" / module).is_dir():
        module_file = f"course_lib/{module}/__init__.py"
    else:
        module_file = f"course_lib/{module}.py"
    for file in (
        f"book/{name}.md",
        f"book/{name}.ipynb",
        module_file,
        f"tests/test_{module.replace('/', '_').replace('__', '')}.py",
    ):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("name", MODULES + PACKAGES)
def test_every_module_has_its_proof(name):
    assert (ROOT / f"tests/test_{name}.py").is_file()


@pytest.mark.parametrize("name", MODULES + PACKAGES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(f"course_lib.{name}").__doc__


def test_every_chapter_is_in_the_table_of_contents():
    assert sorted(CHAPTERS + PAGES) == sorted(text.stem for text in TEXTS)
    exercises = {path.stem for path in (ROOT / "book/exercises").glob("*.md")}
    assert sorted(SOLUTIONS) == sorted(exercises)
    assert exercises <= set(CHAPTERS)


def test_public_names():
    tree = ast.parse((ROOT / "course_lib/__init__.py").read_text())
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("course_lib")
        for alias in node.names
    ]
    assert sorted(course_lib.__all__) == sorted(imported) == dir(course_lib)
    assert all(getattr(course_lib, name).__doc__ for name in course_lib.__all__)


def test_no_such_name():
    with pytest.raises(AttributeError, match="no attribute 'VGG17'"):
        course_lib.VGG17  # noqa: B018


def test_what_is_imported_with_the_library():
    late = ("course_lib.diagram", "course_lib.summary", "matplotlib", "torchvision")
    late += ("pandas", "pooch", "torch.distributed.run", "torch.utils.flop_counter")
    code = f"import course_lib, sys; print([x for x in {late} if x in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_paper_is_in_the_bibliography(text):
    listed = (ROOT / "book/references.bib").read_text()
    cited = re.findall(r"(?:arxiv\.org/abs|doi\.org)/([^)\s]+)", text.read_text())
    assert [paper for paper in cited if paper not in listed] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_is_small_and_has_no_trace_of_a_machine(text):
    target = text.with_suffix(".ipynb")
    assert target.stat().st_size < 1_000_000
    content = target.read_text()
    assert str(ROOT) not in content
    assert not re.search(r"/(home|root|Users)/", content)


@pytest.mark.parametrize("cell", list(cells("code")))
def test_code_cell(cell):
    assert not cell.source.rstrip().endswith(";"), "a cell shows what it ends with"
    assert "nbval-skip" not in cell.metadata.get("tags", [])
    for output in cell.outputs:
        assert output.output_type != "error"
        data = output.get("data", {})
        assert not re.search(r"<script|\son\w+=", str(data.get("text/html", "")))
        if "image/png" in data:
            assert cell.metadata["mystnb"]["image"]["alt"], (
                "a picture needs an alt text"
            )


def test_few_cells_are_not_compared():
    tags = [cell.values[0].metadata.get("tags", []) for cell in cells("code")]
    unchecked = sum("nbval-ignore-output" in each for each in tags)
    assert unchecked / len(tags) <= 0.1


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book").rglob("*.ipynb")), ids=lambda path: path.stem
)
def test_every_notebook_begins_with_exactly_the_setup(path):
    """Chapters, those of students, and solutions: as they are committed."""
    cells = notebooks.code_cells(nbformat.read(path, as_version=4))
    setup = notebooks.setup_cell()
    assert cells[0].source == setup.source
    assert cells[0].metadata == setup.metadata
    assert cells[0].outputs == []
    assert [cell for cell in cells if notebooks.is_setup(cell)] == cells[:1]
    assert not [cell for cell in cells[1:] if "pip install" in cell.source]


def in_kernel(source, *modules):
    """Run a cell as IPython does, with these modules loaded; what pip was asked for."""
    shell = InteractiveShell()
    asked = []
    shell.register_magic_function(lambda line: asked.append(line), magic_name="pip")
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setitem(sys.modules, module, types.ModuleType(module))
        return shell.run_cell(source), asked


def test_the_setup_does_nothing_but_on_colab(capsys):
    result, asked = in_kernel(notebooks.setup_cell().source)
    assert result.success
    assert asked == []
    assert capsys.readouterr().out == ""


def test_the_setup_installs_the_library_alone_on_colab(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    source = notebooks.SETUP.format(repository="https://github.com/me/name")
    result, asked = in_kernel(source, "google.colab")
    assert result.success
    assert asked == ["install --quiet --no-deps git+https://github.com/me/name"]
    assert capsys.readouterr().out.startswith("Running on ")


def test_the_setup_says_what_to_set_while_the_address_is_a_placeholder(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    source = notebooks.SETUP.format(repository="https://github.com/OWNER/name")
    result, asked = in_kernel(source, "google.colab")
    assert "set REPOSITORY" in str(result.error_in_exec)
    assert asked == []


def test_the_address_of_the_repository_stands_once():
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    holders = [
        file
        for file in COMMITTED
        if not file.endswith((".ipynb", ".npz", ".lock", ".png"))
        and address in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert holders == ["_config.yml"]


def requirements(path):
    lines = (
        line.split("#")[0].strip() for line in (ROOT / path).read_text().splitlines()
    )
    return {
        re.split(r"[<>=]", line)[0]: line
        for line in lines
        if line and not line.startswith("-r")
    }


def test_requirements():
    everything, book = (
        requirements("requirements.txt"),
        requirements("book/requirements.txt"),
    )
    assert everything["d2l"] == "d2l==0.17.0"
    assert book["jupyter-book"].endswith("<2")
    assert "torch" not in book
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"]:
        assert everything[re.split(r"[<>=]", line)[0]] == line
    for name in ("torch", "torchvision"):
        assert re.fullmatch(rf"{name}>=[\d.]+", everything[name]), (
            "a lower bound and nothing more"
        )


def test_lock_has_everything_that_is_required():
    locked = dict(
        re.findall(
            r"^([a-z0-9-]+)==(\S+)",
            (ROOT / "requirements.lock").read_text(),
            flags=re.M,
        )
    )
    assert set(requirements("requirements.txt")) | set(
        requirements("book/requirements.txt")
    ) <= set(locked)


#: Lines that a function of the library may have, its docstring not counted; those that
#: may have more, and how many.
LONGEST = 40
LONGER = {("course_lib/training/loop.py", "fit"): 60}

#: Every module of the library, read.
LIBRARY = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "course_lib").rglob("*.py"))
}


def outer_functions(tree):
    """Functions and methods; one inside another is a part of that."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from outer_functions(node)


def lines_of(function):
    """From `def` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - (docstring.end_lineno - docstring.lineno + 1)


@pytest.mark.parametrize("file", LIBRARY)
def test_functions_are_short(file):
    """A function is read on one screen; a file is as long as its one duty."""
    long = [
        f"{file}: `{function.name}` has {lines_of(function)} lines, and may have"
        f" {most}: split it"
        for function in outer_functions(LIBRARY[file])
        if lines_of(function) > (most := LONGER.get((file, function.name), LONGEST))
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(("file", "name"), LONGER)
def test_the_functions_that_may_be_longer_are_there(file, name):
    names = [function.name for function in outer_functions(LIBRARY[file])]
    assert name in names, f"{file} has no `{name}`: take it out of LONGER"


def test_what_counts_as_a_line_of_a_function():
    source = (
        "class Net:\n"
        "    @property\n"
        "    def body(self):\n"
        '        """Not\n\n        counted."""\n'
        "        def inner():\n"
        "            return 1\n\n"
        "        return inner\n"
    )
    (function,) = outer_functions(ast.parse(source))
    assert function.name == "body"
    assert lines_of(function) == 5


def packed(tree):
    """The lines of assignments of a tuple that is written out, as in ``a, b = x, y``,
    other than swaps, and of stars before such a tuple, as in ``f(*(a, b))``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            values = {ast.unparse(each) for each in node.value.elts}
            for target in node.targets:
                if isinstance(target, ast.Tuple) and not values <= {
                    ast.unparse(each) for each in target.elts
                }:
                    yield node.lineno
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple):
            yield node.lineno


@pytest.mark.parametrize("file", [f for f in LIBRARY if "/checks/" in f])
def test_checks_are_not_packed(file):
    """Teachers have to trust them: a line says one thing."""
    lines = sorted(packed(LIBRARY[file]))
    assert not lines, f"{file}, lines {lines}: give each value a line of its own"


@pytest.mark.parametrize("source", ["a, b = 1, 2", "a = b, c = f(), g()", "f(*(a, b))"])
def test_what_is_packed(source):
    assert list(packed(ast.parse(source))) == [1]


@pytest.mark.parametrize(
    "source",
    ["a, b = f()", "a, b = b, a", "a = b = 1", "a = 1, 2", "f(*a)", "f((a, b))"],
)
def test_what_is_not_packed(source):
    assert not list(packed(ast.parse(source)))
