"""The instructor's pages and the quizzes, from `book/instructor` and `book/quiz`.

`{instructor} resnet` on a page stands for what a teacher needs of that chapter. A
chapter with a quiz gets it above its exercises; what is chosen stays in the page.
With CLASS_BUILD set, as `make book SOLUTIONS=no` does, links to the instructor's pages
and to solutions are left out, since that build does not have these pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from tools.sphinx_exercises import rows
from tools.teaching import (
    GUIDES,
    QUIZZES,
    Guide,
    QuizQuestion,
    guides,
    inline,
    questions,
    quizzes,
    sections,
    topic,
)

SCHEDULES = GUIDES.parent / "schedules.yml"

#: Stands for a link to a section of the chapter.
MARK = re.compile(r"%%([\w-]+)%%")
#: Folders and pages that a class does not get.
HIDDEN = ("solutions", "instructor", "teaching", "course")


class Instructor(SphinxDirective):
    """`{instructor} NAME`: what a teacher needs of a chapter."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write it as MyST, and parse that in place."""
        name = self.arguments[0]
        self.env.note_dependency(str(GUIDES / f"{name}.yml"))
        self.env.note_dependency(str(QUIZZES / f"{name}.yml"))
        self.env.note_dependency(str(GUIDES.parent / f"{name}.md"))
        node = nodes.container()
        text = StringList([*page(name, guides()[name])], "guide")
        self.state.nested_parse(text, self.content_offset, node, match_titles=True)
        return node.children


class Schedule(SphinxDirective):
    """`{schedule} NAME`: a plan of the course, from `book/schedules.yml`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write it as MyST, and parse that in place."""
        self.env.note_dependency(str(SCHEDULES))
        plan = yaml.safe_load(SCHEDULES.read_text(encoding="utf-8"))[self.arguments[0]]
        for session in plan["sessions"]:
            for name in session["chapters"]:
                self.env.note_dependency(str(GUIDES / f"{name}.yml"))
        node = nodes.container()
        text = StringList([*schedule(plan)], "schedule")
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def schedule(plan: dict[str, Any]) -> Iterator[str]:
    """A plan as a table: minutes in class from the guides, those of the exercises from
    their notebooks.
    """
    yield from (f"**{plan['title']}.** {plan['text']}", "")
    yield "| day | chapters | in class, minutes | exercises, minutes | topic |"
    yield "|---|---|---|---|---|"
    for session in plan["sessions"]:
        read = session.get("read", [])
        shown, lectures, exercises = [], [], []
        for name in session["chapters"]:
            link = f"[{topic(name)}](/book/{name}.ipynb)"
            shown.append(f"{link} (to read)" if name in read else link)
            if name in guides() and name not in read:
                lectures.append(str(guides()[name].minutes))
            exercises.append(str(sum(exercise_minutes(name))))
        cells = [", ".join(each) for each in (shown, lectures, exercises)]
        yield f"| {session['day'] + 1} | {' | '.join(cells)} | {session['topic']} |"


def exercise_minutes(name: str) -> tuple[int, int]:
    """How long the exercises of a chapter take, and its investigations."""
    notebook = GUIDES.parent / f"exercises/{name}.ipynb"
    listed = [*rows(name, notebook)]
    free = sum(row.minutes for row in listed if row.kind == "investigate")
    return sum(row.minutes for row in listed) - free, free


def times(name: str, guide: Guide) -> str:
    """How long a chapter takes, in class and for its exercises."""
    checked, free = exercise_minutes(name)
    more = f", and the investigation {free} more" if free else ""
    exercises = f"The exercises take {checked} minutes{more}."
    return f"{guide.minutes} minutes in class. {guide.time.strip()} {exercises}"


def page(name: str, guide: Guide) -> Iterator[str]:
    """The lines of an instructor's page."""
    yield from ("## Before it, and how long", "", times(name, guide), "")
    yield from ("Students need:", "", *(f"- {each}" for each in guide.needs), "")
    yield from ("## Objectives", "", "Afterwards, students can", "")
    quiz = quizzes().get(name, ())
    for number, objective in enumerate(guide.objectives, 1):
        asked = [
            f"question {i} of the quiz"
            for i, q in enumerate(quiz, 1)
            if q.objective == number
        ]
        asked += [
            f"exercise {i}"
            for i, a in enumerate(guide.answers, 1)
            if a.objective == number
        ]
        where = f"%%{objective.section}%%; {', '.join(asked)}"
        yield f"{number}. {objective.text} ({where})"
    yield from ("", "## Misconceptions", "")
    for each in guide.misconceptions:
        yield from (f"**“{each.belief}”** {each.answer} (%%{each.section}%%)", "")
    yield from ("## Questions to ask in class", "")
    for number, ask in enumerate(guide.ask, 1):
        place = f"after %%{ask.section}%%"
        if ask.before:
            place = f"in %%{ask.section}%%, before “{ask.before}”"
        yield from (f"**{number}.** {ask.question} ({place})", "")
        yield from (f"*Answer.* {ask.answer}", "")
    if guide.board:
        yield from ("## On the board", "")
        yield from (f"{i}. {line}" for i, line in enumerate(guide.board, 1))
        yield ""
    if guide.lab:
        yield from ("## What is to be seen in the lab", "", guide.lab, "")
    yield from ("## For an exam", "")
    for number, exam in enumerate(guide.exam, 1):
        total = sum(points for points, _ in exam.key)
        yield from (f"**{number}.** {exam.question} ({total} points)", "")
        yield from (f"- {points(p)}: {text}" for p, text in exam.key)
        yield ""
    yield from ("## The chapter's exercises, answered", "")
    for number, (asked_text, answer) in enumerate(
        zip(questions(name), guide.answers, strict=True), 1
    ):
        yield from (f"**{number}.** *{asked_text}*", "", answer.text, "")
        if answer.code:
            yield from ("```python", *answer.code.strip().split("\n"), "```", "")
            yield from ("```text", *answer.prints.strip().split("\n"), "```", "")


def points(number: int) -> str:
    """A number of points, in words."""
    return "1 point" if number == 1 else f"{number} points"


def linked(text: nodes.Text, name: str, titles: dict[str, str]) -> Iterator[nodes.Node]:
    """A text with links in the place of its marks."""
    end = 0
    for found in MARK.finditer(text):
        yield nodes.Text(text[end : found.start()])
        address = f"../{name}.html#{found[1]}"
        yield nodes.reference("", titles[found[1]], refuri=address, internal=True)
        end = found.end()
    yield nodes.Text(text[end:])


class SectionLinks(SphinxTransform):
    """Make links of the marks on an instructor's page."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        path = PurePosixPath(self.env.docname)
        if path.parent.name != GUIDES.name:
            return
        titles = sections(path.name)
        for text in list(self.document.findall(nodes.Text)):
            if MARK.search(text):
                text.parent.replace(text, [*linked(text, path.name, titles)])


class Quizzes(SphinxTransform):
    """Put its quiz above the exercises of a chapter."""

    default_priority = 690  # before figures become links

    def apply(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        path = PurePosixPath(self.env.docname)
        if path.parent.name != "book" or path.name not in quizzes():
            return
        self.env.note_dependency(str(QUIZZES / f"{path.name}.yml"))
        for section in self.document.findall(nodes.section):
            if "exercises" in section["ids"]:
                made = nodes.section("", nodes.title("", "Check yourself"))
                made["ids"], made["names"] = ["check-yourself"], ["check yourself"]
                text = quiz(quizzes()[path.name])
                made += nodes.raw("", text, format="html")
                section.parent.insert(section.parent.index(section), made)
                return


def quiz(asked: tuple[QuizQuestion, ...]) -> str:
    """The quiz as HTML: choices, and the reasons, folded; book/_static/quiz.js makes a
    button of that, which gives the reason for what was chosen.
    """
    made = []
    for number, each in enumerate(asked, 1):
        choices, reasons = [], []
        for letter, choice in zip("abcdef", each.choices, strict=False):
            ident = f"quiz-{number}-{letter}"
            choices.append(
                f'<div><input type="radio" name="quiz-{number}" id="{ident}">'
                f'<label for="{ident}">{inline(choice.text)}</label></div>'
            )
            verdict = "Right." if choice.right else "Not this one."
            reasons.append(
                f'<p data-for="{ident}"><strong>{verdict}</strong>'
                f" <em>{inline(choice.text)}</em> {inline(choice.why)}</p>"
            )
        made.append(
            f'<fieldset class="quiz"><legend>{number}. {inline(each.question)}</legend>'
            f"{''.join(choices)}<details><summary>The answer, with reasons</summary>"
            f"{''.join(reasons)}</details></fieldset>"
        )
    return "\n".join(made)


class ClassLinks(SphinxTransform):
    """Leave links out that a class's build has no pages for."""

    default_priority = 4  # before links to notebooks become downloads

    def apply(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        if not os.environ.get("CLASS_BUILD"):
            return
        for link in list(self.document.findall(addnodes.pending_xref)):
            if HIDDEN_LINK.search(link["reftarget"]):
                leave_out(link)


HIDDEN_LINK = re.compile(rf"(^|/)({'|'.join(HIDDEN)})(/|$|\.)")


def leave_out(link: nodes.Element) -> None:
    """Remove a link, and the word that joins it to what stands before."""
    parent = link.parent
    while (place := parent.index(link)) and isinstance(parent[place - 1], nodes.Text):
        before = parent[place - 1]
        rest = re.sub(r"(,?\s+and)?\s*$", "", before.astext())
        if rest:
            parent.replace(before, nodes.Text(rest))
            break
        parent.remove(before)
    parent.remove(link)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all of this."""
    app.add_directive("instructor", Instructor)
    app.add_directive("schedule", Schedule)
    app.add_transform(SectionLinks)
    app.add_transform(Quizzes)
    app.add_transform(ClassLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
