"""Hand out and grade the exercises with nbgrader, as a teacher does:

    python proofs/grading.py            every chapter's
    python proofs/grading.py NAME ...   these

Ten students hand in the first chapter, three the others; each must score a point for
every exercise that is solved, and no more. Among the ten are three whose answers loop
for ever, end their process, and replace the check by one that always passes: they lose
the point of that exercise, and of no other. Points for written answers are the
teacher's, and not counted. nbgrader is an extra, ``pip install --editable ".[teach]"``;
it is looked for beside this Python, then on the PATH.
"""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from tools import exercises

ROOT = Path(__file__).parents[1]

#: What is beside this Python comes first; nbgrader calls other commands by their names.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

#: What an exercise can look like when it is handed in, beside solved: the code in
#: place of the stub, and before the function.
INSTEAD = {
    "stub": ("raise NotImplementedError", ""),
    "none": ("return None", ""),
    "zero": ("return 0", ""),
    "loops": ("while True:\n        pass", ""),
    "exits": ("import os; os._exit(0)", ""),
    "patches": (
        "return 0",
        "import course_lib.checks.core, course_lib.checks.report, torch\n"
        "course_lib.checks.core.Check.__call__ = lambda *_: (\n"
        "    course_lib.checks.report.Result('it', True, '')\n)\n"
        "torch.allclose = torch.equal = lambda *_, **__: True\n\n\n",
    ),
}

#: Student -> the number of an exercise -> what is handed in of it.
STUDENTS: dict[str, Callable[[int], str]] = {
    "solutions": lambda _: "solved",
    "half": lambda i: "stub" if i % 2 else "solved",
    "stubs": lambda _: "stub",
    "first": lambda i: "stub" if i else "solved",
    "others": lambda i: "solved" if i else "stub",
    "nothing": lambda _: "none",
    "zeros": lambda i: "solved" if i % 2 else "zero",
    "loops": lambda i: "solved" if i else "loops",
    "exits": lambda i: "solved" if i else "exits",
    "patches": lambda i: "solved" if i else "patches",
}


def main() -> None:
    """Grade the chapters that are named, in a course that is thrown away."""
    names = sys.argv[1:] or [text.stem for text in exercises.texts()]
    with TemporaryDirectory() as folder:
        course = Path(folder)
        tool = ("-m", "tools.classroom")
        run([sys.executable, *tool, course, *names], ROOT)
        some = dict(itertools.islice(STUDENTS.items(), 3))
        failed = [
            name
            for i, name in enumerate(names)
            if not graded(course, name, some if i else STUDENTS)
        ]
    sys.exit(f"not as it should be: {', '.join(failed)}" if failed else 0)


def graded(course: Path, name: str, students: dict[str, Callable[[int], str]]) -> bool:
    """Grade what these students hand in of one chapter, and say what they scored."""
    nbgrader(course, "generate_assignment", name)
    release = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    if any(mark in str(release) for mark in ("SOLUTION", "HIDDEN", "passed, result")):
        sys.exit(f"{name}: students would see what they must not")
    for student, chosen in students.items():
        target = course / "submitted" / student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        source = nbformat.read(course / "source" / name / target.name, as_version=4)
        nbformat.write(submission(release, source, chosen), target)
    nbgrader(course, "autograde", name)
    nbgrader(course, "export", "--assignment", name, "--to", "grades.csv")
    with (course / "grades.csv").open(newline="") as file:
        scores = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)}
    full = sum(
        cell.metadata.nbgrader.points
        for cell in exercises.code_cells(release)
        if cell.metadata.get("nbgrader", {}).get("grade")
    )
    right = True
    for student, chosen in students.items():
        score, due = scores[student], [chosen(i) for i in range(full)].count("solved")
        right = right and score == due
        said = "" if score == due else f", and should have {due}"
        print(f"{name:14}{student:10}{score:3g} of {full:2} points{said}", flush=True)
    return right


def submission(release: Any, source: Any, chosen: Callable[[int], str]) -> Any:
    """What a student hands in who did that to the exercises that are checked."""
    made = nbformat.from_dict(release)
    texts = {cell.metadata.nbgrader.grade_id: cell for cell in tasks(source)}
    for i, cell in enumerate(tasks(made)):
        if chosen(i) == "solved":
            solution = texts[cell.metadata.nbgrader.grade_id].source
            cell.source = exercises.SOLUTION.sub(lambda found: found[2], solution)
        else:
            code, before = INSTEAD[chosen(i)]
            cell.source = before + cell.source.replace(
                "raise NotImplementedError", code
            )
    return made


def tasks(notebook: Any) -> list[Any]:
    """The cells that students fill with code, of exercises that are checked."""
    found, task = [], None
    for cell in exercises.code_cells(notebook):
        kind = cell.metadata.get("nbgrader", {})
        if kind.get("solution"):
            task = cell
        elif kind.get("grade") and task is not None:
            found.append(task)
    return found


def nbgrader(course: Path, *arguments: str) -> None:
    """Run a command of nbgrader in the folder of the course."""
    if shutil.which("nbgrader", path=PATH) is None:
        sys.exit('nbgrader is not here: pip install --editable ".[teach]"')
    run(["nbgrader", *arguments], course)


def run(command: list[Any], folder: Path) -> None:
    """Run a command, silent as long as it succeeds."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")


if __name__ == "__main__":
    main()
