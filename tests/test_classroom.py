"""A class is set up for nbgrader as the plans say, and what is there is kept."""

import csv
import sys

import pytest

from tools import classroom
from tools.slides import chapters

ROOT = classroom.ROOT


@pytest.mark.parametrize("name", classroom.schedules())
def test_plans_are_of_chapters_that_there_are(name):
    plan = classroom.schedules()[name]
    days = [session["day"] for session in plan["sessions"]]
    assert days == sorted(days)
    for session in plan["sessions"]:
        for chapter in session["chapters"]:
            assert (ROOT / f"book/{chapter}.md").exists()
        for exercise, day in session["due"].items():
            assert exercise in session["chapters"]
            assert exercise in chapters()
            assert day > session["day"], "due after its session"


def test_the_longer_plan_has_all_exercises():
    assert set(classroom.due("half-semester")) == set(chapters())


def arrange(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["", *map(str, words)])
    classroom.main()


def test_a_class_with_a_plan(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(classroom, "assignments", lambda _, names: made.extend(names))
    (tmp_path / "source/lenet").mkdir(parents=True)
    students = tmp_path / "students.csv"
    words = "--schedule", "week", "--begin", "2027-03-01", "--students", students
    arrange(monkeypatch, tmp_path, *words)
    assert made == list(classroom.due("week"))
    with (tmp_path / "due.csv").open(newline="") as file:
        found = {row["assignment"]: row["due"] for row in csv.DictReader(file)}
    assert found["convolution"] == "2027-03-02"
    lines = (tmp_path / "setup.sh").read_text().splitlines()
    assert f"nbgrader db student import {students}" in lines
    assert 'nbgrader db assignment add lenet --duedate "2027-03-03 23:59"' in lines
    assert lines[-1] == "nbgrader generate_assignment lenet"
    assert "setup.sh" in capsys.readouterr().out


def test_a_configuration_is_kept(tmp_path):
    classroom.configure(tmp_path, "deep")
    config = tmp_path / "nbgrader_config.py"
    assert 'course_id = "deep"' in config.read_text()
    config.write_text("mine")
    classroom.configure(tmp_path)
    assert config.read_text() == "mine"


def test_assignments_are_those_of_the_exercises(tmp_path):
    classroom.assignments(tmp_path, ["convolution"])
    assert (tmp_path / "source/convolution/convolution.ipynb").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--schedule", "week"], "go together"),
        (["lenet", "--schedule", "week", "--begin", "2027-03-01"], "name none"),
    ],
)
def test_what_does_not_go_together(tmp_path, monkeypatch, capsys, words, said):
    with pytest.raises(SystemExit):
        arrange(monkeypatch, tmp_path, *words)
    assert said in capsys.readouterr().err
