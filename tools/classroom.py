"""A course in a box: a folder for nbgrader, set up for a class.

    python -m tools.classroom class
    python -m tools.classroom class --schedule week --begin 2027-03-01
    python -m tools.classroom class convolution lenet --students students.csv

Writes the configuration, the assignments with their solutions and hidden checks, and
`due.csv` with the day on which each is due (book/schedules.yml has the plans). What is
there already is kept: marks, and what students handed in. `book/course.md` has the
commands that follow.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SCHEDULES = ROOT / "book/schedules.yml"

CONFIG = """\
# Written by python -m tools.classroom.
c = get_config()
c.CourseDirectory.course_id = "{course}"
c.CourseDirectory.groupshared = False

# An exercise is stopped after five seconds by its own check. These stop a cell that
# loops outside of the functions, and wait for a busy machine.
c.ExecutePreprocessor.startup_timeout = 600
c.ExecutePreprocessor.timeout = 120
c.ExecutePreprocessor.iopub_timeout = 60
c.ExecutePreprocessor.interrupt_on_timeout = True
"""


def schedules() -> dict[str, Any]:
    """Name -> a plan of the course."""
    found: dict[str, Any] = yaml.safe_load(SCHEDULES.read_text(encoding="utf-8"))
    return found


def due(schedule: str) -> dict[str, int]:
    """The exercises of a plan, and how many days after its beginning each is due."""
    return {
        name: days
        for session in schedules()[schedule]["sessions"]
        for name, days in session["due"].items()
    }


def configure(folder: Path, course: str = "cnn") -> None:
    """Write the configuration of nbgrader, unless there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nbgrader_config.py"
    if not config.exists():
        config.write_text(CONFIG.format(course=course), encoding="utf-8")


def assignments(folder: Path, names: list[str]) -> None:
    """Write what nbgrader makes assignments of."""
    command = [sys.executable, "-m", "tools.exercises", "--nbgrader"]
    subprocess.run(
        [*command, folder.resolve() / "source", *names], cwd=ROOT, check=True
    )


def write_due(folder: Path, schedule: str, begin: datetime.date) -> None:
    """Write down when each assignment is due."""
    with (folder / "due.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["assignment", "due"])
        for name, days in due(schedule).items():
            writer.writerow([name, begin + datetime.timedelta(days=days)])


def commands(folder: Path, schedule: str | None, students: Path | None) -> list[str]:
    """What to type next, in the folder."""
    made = []
    if students:
        made.append(f"nbgrader db student import {students.resolve()}")
    if schedule:
        with (folder / "due.csv").open(newline="", encoding="utf-8") as file:
            made += [
                f"nbgrader db assignment add {row['assignment']}"
                f' --duedate "{row["due"]} 23:59"'
                for row in csv.DictReader(file)
            ]
    made += [
        f"nbgrader generate_assignment {path.name}"
        for path in sorted((folder / "source").iterdir())
    ]
    return made


def main() -> None:
    """Set a class up, and say what to type next."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="CHAPTER")
    parser.add_argument("--schedule", choices=sorted(schedules()))
    parser.add_argument("--begin", type=datetime.date.fromisoformat)
    parser.add_argument("--students", type=Path, help="a CSV with a column id")
    parser.add_argument("--course", default="cnn", help="what nbgrader calls it")
    arguments = parser.parse_args()
    folder, schedule = arguments.folder, arguments.schedule
    if bool(schedule) != bool(arguments.begin):
        parser.error("--schedule and --begin go together")
    if schedule and arguments.names:
        parser.error("a schedule says which chapters; name none")
    configure(folder, arguments.course)
    assignments(folder, arguments.names or (list(due(schedule)) if schedule else []))
    if schedule:
        write_due(folder, schedule, arguments.begin)
    todo = commands(folder, schedule, arguments.students)
    (folder / "setup.sh").write_text("set -e\n" + "\n".join(todo) + "\n")
    print(f"Now: cd {folder} && sh setup.sh")


if __name__ == "__main__":
    main()
