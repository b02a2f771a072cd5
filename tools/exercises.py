"""Make the notebooks of the exercises from their texts, book/exercises/NAME.md:

    python -m tools.exercises              book/exercises/NAME.ipynb, for students, and
                                           book/solutions/NAME.ipynb, executed
    python -m tools.exercises NAME ...     these, changed or not
    python -m tools.exercises --keep       execute none: see notebooks.py
    python -m tools.exercises --check [NAME ...]
                                           none; fail if one is not its text
    python -m tools.exercises --nbgrader FOLDER
                                           FOLDER/NAME/NAME.ipynb, for nbgrader

A solution stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION``; students get
a stub in its place. Its reasoning, in ``:::{dropdown} The reasoning``, is for the page
only. Where something is to be found out, they get a cell to write in, too. The cells
that grade are not in their notebook at all.

Below the heading of an exercise, ``% skill: deriving; difficulty: 2`` says what it
practices, one of `SKILLS`, and how hard it is, from 1 to 3.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # see notebooks.py
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import nbformat
import yaml
from tqdm import tqdm

from course_lib.checks import judge
from tools.handout import REASONING, SOLUTION
from tools.notebooks import (
    BOOK,
    ROOT,
    code_cells,
    execute,
    from_text,
    keep_outputs,
    named,
    read,
    rewrite,
    tidied,
    tidy,
    write,
)
from tools.sphinx_publish import published

EXERCISES, SOLUTIONS = BOOK / "exercises", BOOK / "solutions"

STUB = "{indent}# YOUR CODE HERE\n{indent}raise NotImplementedError\n"
CHECK = re.compile(r'^check\("([\w.]+)", (\w+)\)$', re.MULTILINE)

#: What exercises practice, and what that means.
SKILLS = {
    "counting": "sizes, parameters, MACs and receptive fields, by hand",
    "writing layers": "layers and blocks, from their definition",
    "training loops": "the loop, the loss and the schedule",
    "deriving": "formulas and backward passes, with pencil and paper",
    "rebuilding": "networks that compute the same in another way",
    "debugging": "what goes wrong without an error message",
    "testing": "a test that a planted fault does not pass",
    "data": "splits, statistics and leaks",
    "reading results": "recorded runs, seeds and chance",
    "reading papers": "claims and numbers, checked",
    "designing": "a network within a budget",
    "transfer": "a trained network, used for something else",
    "experiments": "a question, its controls and what was not measured",
}

#: Below the heading of an exercise: what it practices, and how hard it is.
FIELDS = re.compile(r"^% skill: (.+); difficulty: ([123])\n*", re.MULTILINE)

#: What becomes of that line, if there is one, and the text below it.
FIELDS_SHOWN = re.compile(r"((?:\*[\w ]+, [★☆]{3}\.\*(?:\n|$))?)\s*(.*)", re.DOTALL)

#: A cell that grades. It reads `check` from the library's files again, whatever the
#: notebook made of the name or of the library, and leaves the reason where nbgrader's
#: feedback shows it. To nbgrader, a word on stderr is a failure.
GRADE = """\
# This cell grades the exercise.
### BEGIN HIDDEN TESTS
import contextlib
import io
import sys

for module in [name for name in sys.modules if name.startswith("course_lib.checks")]:
    del sys.modules[module]
with contextlib.redirect_stderr(io.StringIO()):
    from course_lib.checks import check

    result = check("{name}", {answer})
    check.close()
assert result.passed, result
### END HIDDEN TESTS"""

#: What an exercise is worth to nbgrader if code checks it. A written answer is worth a
#: point for each that its rubric names.
POINTS = 1
POINT = "(one point)"
WRITTEN = "*Write here what you found.*"

#: A link to what only a page of the book can do.
TO_A_PAGE = 'href="../'

#: What the solutions begin with.
SOLVED = """

Here they are solved, and folded. [Try them](../exercises/{name}.ipynb) first."""

#: How the book folds a solution.
FOLDED = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Fold it again"}

Notebook = Any  # nbformat has no types


def texts() -> list[Path]:
    """The texts of the exercises."""
    return sorted(EXERCISES.glob("*.md"))


def read_text(text: Path) -> Notebook:
    """The notebook of a text, with the lines below the heading of each exercise: its
    skill and difficulty, then its kind, goal and minutes, and what may not be used,
    which its answer key says.

    Raises: ValueError if an exercise has no answer key, or another skill.
    """
    notebook = from_text(text)
    notebook.cells = list(_each_with_a_heading(notebook))
    heading: Any = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            heading = cell
            heading.source = FIELDS.sub(_fields, cell.source)
        for name, _ in CHECK.findall(cell.source):
            asked = judge.find(name)
            if isinstance(asked, str):
                raise ValueError(f"{text.name}: {asked}")
            title, _, rest = heading.source.partition("\n")
            shown: Any = FIELDS_SHOWN.match(rest.strip())
            fields = f"{shown[1].strip()}\n" if shown[1] else ""
            parts = (title, fields + asked.line, shown[2])
            heading.source = "\n\n".join(filter(None, parts))
    return notebook


def _each_with_a_heading(notebook: Notebook) -> Iterator[Any]:
    """The cells; what stands above a heading is a cell of its own."""
    for cell in notebook.cells:
        before, mark, after = cell.source.partition("\n\n## ")
        yield cell
        if cell.cell_type == "markdown" and mark:
            cell.source = before
            name = f"{cell.id}-heading"
            yield nbformat.v4.new_markdown_cell(f"## {after}", id=name)


def _fields(found: re.Match[str]) -> str:
    """The line that says skill and difficulty, before the one with kind and goal."""
    if found[1] not in SKILLS:
        raise ValueError(f"a skill is one of {', '.join(SKILLS)}, got {found[1]}")
    level = int(found[2])
    return f"*{found[1].capitalize()}, {'★' * level}{'☆' * (3 - level)}.*\n"


def _for_students(notebook: Notebook) -> Notebook:
    """What is for students: no cell that holds nothing but the reasoning. Their
    notebook is no page of the book: links to pages lead to the published ones.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    pages = f'href="{published(config["repository"]["url"])}{BOOK.name}/'
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = REASONING.sub("", cell.source).strip()
            cell.source = cell.source.replace(TO_A_PAGE, pages)
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    return notebook


def student(text: Path) -> Notebook:
    """What a student edits: stubs, and no outputs."""
    notebook = _for_students(read_text(text))
    _with_room_to_write(notebook)
    for cell in code_cells(notebook):
        cell.source = SOLUTION.sub(lambda m: STUB.format(indent=m[1]), cell.source)
        cell.source = cell.source.rstrip("\n")
    return notebook


def solved(text: Path) -> Notebook:
    """The solutions, folded where the book shows them; not executed yet."""
    notebook = read_text(text)
    notebook.cells[0].source += SOLVED.format(name=text.stem)
    for cell in code_cells(notebook):
        if SOLUTION.search(cell.source):
            cell.source = SOLUTION.sub(lambda m: m[2], cell.source).rstrip("\n")
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata["mystnb"] = FOLDED
    return notebook


def graded(text: Path) -> Notebook:
    """What nbgrader takes: solutions between its marks, a cell that grades each, and
    cells for written answers, which a teacher grades by the rubric.

    A cell scores if it does not raise; `check` never does, so the grading cell asserts.
    """
    notebook = _for_students(read_text(text))
    _with_room_to_write(notebook)
    cells, points = [], 0
    for cell in notebook.cells:
        cells.append(cell)
        if cell.source == WRITTEN:
            cell.metadata["nbgrader"] = _metadata(cell.id, points, solution=True)
        elif cell.cell_type == "markdown":
            points = 0 if cell.source.startswith("## ") else points
            points += cell.source.count(POINT)
        elif SOLUTION.search(cell.source):
            cell.metadata["nbgrader"] = _metadata(cell.id, solution=True)
        for name, answer in CHECK.findall(cell.source):
            grade = nbformat.v4.new_code_cell(
                GRADE.format(name=name, answer=answer), id=f"{cell.id}-grade"
            )
            grade.metadata["nbgrader"] = _metadata(grade.id, POINTS)
            cells.append(grade)
    notebook.cells = cells
    return notebook


def _with_room_to_write(notebook: Notebook) -> None:
    """Put a cell for the answer at the end of each exercise that wants one written."""
    cells: list[Any] = []
    asked = False
    for cell in [*notebook.cells, None]:
        if asked and (cell is None or cell.source.startswith("## ")):
            name = f"{cells[-1].id}-written"
            cells.append(nbformat.v4.new_markdown_cell(WRITTEN, id=name))
            asked = False
        if cell is not None:
            cells.append(cell)
            asked = asked or "*Investigate. " in cell.source
    notebook.cells = cells


def _metadata(name: str, points: int = 0, *, solution: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": name,
        "solution": solution,
        "grade": points > 0,
        "locked": not solution,
        "task": False,
    }
    return made | ({"points": points} if points else {})


def differences(text: Path, formatted: str | None = None) -> list[str]:
    """What keeps the notebooks of `text` from being the text; `formatted` is what
    `tidied` made of it, if that is known.
    """
    found = []
    try:
        if text.read_text(encoding="utf-8") != (formatted or tidy(text)):
            found.append(f"the code of exercises/{text.name} is not formatted")
        made = [(EXERCISES, student(text)), (SOLUTIONS, solved(text))]
    except ValueError as error:
        return [str(error)]
    for folder, want in made:
        target = folder / f"{text.stem}.ipynb"
        if not target.exists():
            found.append(f"{folder.name}/{target.name} is missing")
            continue
        try:
            got = read(target)
        except ValueError as error:
            found.append(f"{folder.name}/{error}")
            continue
        if _described(want) != _described(got):
            found.append(f"{folder.name}/{target.name} differs from its text")
    return found


def _described(notebook: Notebook) -> list[tuple[Any, ...]]:
    return [(c.get("id"), c.cell_type, c.source, c.metadata) for c in notebook.cells]


def make(text: Path, *, anew: bool = False, keep: bool = False) -> bool:
    """Write both notebooks of `text`; execute the solutions if code changed, unless
    what is there has to be kept. Say if the solutions are its text, executed.
    """
    EXERCISES.mkdir(exist_ok=True)
    write(student(text), EXERCISES / f"{text.stem}.ipynb")
    notebook, target = solved(text), SOLUTIONS / f"{text.stem}.ipynb"
    SOLUTIONS.mkdir(exist_ok=True)
    if not keep_outputs(notebook, target) or anew:
        if keep:
            return False
        execute(notebook, SOLUTIONS)
    write(notebook, target)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--nbgrader", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    known = {text.stem: text for text in texts()}
    names = named(arguments.names, known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no exercises {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {n: t for n, t in known.items() if not arguments.names or n in names}
    stale = []
    try:
        formatted = {} if arguments.nbgrader else tidied(chosen.values())
        if arguments.check:
            found = [line for each in formatted.items() for line in differences(*each)]
            sys.exit("\n".join([*found, "run: make exercises"]) if found else 0)
        rewrite(formatted)
        for name, text in tqdm(chosen.items(), unit="notebook"):
            if arguments.nbgrader:
                folder = arguments.nbgrader / name
                folder.mkdir(parents=True, exist_ok=True)
                write(copy.deepcopy(graded(text)), folder / f"{name}.ipynb")
            elif not make(text, anew=bool(arguments.names), keep=arguments.keep):
                stale.append(name)
    except ValueError as error:
        sys.exit(str(error))
    if stale:
        sys.exit(f"make exercises has to execute {', '.join(stale)}")


if __name__ == "__main__":
    main()
