"""The maker of notebooks: tools/notebooks.py."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.compare import banded, bands, parts
from tools import notebooks

ROOT = Path(__file__).parents[1]

TEXT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

```{code-cell} ipython3
:band: 0.5

import sys

print("a number: 1.0")
print("a warning", file=sys.stderr)
```

Words.

```{code-cell} ipython3
1 + 1
```
"""


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    path = tmp_path / "chapter.md"
    path.write_text(TEXT)
    (tmp_path / "notes.md").write_text("# A page without code\n")
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook of the text, which is executed for all tests at once."""
    path = tmp_path_factory.mktemp("book") / "chapter.md"
    path.write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "BOOK", path.parent)
        run(patch)
    return path.with_suffix(".ipynb").read_bytes()


@pytest.fixture
def target(text, executed, monkeypatch):
    """The notebook, made: whatever has to be executed fails."""
    path = text.with_suffix(".ipynb")
    path.write_bytes(executed)
    monkeypatch.setattr(
        notebooks, "execute", lambda *_: pytest.fail("the code did not change")
    )
    return path


def run(monkeypatch, *arguments):
    """The command; that it exits with 0 is left out."""
    monkeypatch.setattr(sys, "argv", ["notebooks.py", *arguments])
    try:
        notebooks.main()
    except SystemExit as stop:
        if stop.code:
            raise


def test_what_is_executed(target, text):
    assert notebooks.differences(text) == []
    made = nbformat.read(target, as_version=4)
    assert [cell.id for cell in made.cells] == [f"chapter-{i}" for i in range(5)]
    assert [cell.execution_count for cell in notebooks.code_cells(made)] == [1, 2, 3]
    _, printed, summed = notebooks.code_cells(made)
    assert printed.metadata["band"] == 0.5
    assert [output.name for output in printed.outputs] == ["stdout"], (
        "stderr is left out"
    )
    assert summed.outputs[0].data["text/plain"] == "2"


def test_executes_what_is_named(text, executed, monkeypatch):
    text.with_suffix(".ipynb").write_bytes(executed)
    run(monkeypatch, "chapter")
    assert text.with_suffix(".ipynb").read_bytes() == executed, "still the same bytes"


def test_keeps_the_outputs_when_words_change(target, text, executed, monkeypatch):
    run(monkeypatch)
    assert target.read_bytes() == executed
    text.write_text(TEXT.replace("Words.", "Other words."))
    for names in ([], ["chapter"]):
        with pytest.raises(SystemExit, match="make notebooks"):
            run(monkeypatch, "--check", *names)
    run(monkeypatch)
    assert b"Other words." in target.read_bytes()
    assert notebooks.differences(text) == []


def test_another_setup_cell_is_put_in_and_nothing_executed(
    target, text, executed, monkeypatch
):
    """As when the address changes, and as when a notebook had none."""
    old = nbformat.read(target, as_version=4)
    del old.cells[1]
    for number, cell in enumerate(notebooks.code_cells(old), 1):
        cell.execution_count = number
    old.cells[-1].outputs[0].execution_count = 2
    notebooks.write(old, target)
    run(monkeypatch)
    assert target.read_bytes() == executed
    monkeypatch.setattr(notebooks, "SETUP", notebooks.SETUP + "\n# {repository}")
    run(monkeypatch)
    assert target.read_bytes() != executed
    assert notebooks.differences(text) == []


def test_keeping_never_executes(target, text, executed, monkeypatch):
    text.write_text(TEXT.replace("1 + 1", "1 + 2"))
    with pytest.raises(SystemExit, match="has to execute chapter"):
        run(monkeypatch, "--keep")
    assert target.read_bytes() == executed


def test_a_notebook_that_was_not_run_in_order_is_executed(target, text):
    old = nbformat.read(target, as_version=4)
    old.cells[-1].execution_count = 7
    notebooks.write(old, target)
    assert not notebooks.keep_outputs(notebooks.from_text(text), target)


def test_changed_code_is_executed(target, text, monkeypatch):
    text.write_text(TEXT.replace("1 + 1", "1 + 2"))
    assert notebooks.differences(text) == [
        "chapter.ipynb, cell chapter-4: source differs from chapter.md"
    ]
    ran = []
    monkeypatch.setattr(notebooks, "execute", lambda made, _: ran.append(made))
    run(monkeypatch)
    assert [made.cells[-1].source for made in ran] == ["1 + 2"]
    assert notebooks.differences(text) == []


def test_check(text, executed, monkeypatch):
    with pytest.raises(SystemExit, match=r"chapter\.ipynb is missing"):
        run(monkeypatch, "--check")
    target = text.with_suffix(".ipynb")
    assert not target.exists()
    target.write_bytes(executed)
    run(monkeypatch, "--check")
    text.write_text(TEXT + "\nMore words.\n")
    assert notebooks.differences(text) == [
        "chapter.ipynb has other cells than chapter.md"
    ]


def test_checks_what_is_named(target, text, monkeypatch, capsys):
    other = text.with_name("other.md")
    other.write_text(TEXT)
    run(monkeypatch, "--check", "chapter")
    for names in ([], ["other"], ["chapter", "other"]):
        with pytest.raises(SystemExit, match=r"^other\.ipynb is missing\nrun: make"):
            run(monkeypatch, "--check", *names)
    with pytest.raises(SystemExit):
        run(monkeypatch, "--check", "notes")
    assert "no chapter notes; there are chapter, other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["lenet", "vgg"], ["lenet", "vgg"]),
        (["book/vgg.md", "book/vgg.ipynb", "vgg"], ["vgg"]),
        (["book/index.md", "book/lenet.md"], ["lenet"]),
        (["book/solutions/nin.ipynb", "book/exercises/nin.md"], ["nin"]),
        (["book/nonsense.md"], ["nonsense"]),
    ],
)
def test_chapters_are_named_by_their_files_too(names, found):
    assert notebooks.named(names, ["lenet", "nin", "vgg"]) == sorted(found)


def test_pages_without_code_are_not_checked(target, text, monkeypatch):
    """As a commit of one asks for it; another chapter may be wrong meanwhile."""
    text.write_text(TEXT.replace("1 + 1", "1 + 2"))
    notes = str(text.with_name("notes.md"))
    run(monkeypatch, "--check", notes)
    with pytest.raises(SystemExit, match="make notebooks"):
        run(monkeypatch, "--check", str(text), notes)


#: What people's programs make of a notebook that was executed: the outputs are kept.
SAVED = {
    "Colab": lambda made: [
        made.update(nbformat_minor=0),
        made["metadata"].update(colab={"name": "x"}),
        *(cell.pop("id") for cell in made["cells"]),
        *(cell["metadata"].update(id="x", executionInfo={}) for cell in made["cells"]),
    ],
    "no ids": lambda made: [cell.pop("id") for cell in made["cells"]],
    "ids twice": lambda made: [cell.update(id="x") for cell in made["cells"]],
    "ids too early": lambda made: made.update(nbformat_minor=4),
    "no minor version": lambda made: made.pop("nbformat_minor"),
    "an empty cell at the end": lambda made: made["cells"].append(empty("end")),
    "an empty cell first": lambda made: made["cells"].insert(0, empty("first", " \n")),
    "warnings": lambda made: made["cells"][2]["outputs"].insert(
        0, {"output_type": "stream", "name": "stderr", "text": "a warning"}
    ),
    "times": lambda made: [
        cell["metadata"].update(execution={"iopub.status.busy": "2026"})
        for cell in made["cells"]
    ],
}
#: What --check has nothing against: it is for what the text says.
PASSES = {"ids too early", "no minor version", "warnings"}


def empty(name, source=""):
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


@pytest.mark.parametrize("how", SAVED)
def test_a_notebook_as_other_programs_save_it(
    target, text, executed, monkeypatch, recwarn, how
):
    made = json.loads(executed)
    SAVED[how](made)
    target.write_text(json.dumps(made))
    found = notebooks.differences(text)
    assert bool(found) is (how not in PASSES)
    assert all(line.startswith("chapter.ipynb") for line in found)
    run(monkeypatch)
    assert target.read_bytes() == executed
    assert not recwarn.list


def test_other_ends_of_lines(target, text, executed, monkeypatch):
    target.write_bytes(executed.replace(b"\n", b"\r\n"))
    assert notebooks.differences(text) == []
    run(monkeypatch)
    assert target.read_bytes() == executed


#: What is no notebook, and what is said.
BROKEN = {
    "empty": (b"", "does not appear to be JSON"),
    "cut": (b'{"cells": [', "does not appear to be JSON"),
    "conflict": (b"<<<<<<< HEAD\n{}", "does not appear to be JSON"),
    "mark": (b"\xef\xbb\xbf{}", "does not appear to be JSON"),
    "encoding": ('{"cells": "\xe9"}'.encode("utf-16"), "can't decode"),
    "list": (b"[]", "'list' object has no"),
    "nothing": (b"{}", "missing a key: cells"),
    "newer": (b'{"nbformat": 5}', "Unsupported nbformat version 5"),
    "cells": (b'{"nbformat": 4, "metadata": {}}', "missing an expected key: cells"),
    "cell": (
        b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "x", "source": 1,'
        b' "metadata": {}}]}',
        "is not valid under any of the given schemas",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_notebook(target, text, executed, monkeypatch, how):
    content, why = BROKEN[how]
    target.write_bytes(content)
    with pytest.raises(
        SystemExit, match=r"^chapter\.ipynb is not a notebook \("
    ) as said:
        run(monkeypatch, "--check")
    assert why in str(said.value)
    monkeypatch.setattr(notebooks, "execute", lambda *_: None)
    run(monkeypatch)
    assert len(notebooks.read(target).cells) == 5, "a notebook took its place"


def test_a_folder_in_the_place_of_a_notebook(text, monkeypatch):
    text.with_suffix(".ipynb").mkdir()
    (found,) = notebooks.differences(text)
    assert found.startswith("chapter.ipynb is not a notebook (")
    with pytest.raises(SystemExit, match=r"chapter\.ipynb is a folder"):
        run(monkeypatch)


def test_a_notebook_of_an_older_format(target, text):
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}
    target.write_text(json.dumps(old))
    assert notebooks.differences(text) == [
        "chapter.ipynb has other cells than chapter.md"
    ]
    assert not notebooks.keep_outputs(notebooks.from_text(text), target)


def test_a_cell_without_code_is_not_counted(text):
    """nbclient leaves it without a count, as every other program does."""
    text.write_text(TEXT.replace("1 + 1", "") + "\n```{code-cell} ipython3\n# x\n```\n")
    made, target = notebooks.from_text(text), text.with_suffix(".ipynb")
    for cell, count in zip(notebooks.code_cells(made), (1, 2, None, 3), strict=True):
        cell.execution_count = count
    notebooks.write(made, target)
    again = notebooks.from_text(text)
    assert notebooks.keep_outputs(again, target)
    assert again == made
    assert notebooks.differences(text) == []


def test_formats_the_code_of_a_text(text, monkeypatch):
    text.write_text(TEXT.replace("1 + 1", "1+1"))
    (text.with_suffix(".ipynb")).touch()
    assert notebooks.differences(text) == ["the code of chapter.md is not formatted"]
    monkeypatch.setattr(notebooks, "execute", lambda *_: None)
    run(monkeypatch, "chapter")
    assert text.read_text() == TEXT


def fenced(*sources):
    return "".join(
        f"```{{code-cell}} ipython3\n{source}\n```\n\n" for source in sources
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "We write `x=1`.\n\n" + fenced("x=1", 'print("x=1")', "x=1"),
            "We write `x=1`.\n\n" + fenced("x = 1", 'print("x=1")', "x = 1"),
        ),
        (
            fenced(":band: 1\n\nx=1", "---\nalt: x=1\n---\nx=1"),
            fenced(":band: 1\n\nx = 1", "---\nalt: x=1\n---\nx = 1"),
        ),
        (
            "````{code-cell}\nx=(  # a\n# ```\n1)\n````\n\n~~~{code-cell}\ny=1\n~~~",
            "````{code-cell}\nx = (  # a\n    # ```\n    1\n)\n````\n\n"
            "~~~{code-cell}\ny = 1\n~~~",
        ),
        (fenced("%timeit  x=1\ny=1", "%%bash\nx=1"), None),
        (fenced("", "  ") + "```python\nx=1\n```\n", None),
        ("```{code-cell} ipython3\nx=1", "```{code-cell} ipython3\nx = 1"),
    ],
)
def test_formats_nothing_but_the_code(text, before, after):
    after = after or before.replace("\ny=1", "\ny = 1")
    text.write_text(before)
    assert notebooks.tidy(text) == after


def test_one_process_formats_all(text, monkeypatch):
    more = [text.with_name(f"{name}.md") for name in "ab"]
    for path in more:
        path.write_text(fenced("x=1", "y=1"))
    started, begin = [], notebooks.subprocess.run
    monkeypatch.setattr(
        notebooks.subprocess,
        "run",
        lambda *args, **more: started.append(args) or begin(*args, **more),
    )
    assert notebooks.tidied(more) == {path: fenced("x = 1", "y = 1") for path in more}
    assert len(started) == 1


def test_code_that_cannot_be_parsed(text, monkeypatch):
    wrong = TEXT.replace("1 + 1", "for in x")
    text.write_text(wrong)
    text.with_suffix(".ipynb").touch()
    line = wrong.splitlines().index("for in x") + 1
    (found,) = notebooks.differences(text)
    assert found.startswith(f"chapter.md, line {line}: Expected")
    for arguments in ([], ["chapter"], ["--check"], ["--keep"]):
        with pytest.raises(SystemExit, match=rf"chapter\.md, line {line}: Expected"):
            run(monkeypatch, *arguments)
    assert text.read_text() == wrong


def test_metadata_that_cannot_be_parsed(text):
    text.write_text(TEXT.replace(":band: 0.5", ":band: ["))
    text.with_suffix(".ipynb").touch()
    (found,) = notebooks.differences(text)
    assert found.startswith("chapter.md: Code cell 1 at line ")


def test_no_such_chapter(text, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "chpater")
    assert "no chapter chpater; there are chapter" in capsys.readouterr().err


#: What nbval runs: Makefile.
COMPARED = sorted([*ROOT.glob("book/*.ipynb"), *ROOT.glob("book/solutions/*.ipynb")])

#: What a cell may be tagged with: nothing else keeps nbval from looking at it.
TAGS = {
    "parameters",
    "hide-cell",
    "hide-input",
    "remove-input",
    "nbval-ignore-output",
    "measured",
}


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_what_is_left_out_of_the_comparison(path):
    for cell in notebooks.code_cells(nbformat.read(path, as_version=4)):
        other = set(cell.metadata.get("tags", [])) - TAGS
        assert not other, f"{cell.id}: take the tags {other} away, or add them to TAGS"
        assert "NBVAL_" not in cell.source, f"{cell.id}: tags, not NBVAL_ comments"
        if "band" in cell.metadata:
            found = dict(parts(cell.outputs))
            assert banded(cell.outputs) in found, (
                f"{cell.id} has a band and prints nothing; run: make notebooks"
            )
            assert bands(found[banded(cell.outputs)], cell.metadata["band"])
            assert int(cell.metadata.get("runs", 0)) >= 5, (
                f"the band of {cell.id} is not of five runs; run: python -m"
                f" proofs.calibrate {path.stem} && python -m proofs.calibrate --write"
                f" {path.stem} && make notebooks"
            )


def test_one_cell_in_ten_is_not_compared_or_fewer():
    cells = [
        cell
        for path in COMPARED
        for cell in notebooks.code_cells(nbformat.read(path, as_version=4))
    ]
    unchecked = [
        cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])
    ]
    assert len(unchecked) <= 0.1 * len(cells), (
        f"{len(unchecked)} of {len(cells)} cells are not compared: a `:band:` in place"
        " of `:tags: [nbval-ignore-output]`, or print what does not change"
    )
