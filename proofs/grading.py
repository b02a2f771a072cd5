"""Hand out and grade the exercises with nbgrader, as a teacher does:

    python proofs/grading.py            every chapter's
    python proofs/grading.py NAME ...   these

One line for each chapter and submission. The solutions must score all points that code
grades, the stubs none, and half of the solutions something between; points for written
answers are the teacher's, and not counted. nbgrader is an extra, ``pip install
--editable ".[teach]"``; it is looked for beside this Python, then on the PATH.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from tools import exercises

ROOT = Path(__file__).parents[1]

CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "proof"
c.CourseDirectory.groupshared = False
c.ExecutePreprocessor.startup_timeout = 600
c.ExecutePreprocessor.timeout = 600
"""

#: What is beside this Python comes first; nbgrader calls other commands by their names.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

#: Submission -> which of the solutions it has.
SUBMISSIONS = {"solutions": slice(None), "half": slice(0, None, 2), "stubs": slice(0)}


def main() -> None:
    """Grade the chapters that are named, in a course that is thrown away."""
    names = sys.argv[1:] or [text.stem for text in exercises.texts()]
    with TemporaryDirectory() as folder:
        course = Path(folder)
        (course / "nbgrader_config.py").write_text(CONFIG)
        tool = ("-m", "tools.exercises")
        run([sys.executable, *tool, "--nbgrader", course / "source", *names], ROOT)
        failed = [name for name in names if not graded(course, name)]
    sys.exit(f"not as it should be: {', '.join(failed)}" if failed else 0)


def graded(course: Path, name: str) -> bool:
    """Grade the three submissions of one chapter, and say what they scored."""
    nbgrader(course, "generate_assignment", name)
    release = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    if any(mark in str(release) for mark in ("SOLUTION", "HIDDEN", "passed, result")):
        sys.exit(f"{name}: students would see what they must not")
    for student, chosen in SUBMISSIONS.items():
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
    for student in SUBMISSIONS:
        score = scores[student]
        print(f"{name:14}{student:10}{score:3g} of {full:2} points", flush=True)
    best, half, none = (scores[student] for student in SUBMISSIONS)
    return best == full > half > none == 0


def submission(release: Any, source: Any, chosen: slice) -> Any:
    """What a student hands in who has solved some of the exercises that are checked."""
    made = nbformat.from_dict(release)
    texts = {cell.metadata.nbgrader.grade_id: cell for cell in tasks(source)}
    for cell in tasks(made)[chosen]:
        solution = texts[cell.metadata.nbgrader.grade_id].source
        cell.source = exercises.SOLUTION.sub(lambda found: found[2], solution)
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
