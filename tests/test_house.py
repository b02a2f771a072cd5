"""The layout is a test: one word leads to a text, a notebook, a module, a proof."""

import ast
import csv
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
PAGES = ["speed", "beside_d2l"]  # executed like chapters, but about all modules
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


#: Every code cell of every notebook; of one that is missing, test_one_word_four_files
#: says so.
CODE = [
    cell
    for text in TEXTS
    if text.with_suffix(".ipynb").exists()
    for cell in nbformat.read(text.with_suffix(".ipynb"), as_version=4).cells
    if cell.cell_type == "code"
]


def shown(data):
    """An output of a cell."""
    return nbformat.v4.new_output("display_data", data)


#: The chapters whose module has another name.
MODULE = {
    "successors": "densenet",
    "comparison": "summary",
    "scaling": "training/__main__",
    "claims": "pages/claims",
    "cheatsheet": "pages/cheatsheet",
    "interventions": "lab",
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
        make = f"run: make notebooks NAMES={name}"
        mend = make if file.endswith(".ipynb") else f"write {file}, or add it to MODULE"
        assert (ROOT / file).is_file(), f"there is no {file}: {mend}"


@pytest.mark.parametrize("name", MODULES + PACKAGES)
def test_every_module_has_its_proof(name):
    file = f"tests/test_{name}.py"
    assert (ROOT / file).is_file(), f"write {file}, the tests of course_lib.{name}"


@pytest.mark.parametrize("name", MODULES + PACKAGES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(f"course_lib.{name}").__doc__, (
        f"begin course_lib.{name} with a docstring that says what it is"
    )


def test_every_chapter_is_in_the_table_of_contents():
    listed = sorted(file for file in FILES if file.endswith(".ipynb"))
    exercises = [path.stem for path in (ROOT / "book/exercises").glob("*.md")]
    made = {f"book/{text.stem}.ipynb" for text in TEXTS}
    made |= {f"book/solutions/{name}.ipynb" for name in exercises}
    missing, more = made - set(listed), set(listed) - made
    assert not missing, f"add to _toc.yml: {', '.join(sorted(missing))}"
    assert not more, f"write the text, or take out of _toc.yml: {', '.join(more)}"
    assert len(listed) == len(made), f"_toc.yml has one of these twice: {listed}"
    alone = set(exercises) - set(CHAPTERS)
    assert not alone, f"exercises without a chapter: write book/NAME.md for {alone}"


def test_public_names():
    tree = ast.parse((ROOT / "course_lib/__init__.py").read_text())
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("course_lib")
        for alias in node.names
    ]
    exported = set(course_lib.__all__)
    for name in exported ^ set(imported):
        where = "its imports" if name in exported else "its __all__"
        pytest.fail(f"course_lib/__init__.py: add `{name}` to {where}, or take it out")
    assert len(course_lib.__all__) == len(imported), "a name is imported twice"
    assert dir(course_lib) == sorted(imported)
    silent = [name for name in exported if not getattr(course_lib, name).__doc__]
    assert not silent, f"write the docstrings of {', '.join(silent)}"


def test_no_such_name():
    with pytest.raises(AttributeError, match="no attribute 'VGG17'"):
        course_lib.VGG17  # noqa: B018


def test_what_is_imported_with_the_library():
    late = ("course_lib.diagram", "course_lib.summary", "matplotlib", "torchvision")
    late += ("pandas", "pooch", "torch.distributed.run", "torch.utils.flop_counter")
    code = f"import course_lib, sys; print([x for x in {late} if x in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", (
        f"`import course_lib` imports {done.stdout.strip()}: import it in the function"
        " that needs it, or under TYPE_CHECKING"
    )


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_paper_is_in_the_bibliography(text):
    listed = (ROOT / "book/references.bib").read_text()
    cited = re.findall(r"(?:arxiv\.org/abs|doi\.org)/([^)\s]+)", text.read_text())
    missing = [paper for paper in cited if paper not in listed]
    assert not missing, "\n".join(
        f"add {'doi' if '/' in paper else 'arXiv'}:{paper} to book/references.bib"
        for paper in missing
    )


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_is_small_and_has_no_trace_of_a_machine(text):
    target = text.with_suffix(".ipynb")
    assert target.is_file(), f"run: make notebooks NAMES={text.stem}"
    size = target.stat().st_size
    assert size < 1_000_000, f"{target.name} has {size:,} bytes: make figures smaller"
    content = target.read_text()
    found = re.search(rf"({re.escape(str(ROOT))}|/(home|root|Users)/).*", content)
    assert not found, f"a path of this machine is in {target.name}: {found[0][:80]}"


def faults(cell):
    """What is wrong with a code cell, and what to do about it."""
    if cell.source.rstrip().endswith(";"):
        yield "take the last `;` away, a cell shows what it ends with"
    if "nbval-skip" in cell.metadata.get("tags", []):
        yield "`:tags: [nbval-ignore-output]` in place of nbval-skip"
    for output in cell.outputs:
        if output.output_type == "error":
            yield "it fails; run: make notebooks"
        data = output.get("data", {})
        if re.search(r"<script|\son\w+=", str(data.get("text/html", ""))):
            yield "its output has a script, which Colab and GitHub leave out"
        image = cell.metadata.get("mystnb", {}).get("image", {})
        if {"image/png", "image/jpeg"} & data.keys() and not image.get("alt"):
            yield (
                "an image needs an alt text, `:mystnb:`, `:  image:`,"
                " `:    alt: ...` above its code"
            )


def test_code_cells():
    found = [f"{cell.id}: {mend}" for cell in CODE for mend in faults(cell)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "net;"}, "take the last `;` away"),
        ({"metadata": {"tags": ["nbval-skip"]}}, "in place of nbval-skip"),
        ({"outputs": [nbformat.v4.new_output("error")]}, "it fails"),
        ({"outputs": [shown({"text/html": "<p onload=x>"})]}, "has a script"),
        ({"outputs": [shown({"image/png": "x"})]}, "needs an alt text"),
    ],
)
def test_the_faults_of_a_cell_are_found(changes, words):
    (found,) = faults(nbformat.v4.new_code_cell(**changes))
    assert words in found


def test_few_cells_are_not_compared():
    tags = [cell.metadata.get("tags", []) for cell in CODE]
    unchecked = sum("nbval-ignore-output" in each for each in tags)
    assert unchecked / len(tags) <= 0.1, (
        f"{unchecked} of {len(tags)} cells are not compared: a `:band:` in place of"
        " `:tags: [nbval-ignore-output]`, or print what does not change"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book").rglob("*.ipynb")), ids=lambda path: path.stem
)
def test_every_notebook_begins_with_exactly_the_setup(path):
    """Chapters, those of students, and solutions: as they are committed."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebooks.code_cells(notebook)
    setup = notebooks.setup_cell(notebook)
    what = "notebooks" if path.parent.name == "book" else "exercises"
    mend = f"{path.name} has another setup cell; run: make {what}"
    assert cells[0].source == setup.source, mend
    assert cells[0].metadata == setup.metadata, mend
    assert cells[0].outputs == [], mend
    assert [cell for cell in cells if notebooks.is_setup(cell)] == cells[:1], mend
    installing = [cell.id for cell in cells[1:] if "pip install" in cell.source]
    assert not installing, f"the setup cell installs, and not {', '.join(installing)}"


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
    cell = notebooks.setup_cell(nbformat.v4.new_notebook())
    result, asked = in_kernel(cell.source)
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


def test_the_setup_installs_photographs_for_chapters_that_need_them(monkeypatch):
    find_spec = importlib.util.find_spec
    hidden = ("course_lib",)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in hidden else find_spec(name, *more),
    )
    source = "from course_lib.photographs import photograph"
    cells = [nbformat.v4.new_code_cell(source)]
    setup = notebooks.setup_cell(nbformat.v4.new_notebook(cells=cells))
    source = setup.source.replace("com/OWNER/", "com/me/")
    result, asked = in_kernel(source, "google.colab")
    assert result.success
    assert asked[0].startswith("install --quiet --no-deps git+https://")
    assert asked[1:] == ["install --quiet scikit-image"]


def test_the_setup_says_what_to_set_while_the_address_is_a_placeholder(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    source = notebooks.SETUP.format(repository="https://github.com/OWNER/name")
    result, asked = in_kernel(source, "google.colab")
    assert "set REPOSITORY" in str(result.error_in_exec)
    assert asked == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tools/notebooks.py", "No run on a GPU, such as Colab's T4, is recorded yet."),
        (".github/workflows/gpu.yml", "No run on a graphics card is recorded yet"),
        ("book/setup.md", "**No number in this book is from a GPU.**"),
    ],
)
def test_what_is_said_of_a_gpu_is_what_is_recorded(file, words):
    recorded = (ROOT / "book/results/gpu.csv").exists()
    mend = f"{file} says what was run on a GPU; say what book/results/gpu.csv has"
    assert (words in (ROOT / file).read_text(encoding="utf-8")) != recorded, mend


def test_what_the_first_cell_says_of_time():
    assert "less than a minute" in notebooks.SETUP
    with (ROOT / "book/results/notebooks.csv").open() as file:
        assert max(float(row["cpu_seconds"]) for row in csv.DictReader(file)) < 60


def test_the_address_of_the_repository_stands_once():
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    holders = [
        file
        for file in COMMITTED
        if not file.endswith((".ipynb", ".npz", ".lock", ".png"))
        and address in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert holders == ["_config.yml"], (
        f"read the address from _config.yml, and take it out of {holders}"
    )


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
        package = re.split(r"[<>=]", line)[0]
        assert everything.get(package) == line, f"requirements.txt: `{line}`, please"
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
    required = {**requirements("requirements.txt")}
    required |= requirements("book/requirements.txt")
    missing = required.keys() - locked.keys()
    assert not missing, f"run: make lock, for {', '.join(sorted(missing))}"
