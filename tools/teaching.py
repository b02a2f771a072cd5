"""What a teacher needs of each chapter: `book/instructor/NAME.yml`, and the quiz of its
page, `book/quiz/NAME.yml`.

The pages, the slides and the tests read them here. Texts are Markdown with formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml
from docutils.nodes import make_id
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
GUIDES = ROOT / "book/instructor"
QUIZZES = ROOT / "book/quiz"


@dataclass(frozen=True)
class Objective:
    """What a student can do afterwards, and the section that teaches it."""

    text: str
    section: str


@dataclass(frozen=True)
class Misconception:
    """What students believe, what is right, and the section whose cells show it."""

    belief: str
    answer: str
    section: str


@dataclass(frozen=True)
class Question:
    """To ask in class: before the paragraph of the section that answers it, which has
    the words `before`; or when the section is done, if it does not answer it.
    """

    section: str
    question: str
    answer: str
    before: str = ""


@dataclass(frozen=True)
class ExamQuestion:
    """For an exam: each entry of the key is a number of points, and for what."""

    question: str
    key: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Answer:
    """To a question at the end of the chapter, which asks for an objective."""

    text: str
    objective: int
    #: Python that computes it, and what that prints; a test runs it.
    code: str = ""
    prints: str = ""


@dataclass(frozen=True)
class Guide:
    """All of that, of one chapter."""

    #: What students must know before, one thing each.
    needs: tuple[str, ...]
    #: How many minutes it takes in class; the plans are made of these.
    minutes: int
    #: What the time is for, and what can be left out.
    time: str
    #: What students can do afterwards.
    objectives: tuple[Objective, ...]
    #: What they may believe, and the experiment that answers it.
    misconceptions: tuple[Misconception, ...]
    #: What to ask in class.
    ask: tuple[Question, ...]
    #: Three questions for an exam.
    exam: tuple[ExamQuestion, ...]
    #: Answers to the questions at the end of the chapter, in their order.
    answers: tuple[Answer, ...]
    #: What is to be seen in the part of the lab that the chapter shows.
    lab: str = ""
    #: What to draw or write on the board, in this order.
    board: tuple[str, ...] = ()
    #: Ids of sections that the slides leave out.
    reserve: tuple[str, ...] = ()
    #: Sections of other chapters that the slides begin with: "degradation#the-section".
    opens_with: tuple[str, ...] = ()
    #: Ids of sections of which the slides show what comes out, and no code.
    no_code: tuple[str, ...] = ()
    #: Sentences to show at the end of a section, by its id.
    conclude: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """One choice of a quiz question, and why it is right or wrong."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class QuizQuestion:
    """A question with choices, of which one is right; it asks for an objective."""

    question: str
    objective: int
    choices: tuple[Choice, ...]


def guide(data: dict[str, Any]) -> Guide:
    """A guide from its file."""
    exam = tuple(
        ExamQuestion(each["question"], tuple((p, text) for p, text in each["key"]))
        for each in data["exam"]
    )
    return Guide(
        needs=tuple(data["needs"]),
        minutes=data["minutes"],
        time=data["time"],
        objectives=tuple(Objective(**each) for each in data["objectives"]),
        misconceptions=tuple(Misconception(**each) for each in data["misconceptions"]),
        ask=tuple(Question(**each) for each in data["ask"]),
        exam=exam,
        answers=tuple(Answer(**each) for each in data["answers"]),
        lab=data.get("lab", ""),
        board=tuple(data.get("board", ())),
        reserve=tuple(data.get("reserve", ())),
        opens_with=tuple(data.get("opens_with", ())),
        no_code=tuple(data.get("no_code", ())),
        conclude=data.get("conclude", {}),
    )


@cache
def guides() -> dict[str, Guide]:
    """Chapter -> its guide, in the order of their names."""
    return {path.stem: guide(_read(path)) for path in sorted(GUIDES.glob("*.yml"))}


@cache
def quizzes() -> dict[str, tuple[QuizQuestion, ...]]:
    """Chapter -> the questions of its quiz."""
    return {
        path.stem: tuple(
            QuizQuestion(
                each["question"],
                each["objective"],
                tuple(
                    Choice(**choice) for choice in sorted(each["choices"], key=_place)
                ),
            )
            for each in _read(path)
        )
        for path in sorted(QUIZZES.glob("*.yml"))
    }


def _prose(name: str) -> str:
    """The text of a chapter without its code."""
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def sections(name: str) -> dict[str, str]:
    """The sections of a chapter: the id of each on its page, and its title."""
    titles = re.findall(r"^##+ (.+)$", _prose(name), flags=re.MULTILINE)
    return {make_id(title): title for title in titles}


def topic(name: str) -> str:
    """What a chapter is about: its title up to the colon."""
    found = re.search(r"^# ([^:\n]+)", _prose(name), flags=re.MULTILINE)
    return found[1] if found else name


def questions(name: str) -> list[str]:
    """The questions at the end of a chapter, each in one line."""
    part = _prose(name).split("\n## Exercises\n")[1].split("\n## ")[0]
    items = re.findall(r"^\d+\. (.+(?:\n   .+)*)", part, flags=re.MULTILINE)
    return [" ".join(item.split()) for item in items]


def _place(choice: dict[str, Any]) -> int:
    """Choices are in an order that depends on their words, so that no habit of authors
    tells which one is right.
    """
    return crc32(choice["text"].encode())


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).use(dollarmath_plugin)
    made.add_render_rule("math_inline", _math)
    return made


def _math(_renderer: Any, tokens: Any, number: int, _options: Any, _env: Any) -> str:
    return f'<span class="math">\\({_escape(tokens[number].content)}\\)</span>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def inline(text: str) -> str:
    """Markdown without paragraphs, as HTML; formulas as MathJax reads them."""
    return str(_markdown().renderInline(text.strip()))
