"""What makes the pages of the book: the API part, the links, the first page."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pybtex.database import parse_string

import course_lib
from tools import front
from tools import sphinx_api as api
from tools import sphinx_pages as pages

ROOT = Path(__file__).parents[1]

drawings = cache(front.drawings)

DOCUMENTED = re.findall(
    r"^```\{api\} (.+)$", (ROOT / "book/api.md").read_text(), flags=re.M
)
MODULES = [f"course_lib.{name}" for line in DOCUMENTED for name in line.split()]
EXPORTED = [getattr(course_lib, name) for name in course_lib.__all__]


@cache
def entries():
    return {
        f"{entry.options['module']}.{entry.name}": entry
        for module in MODULES
        for entry in api.entries(module)
    }


@pytest.mark.parametrize("value", EXPORTED, ids=lambda value: value.__name__)
def test_exported_names_are_documented_as_they_are(value):
    module = value.__module__.removeprefix("course_lib.")
    entry = entries().get(f"course_lib.{value.__name__}")
    assert entry, f"add `{module}` to book/api.md: {value.__name__} is not in it"
    assert entry.doc == inspect.getdoc(value), (
        f"{value.__name__} has another docstring than tools/sphinx_api.py reads"
    )
    if entry.kind == "exception":
        assert issubclass(value, Exception)
        return
    assert entry.kind == ("class" if inspect.isclass(value) else "function")
    if not entry.signature:  # inherited from PyTorch
        assert "__init__" not in vars(value)
        return
    signature = ast.parse(f"def f{entry.signature}: pass").body[0].args
    documented = [each.arg for each in ast.walk(signature) if isinstance(each, ast.arg)]
    assert sorted(documented) == sorted(inspect.signature(value).parameters)


def test_methods_are_documented():
    fields = {member.name: member for member in entries()["course_lib.Summary"].members}
    assert fields["plot"].kind == "method"
    assert not fields["plot"].signature.startswith("(self")
    assert not [name for name in fields if name.startswith("_")]


@pytest.mark.parametrize("text", sorted((ROOT / "book").glob("*.md")), ids=str)
def test_what_a_chapter_imports_is_documented(text):
    for module, names in re.findall(
        r"^from (course_lib\.\w+) import ([\w, ]+)$", text.read_text(), flags=re.M
    ):
        for name in names.split(", "):
            if name.isupper() or f"course_lib.{name}" in entries():
                continue
            short = module.removeprefix("course_lib.")
            assert f"{module}.{name}" in entries(), (
                f"add `{short}` to book/api.md, or write the docstring of {name}:"
                f" book/{text.name} imports it"
            )


def test_every_setting_is_explained():
    entry = entries()["course_lib.Settings"]
    explained = {each.name: each for each in entry.members}
    assert list(explained) == [field.name for field in fields(course_lib.Settings)]
    assert {each.kind for each in explained.values()} == {"attribute"}
    assert explained["lr"].doc.startswith("The highest learning rate, which")
    assert explained["lr"].doc.endswith("above 0.")
    assert "size: int | None = None" in entry.signature


def test_a_type_that_is_not_exported_is_named_in_full():
    full = "row: course_lib.googlenet.InceptionChannels"
    assert full in entries()["course_lib.Inception"].signature
    assert " -> History" in entries()["course_lib.fit"].signature
    rows = entries()["course_lib.Summary"].members[2]
    assert rows.options["type"] == "tuple[course_lib.summary.row.SummaryRow, ...]"


def test_fields_are_documented():
    entry = entries()["course_lib.summary.SummaryRow"]
    assert entry.options["canonical"] == "course_lib.summary.row.SummaryRow"
    fields = {member.name: member for member in entry.members}
    assert fields["saved_bytes"].kind == "attribute"
    assert fields["saved_bytes"].options["type"] == "int | None"
    assert (
        fields["saved_bytes"].doc
        == "What autograd saves of it for backward, in bytes; None if unknown."
    )
    assert ":type: int | None" in entry.markdown()


def test_where_a_field_can_be_documented():
    source = """
class Record(NamedTuple):
    #: Above,
    #: on two lines.
    above: int
    # No documentation.
    none: int = 1
    beside: str = ""  #: At its end.
    below: float
    \"\"\"In a string.\"\"\"
"""
    (node,) = ast.parse(source).body
    assert [*api.field_docs(node, source.splitlines())] == [
        ("above", "int", "Above,\non two lines."),
        ("none", "int", ""),
        ("beside", "str", "At its end."),
        ("below", "float", "In a string."),
    ]


def test_a_package_hands_on_what_its_parts_define():
    assert entries()["course_lib.data.normalize"].kind == "function"
    assert "course_lib.data.fashion.normalize" not in entries()


def test_the_book_needs_no_torch():
    code = "import sphinx_api, sphinx_pages, sys; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT / "tools", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def documented(name, objtype="function"):
    return name, SimpleNamespace(objtype=objtype, aliased=False)


OBJECTS = dict(
    [
        documented("course_lib.fit"),
        documented("course_lib.resnet.make_shortcut"),
        documented("course_lib.pages.expressions.layers"),
        documented("course_lib.summary.rules.shape_of"),
        documented("course_lib.diagram.ops.shape_of"),
        documented("course_lib.Summary.to_markdown", "method"),
    ]
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fit", "course_lib.fit"),
        ("fit()", "course_lib.fit"),
        ("course_lib.fit", "course_lib.fit"),
        ("fit(net)", None),
        ("d2l.fit", None),
        ("make_shortcut", "course_lib.resnet.make_shortcut"),
        ("shortcut", None),
        ("layers", None),
        ("layers()", "course_lib.pages.expressions.layers"),
        ("course_lib.pages.expressions.layers", "course_lib.pages.expressions.layers"),
        ("shape_of", None),
        ("course_lib.diagram.ops.shape_of", "course_lib.diagram.ops.shape_of"),
        ("to_markdown", None),
    ],
)
def test_which_names_link(text, name):
    assert pages.target(text, OBJECTS) == name


def test_papers_are_found_by_every_address():
    (entry,) = parse_string(
        """@article{a, author = {LeCun, Yann and {\\'E}luard, Paul}, title = {{CNN}s},
        journal = {J}, year = {1998}, doi = {10.1/2}, eprint = {3.4}, url = {https://x.org/}}""",
        "bibtex",
    ).entries.values()
    assert set(pages.addresses(entry)) == {
        "https://doi.org/10.1/2",
        "https://arxiv.org/abs/3.4",
        "https://x.org",
    }
    assert pages.describe(entry) == "LeCun, Éluard (1998). CNNs. J"


def test_a_card_has_a_name_and_a_question():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    (chapters,) = [part for part in toc["parts"] if part["caption"] == "Chapters"]
    for chapter in chapters["chapters"]:
        text = (ROOT / chapter["file"]).with_suffix(".md").read_text()
        assert re.search(r"^# [^:\n]+: [^:\n]+\?$", text, flags=re.M), (
            f"begin the text of {chapter['file']} with `# Name: a question?`"
        )


@pytest.mark.parametrize("name", ["block", "bubbles"])
def test_the_drawings_of_the_first_page_are_up_to_date(name):
    drawn = (ROOT / f"book/front/{name}.html").read_text()
    assert drawn == drawings()[name]._repr_html_(), "run python -m tools.front"
