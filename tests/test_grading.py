"""What nbgrader gets: its marks, and cells that grade and give nothing away."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

from course_lib.checks import core, judge
from tools import exercises

ROOT = Path(__file__).parents[1]

TEXTS = exercises.texts()


@pytest.fixture(scope="module", params=TEXTS, ids=lambda path: path.stem)
def text(request):
    return request.param


def investigations(text):
    """How many exercises want something written: those with a rubric."""
    return len(re.findall(r"What a good answer has(:|<)", text.read_text()))


@pytest.fixture(scope="module")
def graded(text):
    return exercises.graded(text)


def marked(notebook, **wanted):
    """The cells whose marks have these values."""
    return [
        cell
        for cell in notebook.cells
        if "nbgrader" in cell.metadata
        and all(cell.metadata.nbgrader[key] == value for key, value in wanted.items())
    ]


def test_every_check_has_a_cell_that_grades(graded):
    checks = [
        found[0]
        for cell in graded.cells
        for found in exercises.CHECK.findall(cell.source)
    ]
    tests = marked(graded, grade=True, solution=False)
    assert len(tests) == len(checks) >= 3
    for name, cell in zip(checks, tests, strict=True):
        assert f'check("{name}", ' in cell.source
        assert cell.metadata.nbgrader["points"] == exercises.POINTS
        assert cell.metadata.nbgrader["locked"]


@pytest.fixture
def modules():
    """A cell that grades reads the library again; other tests want the old one back."""
    judge.rows([text.stem for text in TEXTS])  # all keys are there from now on
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name.startswith("course_lib")]:
        del sys.modules[name]
    sys.modules.update(before)


def test_what_students_see_of_a_cell_that_grades_is_a_comment(graded):
    for cell in marked(graded, grade=True, solution=False):
        shown, rest = cell.source.split("### BEGIN HIDDEN TESTS")
        assert shown.startswith("#")
        assert rest.endswith("### END HIDDEN TESTS")


@pytest.mark.parametrize("solved", [False, True])
def test_a_cell_that_grades_raises_for_a_stub_and_not_for_a_solution(solved, modules):
    """Whatever the notebook made of `check`, and of the library."""
    made = exercises.solved(TEXTS[0]) if solved else exercises.student(TEXTS[0])
    graded = marked(exercises.graded(TEXTS[0]), grade=True, solution=False)
    names = {}
    for each in exercises.code_cells(made)[1:]:
        if exercises.CHECK.search(each.source):
            break
        exec(each.source, names)
    names["check"] = lambda *_: pytest.fail("the library's is asked, not theirs")
    core.Check.__call__, right = names["check"], core.Check.__call__
    try:
        if solved:
            exec(graded[0].source, names)
        else:
            with pytest.raises(AssertionError, match="Not started"):
                exec(graded[0].source, names)
    finally:
        core.Check.__call__ = right


def test_solutions_stand_between_marks(graded):
    solutions = marked(graded, solution=True, grade=False)
    assert len(solutions) >= 4
    for cell in solutions:
        assert cell.cell_type == "code"
        assert exercises.SOLUTION.search(cell.source)
        assert not cell.metadata.nbgrader["locked"]
    others = [c for c in graded.cells if c not in solutions]
    assert not any("SOLUTION" in cell.source for cell in others)


def test_what_is_found_out_is_written_down_and_graded_by_a_rubric(text, graded):
    written = marked(graded, solution=True, grade=True)
    assert len(written) == investigations(text)
    assert sum(cell.metadata.nbgrader["points"] for cell in written) == (
        text.read_text().count(exercises.POINT)
    )
    for cell in written:
        assert cell.cell_type == "markdown"
        assert cell.metadata.nbgrader["points"] >= 2
    sources = [cell.source for cell in exercises.student(text).cells]
    assert sources.count(exercises.WRITTEN) == len(written)


def test_marks_are_whole(graded):
    nbformat.validate(graded)
    names = [cell.metadata.nbgrader["grade_id"] for cell in marked(graded)]
    assert len(set(names)) == len(names)
    assert [cell.id for cell in marked(graded)] == names


def test_the_folder_is_a_course(tmp_path, monkeypatch, capsys):
    name = TEXTS[0].stem
    monkeypatch.setattr(sys, "argv", ["", "--nbgrader", str(tmp_path), name])
    exercises.main()
    (made,) = tmp_path.rglob("*.ipynb")
    assert made == tmp_path / name / f"{name}.ipynb"
    assert nbformat.read(made, as_version=4) == exercises.graded(TEXTS[0])
