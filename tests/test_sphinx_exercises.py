"""The table of exercises on the page for teachers."""

from pathlib import Path

import pytest

pytest.importorskip("sphinx")  # where only the library is tested

from course_lib.checks.exercises import EXERCISES
from tools import exercises, sphinx_exercises
from tools.sphinx_exercises import ListedExercise

ROOT = Path(__file__).parents[1]
TEXTS = exercises.texts()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_exercise_is_in_it_as_its_text_and_key_say(text):
    notebook = ROOT / f"book/exercises/{text.stem}.ipynb"
    rows = list(sphinx_exercises.rows("X", notebook))
    headings = [
        line for line in text.read_text().splitlines() if line.startswith("## ")
    ]
    assert [f"## {row.number}. {row.title}" for row in rows] == headings
    fields = exercises.FIELDS.findall(text.read_text())
    said = [(row.skill, str(row.stars.count("★"))) for row in rows if row.skill]
    assert said == fields
    asked = {
        name: e for name, e in EXERCISES.items() if name.split(".")[0] == text.stem
    }
    minutes = sorted((e.kind, e.minutes) for e in asked.values())
    shown = [(row.kind, row.minutes) for row in rows]
    assert all(each in shown for each in minutes)
    assert len(shown) >= len(minutes)


def test_the_table():
    rows = [
        ListedExercise("LeNet", 1, "Seeds", "implement", "reading results", "★★☆", 40),
        ListedExercise("VGG", 2, "Old", "predict", "", "", 20),
    ]
    text = list(sphinx_exercises.table(rows))
    assert text[0] == "There are 2 exercises, for 1 hours: reading results 1."
    assert text[-2:] == [
        "| LeNet 1: Seeds | implement | reading results | ★★☆ | 40 |",
        "| VGG 2: Old | predict |  |  | 20 |",
    ]


def test_the_name_of_a_chapter():
    assert sphinx_exercises._title("lenet") == "LeNet"
    assert sphinx_exercises._title("claims") == "The ledger"
