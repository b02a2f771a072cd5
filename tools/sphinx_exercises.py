"""`{exercises}`: a table of all exercises, by chapter, kind, skill and difficulty.

It is read from the notebooks of students, whose lines below the headings say all that;
those are made from the texts and the answer keys.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]

#: A heading, the line with skill and difficulty if there is one, and that with kind,
#: goal and minutes.
EXERCISE = re.compile(
    r"^## (?P<number>\d+)\. (?P<title>.+)\n\n"
    r"(?:\*(?P<skill>[\w ]+), (?P<stars>[★☆]+)\.\*\n)?"
    r"\*(?P<kind>\w+)\.(?:.|\n)*?About (?P<minutes>\d+) minutes?\.\*",
    re.MULTILINE,
)


@dataclass(frozen=True)
class ListedExercise:
    """An exercise."""

    chapter: str
    number: int
    title: str
    kind: str
    #: What it practices, and one to three stars; empty if its text does not say.
    skill: str
    stars: str
    minutes: int


def rows(chapter: str, notebook: Path) -> Iterator[ListedExercise]:
    """The exercises of a notebook."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for found in EXERCISE.finditer("".join(cell["source"])):
            yield ListedExercise(
                chapter,
                int(found["number"]),
                found["title"],
                found["kind"].lower(),
                (found["skill"] or "").lower(),
                found["stars"] or "",
                int(found["minutes"]),
            )


def table(listed: list[ListedExercise]) -> Iterator[str]:
    """All of them in Markdown, and how many there are for each skill."""
    skills = Counter(row.skill for row in listed if row.skill)
    hours = sum(row.minutes for row in listed) / 60
    counts = ", ".join(f"{skill} {count}" for skill, count in skills.most_common())
    yield f"There are {len(listed)} exercises, for {hours:.0f} hours: {counts}."
    yield ""
    yield "| exercise | kind | skill | difficulty | minutes |"
    yield "|---|---|---|---|---|"
    for row in listed:
        title = f"{row.chapter} {row.number}: {row.title}"
        yield f"| {title} | {row.kind} | {row.skill} | {row.stars} | {row.minutes} |"


class Exercises(SphinxDirective):
    """The table, in the order of the table of contents."""

    def run(self) -> list[nodes.Node]:
        """Write the table as MyST, and parse that in place."""
        listed: list[ListedExercise] = []
        for file in (ROOT / "_toc.yml").read_text(encoding="utf-8").split():
            name = re.fullmatch(r"book/(?:solutions|exercises)/(\w+)\.ipynb", file)
            if name:
                notebook = ROOT / f"book/exercises/{name[1]}.ipynb"
                self.env.note_dependency(str(notebook))
                listed += rows(_title(name[1]), notebook)
        node = nodes.container()
        text = StringList([*table(listed)], "exercises")
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def _title(name: str) -> str:
    """The first words of a chapter's title."""
    text = (ROOT / f"book/{name}.md").read_text(encoding="utf-8")
    found = re.search(r"^# ([^:\n]+)", text, flags=re.MULTILINE)
    return found[1] if found else name


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("exercises", Exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
