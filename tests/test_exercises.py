"""The exercises: their solutions pass, their stubs do not, and neither do the mistakes
that students make; right answers that look different do.
"""

import importlib
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from judging import judged as check

from course_lib.checks import keys
from course_lib.checks.exercises import EXERCISES
from experiments import curves
from tools import exercises, handout, notebooks
from tools.sphinx_publish import published

ROOT = Path(__file__).parents[1]

TEXTS = exercises.texts()
for text in TEXTS:
    for file in ("course_lib/checks/keys", "tests/answers"):
        if not (ROOT / file / f"{text.stem}.py").exists():
            raise FileNotFoundError(f"write {file}/{text.stem}.py for {text.name}")
    importlib.import_module(f"course_lib.checks.keys.{text.stem}")
ANSWERS = {text.stem: importlib.import_module(f"answers.{text.stem}") for text in TEXTS}
NAMES = sorted(EXERCISES)


def answers(name, kind):
    return getattr(ANSWERS[name.split(".")[0]], kind).get(name, [])


def files_of(chapter):
    """Where the exercises of a chapter stand: asked, judged, and tried."""
    return {
        "text": f"book/exercises/{chapter}.md",
        "key": f"course_lib/checks/keys/{chapter}.py",
        "answers": f"tests/answers/{chapter}.py",
    }


def mend(name, **edits):
    """What to edit and to run if a test of this exercise fails."""
    chapter = name.split(".")[0]
    files = files_of(chapter)
    lines = [f"- in {files[file]}, {what}" for file, what in edits.items()]
    if "text" in edits:
        lines[0] += f", and run: make exercises NAMES={chapter}"
    return "\n".join(
        [
            "Whichever is wrong:",
            *lines,
            f"Then: python -m pytest tests/test_exercises.py -k {name}",
        ]
    )


def named(answer):
    """An answer of `tests/answers`, so that it is found there."""
    code = getattr(answer, "__code__", None)
    line = f" (line {code.co_firstlineno})" if code else ""
    return getattr(answer, "__name__", repr(answer)) + line


def functions(notebook):
    """Exercise -> what the notebook defines for it, its cells run in order."""
    names = {}
    for cell in notebooks.code_cells(notebook)[1:]:
        if exercises.CHECK.search(cell.source):
            continue
        exec(cell.source, names)
    checks = "\n".join(notebooks.code(notebook))
    return {name: names[answer] for name, answer in exercises.CHECK.findall(checks)}


@cache
def written(chapter, kind):
    """What a chapter's exercises define, as `solved` or as for a `student`: only the
    chapters that this process tests are run.
    """
    text = next(path for path in TEXTS if path.stem == chapter)
    return functions(getattr(exercises, kind)(text))


#: Their solutions carry out networks of the lab on 200 images many times. `make nbval`
#: runs all solutions, and compares what is said of them.
MEASURED = {
    "googlenet.branches_of_3a",
    "nin.shifted_down",
    "resnet.all_together",
    "vgg.worst_to_lose",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in MEASURED else [])
        for name in NAMES
    ],
)
def test_the_solution_passes(name):
    result = check(name, written(name.split(".")[0], "solved")[name])
    to_do = mend(
        name,
        text="correct the solution",
        key="correct what is wanted, or allow for rounding with `tolerance=`",
    )
    assert result.passed, f"{result}\n{to_do}"


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_does_not(name):
    result = check(name, written(name.split(".")[0], "student")[name])
    to_do = mend(
        name,
        text="put BEGIN SOLUTION and END SOLUTION around all that the function does",
        key="call the answer, and do nothing before that needs its result",
    )
    assert not result.passed, to_do
    assert result.message == "Not started.", f"{result}\n{to_do}"
    assert result.hint == EXERCISES[name].first_hint, f"{result}\n{to_do}"


@pytest.mark.parametrize(
    ("name", "wrong", "hint"),
    [
        pytest.param(name, wrong, hint, id=f"{name}-{i}")
        for name in NAMES
        for i, (wrong, hint) in enumerate(answers(name, "WRONG"))
    ],
)
def test_mistakes_are_found_and_named(name, wrong, hint):
    result = check(name, wrong)
    called = named(wrong)
    to_do = mend(
        name,
        key=f"have what {called} gives among the `mistakes=`, with this hint",
        answers=f"correct {called} in WRONG, or the hint beside it",
    )
    assert not result.passed, f"{called} passes.\n{to_do}"
    assert hint.lower() in repr(result).lower(), f"no {hint!r} in: {result}\n{to_do}"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        pytest.param(name, right, id=f"{name}-{i}")
        for name in NAMES
        for i, right in enumerate(answers(name, "RIGHT"))
    ],
)
def test_right_answers_that_look_different(name, right):
    result = check(name, right)
    called = named(right)
    to_do = mend(
        name,
        key="judge by what comes out, and ask for no more than the text does",
        answers=f"correct {called} in RIGHT",
    )
    assert result.passed, f"{result}\n{to_do}"


@pytest.mark.parametrize("name", NAMES)
def test_enough_answers(name):
    wrong = answers(name, "WRONG")
    hints = {hint for _, hint in wrong}
    right = answers(name, "RIGHT")
    to_do = mend(
        name,
        answers=f"have five in WRONG (there are {len(wrong)}) with two different hints"
        f" ({len(hints)}), and in RIGHT three that are written differently"
        f" ({len(right)}), one of them unusual in type",
    )
    assert len(wrong) >= 5, to_do
    assert len(hints) >= 2, to_do
    assert len(right) >= 3, to_do


#: The line below the heading of an exercise that no code checks.
LINE = re.compile(r"^\*Investigate\. Goal: .*?\. About \d+ minutes?\.\*$", re.M | re.S)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_text_and_checks_agree(text):
    """Every exercise stands in both; its kind, goal and minutes in its key, if it has
    one, from which the line in its notebook is written.
    """
    sections = re.split(r"^## ", text.read_text(), flags=re.MULTILINE)[1:]
    checked = {
        name: e for name, e in EXERCISES.items() if name.split(".")[0] == text.stem
    }
    found = []
    for section in sections:
        names = [name for name, _ in exercises.CHECK.findall(section)]
        assert bool(LINE.search(section)) == (not names), (
            f"in book/exercises/{text.name}, below ## {section[:60]}, write"
            " `*Investigate. Goal: what is learned. About 10 minutes.*` if no code"
            " checks it, and no such line if its answer key has it"
        )
        found += names
    assert sorted(found) == sorted(checked), (
        f"book/exercises/{text.name} and course_lib/checks/keys/{text.stem}.py have"
        f" other exercises: {set(found) ^ set(checked)}"
    )
    shown = [cell.source for cell in exercises.student(text).cells]
    for name, asked in checked.items():
        assert any(asked.line in source for source in shown), name


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_exercise_has_its_skill_and_reasoning(text):
    """Its difficulty, too; and the last is one for an hour."""
    sections = re.split(r"^## ", text.read_text(), flags=re.MULTILINE)[1:]
    levels = []
    for section in sections:
        where = f"in book/exercises/{text.name}, below ## {section[:40]}"
        found = exercises.FIELDS.findall(section)
        assert len(found) == 1, f"{where}, write `% skill: ...; difficulty: 2`"
        levels.append(int(found[0][1]))
        why = handout.REASONING.findall(section)
        assert len(why) == 1, (
            f"{where}, write `:::{{dropdown}} The reasoning` ... `:::`"
        )
    assert levels == sorted(levels), f"in {text.name}, difficulty rises: {levels}"
    assert levels[0] < 3, f"begin {text.name} with something easier"
    assert levels[-1] == 3, f"end {text.name} with something that takes an hour"


def test_fields_are_shown_before_the_kind(tmp_path):
    asked = "% skill: deriving; difficulty: 2\n\nA text."
    assert exercises.FIELDS.sub(exercises._fields, asked) == "*Deriving, ★★☆.*\nA text."
    with pytest.raises(ValueError, match=r"a skill is one of .*, got guessing"):
        exercises.FIELDS.sub(exercises._fields, asked.replace("deriving", "guessing"))


def test_the_curves_have_the_faults_that_are_asked_for():
    assert {**curves.FAULTS} == {"none": "none", **keys.training.CURVES}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_an_empty_student_notebook_runs_to_its_end(text):
    """In one process, as a kernel would: stubs raise only when they are called."""
    names = {}
    results = []
    for source in notebooks.code(exercises.student(text))[1:]:
        *_, last = ["", *source.strip().splitlines()]
        if exercises.CHECK.fullmatch(last):
            results.append(eval(last, names))
        else:
            exec(source, names)
    file = files_of(text.stem)["text"]
    assert results, f"in {file}, end a cell of each exercise with `check(...)`"
    passed = [result.name for result in results if result]
    assert not passed, f"in {file}, take the solution of {passed} out of the stub"


def test_no_stored_solution_was_refused():
    shown = {
        path.name: path.read_text()
        for path in (ROOT / "book/solutions").glob("*.ipynb")
    }
    assert any("check-passed" in text for text in shown.values())
    assert [name for name, text in shown.items() if "check-open" in text] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_students_see_no_solution(text):
    path = exercises.EXERCISES / f"{text.stem}.ipynb"
    again = f"run: make exercises NAMES={text.stem}"
    assert path.exists(), again
    notebook = nbformat.read(path, as_version=4)
    for cell in notebooks.code_cells(notebook):
        assert "SOLUTION" not in cell.source, again
        assert cell.outputs == [], again
    solutions = [
        m[2]
        for s in notebooks.code(exercises.from_text(text))
        for m in exercises.SOLUTION.finditer(s)
    ]
    file = files_of(text.stem)["text"]
    assert solutions, f"in {file}, write solutions between the two marks"
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert "The reasoning" not in sources, again
    shown = [solution for solution in solutions if solution.strip() in sources]
    assert not shown, f"in {file}, write this nowhere else, and {again}:\n{shown[0]}"


def test_links_of_stubs_lead_to_the_published_book():
    """A stub is no page of the book, and may stand on Colab."""
    links = [
        link
        for path in sorted(exercises.EXERCISES.glob("*.ipynb"))
        for link in re.findall(r'href=\\"([^"\\]+)', path.read_text(encoding="utf-8"))
    ]
    config = (Path(__file__).parents[1] / "_config.yml").read_text(encoding="utf-8")
    address = re.search(r"^  url: (\S+)$", config, flags=re.MULTILINE)[1]
    pages = f"{published(address)}book/lab.html?net="
    assert len(links) >= 4
    assert all(link.startswith(pages) for link in links), links
