"""What `make new` writes, and what it refuses."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tools import new_chapter
from tools.new_chapter import FILES, WORD, Chapter, check_name, plan, write

ROOT = Path(__file__).parents[1]

CHAPTER = Chapter(
    "mnasnet",
    "MNASNet",
    torchvision="mnasnet0_5",
    paper="1602.07360",
    title="MNASNet: AlexNet-level accuracy with 50x fewer parameters",
    authors="Iandola, Forrest N. and Han, Song",
    question="how small can it be?",
)


@pytest.fixture
def tree(tmp_path):
    """A copy of what a chapter is written into, without notebooks."""
    left_out = shutil.ignore_patterns("*.ipynb", "*.png", "__pycache__", "results")
    for folder in ("course_lib", "tests", "book"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    for file in ("pyproject.toml", "_toc.yml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["", "MNASNet", "1x1", "dense-net", "class", "a b"])
def test_what_is_no_name(name):
    with pytest.raises(ValueError, match=f"lower-case letters, .*; got '{name}'"):
        check_name(ROOT, name)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet", "course_lib/resnet.py, tests/test_resnet.py, book/resnet.md"),
        ("summary", "tests/test_summary.py, course_lib/summary"),
        ("comparison", "book/comparison.md"),
        ("house", "tests/test_house.py"),
    ],
)
def test_a_name_that_is_taken(name, file):
    with pytest.raises(ValueError, match=f"'{name}' is taken: there is {file}"):
        check_name(ROOT, name)


@pytest.mark.parametrize("cls", ["Squeeze", "Squeeze Net", "squeeze-net"])
def test_a_class_that_the_word_does_not_lead_to(cls):
    with pytest.raises(ValueError, match=f"'mnasnet' in capitals .*; got '{cls}'"):
        plan(ROOT, replace(CHAPTER, cls=cls))


def test_nothing_is_overwritten(tree):
    made = plan(tree, CHAPTER)
    (tree / "book/exercises/mnasnet.md").write_text("mine")
    before = {path: path.read_bytes() for path in made if path.exists()}
    with pytest.raises(ValueError, match="is taken: there is book/exercises/mnas"):
        write(tree, CHAPTER)
    assert {path: path.read_bytes() for path in made if path.exists()} == before


def test_lists_are_only_added_to(tree):
    """Every line that was there still is, but for that of the modules in the API."""
    for path, text in plan(tree, CHAPTER).items():
        if path.exists():
            gone = set(path.read_text().splitlines()) - set(text.splitlines())
            assert all(line.startswith("```{api} ") for line in gone)


@pytest.mark.parametrize(
    ("file", "old", "why"),
    [
        ("_toc.yml", "book/comparison.ipynb", "_toc.yml has no line that begins like"),
        ("README.md", "| [Comparison", "README.md has no line that begins like"),
        ("CHANGELOG.md", "### Added", "CHANGELOG.md has no '### Added'"),
        ("book/api.md", "## Networks", "book/api.md has no list of modules under"),
    ],
)
def test_a_list_that_has_another_form(tree, file, old, why):
    path = tree / file
    path.write_text(path.read_text().replace(old, "else"))
    with pytest.raises(ValueError, match=why):
        write(tree, CHAPTER)
    assert not (tree / "course_lib/mnasnet.py").exists()


def test_the_catalog_gets_a_family_and_two_networks():
    text = (ROOT / "course_lib/catalog.py").read_text()
    made = new_chapter.into_catalog(text, CHAPTER.values())
    added = [line for line in made.splitlines() if "MNAS" in line]
    assert added[0] == "from course_lib.mnasnet import MNASNet"
    assert made.count("MNASNETS") == 4  # itself, among all, and of two networks
    assert made.count('    "MNASNet": CatalogEntry(') == 1
    assert made.count('    "MNASNet small": CatalogEntry(') == 1
    compile(made, "catalog.py", "exec")
    for table in ("NETWORKS", "LATER"):
        other = text.replace(table, "OTHERS")
        with pytest.raises(LookupError, match=table):
            new_chapter.into_catalog(other, CHAPTER.values())


def test_a_paper_that_is_cited_already_is_not_listed_twice():
    text = (ROOT / "book/references.bib").read_text()
    values = replace(CHAPTER, paper="1512.03385").values()
    assert new_chapter.into_references(text, values) == text


@pytest.mark.parametrize(
    ("authors", "who"),
    [
        ("Lin, Min", "Lin"),
        ("Zeiler, Matthew D. and Fergus, Rob", "Zeiler and Fergus"),
        ("A, A and B, B and C, C", "A, B and C"),
        ("A, A and B, B and C, C and D, D and E, E", "A et al."),
    ],
)
def test_authors(authors, who):
    values = replace(CHAPTER, authors=authors).values()
    assert values["cite"] == f"{who} 2016"


def test_without_a_paper_what_is_missing_is_marked(tree):
    made = plan(tree, Chapter("tiny", "Tiny"))
    for file in ("book/tiny.md", "book/references.bib", "README.md"):
        assert WORD in made[tree / file]
    assert "torchvision" not in made[tree / "tests/test_tiny.py"]


def test_the_network_of_torchvision():
    assert new_chapter.of_torchvision("mnasnet") == ("MNASNet", "mnasnet0_5")
    assert new_chapter.of_torchvision("lenet") == ("", "")


@pytest.mark.parametrize("cls", ["Tiny", "MNASNet", "EfficientNetV2OfTheThird"])
def test_what_it_writes_is_clean(tree, cls):
    name = cls.lower()
    made = write(tree, replace(CHAPTER, name=name, cls=cls))
    assert {file.format(name=name) for file in FILES.values()} <= {
        str(path.relative_to(tree)) for path in made
    }
    files = [str(path) for path in made if path.suffix == ".py"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *files],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    toc = yaml.safe_load((tree / "_toc.yml").read_text())
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    for folder in ("book", "book/solutions"):
        place = listed.index(f"{folder}/{name}.ipynb")
        assert listed[place + 1] == f"{folder}/comparison.ipynb"


def run(tree, *command):
    """Run a module in a copy; nothing of it counts as coverage of the library."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)


def test_what_it_writes_passes_its_tests(tree):
    """In one process, as PyTorch takes seconds to import."""
    write(tree, CHAPTER)
    code = """import sys
import pytest
options = ["-q", "-p", "no:nbval", "-p", "no:hypothesispytest", "-p", "no:anyio"]
assert not pytest.main([*options, "tests/test_mnasnet.py"])
import course_lib
sys.path.insert(0, "tests")
from answers.mnasnet import RIGHT, WRONG
from judging import judged as check
assert course_lib.__file__.startswith({tree!r}), course_lib.__file__
assert all(check("mnasnet.weights", f).passed for f in RIGHT["mnasnet.weights"])
for wrong, hint in WRONG["mnasnet.weights"]:
    assert hint in repr(check("mnasnet.weights", wrong)), hint
"""
    (tree / "look.py").write_text(code.format(tree=str(tree)))
    done = run(tree, "look")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_it_writes_has_types(tree):
    write(tree, CHAPTER)
    done = run(tree, "mypy", "course_lib/mnasnet.py", "course_lib/checks/keys")
    assert done.returncode == 0, done.stdout


def test_command(tree, monkeypatch, capsys):
    monkeypatch.setattr(new_chapter, "ROOT", tree)
    command = ["new_chapter.py", "mnasnet", "--class", "", "--paper", "1602.07360"]
    monkeypatch.setattr(sys, "argv", command)
    new_chapter.main()
    said = capsys.readouterr().out
    assert "course_lib/mnasnet.py\n" in said
    assert "make try NAME=mnasnet\n" in said
    count = sum(
        path.read_text().count(WORD)
        for folder in ("course_lib", "tests", "book")
        for path in (tree / folder).rglob("mnasnet.*")
    )
    assert count
    with pytest.raises(SystemExit, match="the name 'mnasnet' is taken"):
        new_chapter.main()
