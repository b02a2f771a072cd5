"""Slides from the pages of the book: a deck of reveal.js for each chapter.

    python -m tools.slides            all chapters
    python -m tools.slides resnet     these

Reads the pages in `_build/html` and writes `_build/html/slides`. Nothing is written
twice: a slide shows a figure with its caption, a formula with the words around it, a
table, or at most twelve lines of code, as they stand on the page, and the paragraphs
between them are its notes. Questions for the class come from `book/instructor`. The
deck needs no other host, and may be opened from disk.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import yaml
from bs4 import BeautifulSoup, Tag

from tools import slide_pieces
from tools.slide_pieces import HEIGHT, Piece, Told
from tools.slide_pieces import words as words_of
from tools.teaching import Guide, Question, guides, inline

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "_build/html"
OUT = PAGES / "slides"
#: How long a lecture takes: to say the notes, to look at code, a table or a figure, to
#: go on to any other slide, and to wait for the answer to a question.
WORDS_A_MINUTE = 130
SECONDS_LOOKING, SECONDS_OTHER = 40, 10
SECONDS_QUESTION = 90
#: How much larger letters are where there is room, and the longest line of code then.
LARGER, LARGE_LINE = 1.33, 66
#: Sections that a lecture has no time for, on every page.
LEFT_OUT = ("exercises", "read-the-paper", "check-yourself")
#: What reveal.js is, in the package that carries it.
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")


@dataclass
class Slide:
    """What is shown under one heading, and what is said."""

    title: str
    section: str  # the id of the section of the page
    pieces: list[Piece] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: str = ""

    def seconds(self) -> float:
        """How long it takes in a lecture."""
        if self.kind == "question":
            return SECONDS_QUESTION
        seconds = SECONDS_OTHER if self.is_words() else SECONDS_LOOKING
        return seconds + 60 * sum(len(n.split()) for n in self.notes) / WORDS_A_MINUTE

    def figure(self) -> bool:
        """Whether it ends with a figure, which takes all the room there is."""
        return bool(self.pieces) and self.pieces[-1].figure

    def may_grow(self, by_words: bool) -> bool:
        """Whether more may stand below: words, as a conclusion from what is shown."""
        return self.kind == "open" or (
            by_words and self.kind != "question" and not self.figure()
        )

    def is_words(self) -> bool:
        """Whether there is nothing but sentences on it."""
        return all(piece.words for piece in self.pieces)

    def has_lab(self) -> bool:
        """Whether trained networks run on it."""
        return any('class="lab"' in piece.html for piece in self.pieces)

    def has_room(self) -> bool:
        """Whether its letters can be larger by a third, and no line gets too long."""
        shown = "\n".join(piece.html for piece in self.pieces)
        if re.search("<svg|<img|<table|live", shown):
            return False
        code = "\n".join(re.findall("<pre.*?</pre>", shown, flags=re.DOTALL))
        longest = max(map(len, re.sub("<[^>]+>", "", code).split("\n")))
        room = LARGER**2 * slide_pieces.height(self.pieces)
        return longest <= LARGE_LINE and room <= HEIGHT

    def html(self) -> str:
        """The slide as a section of reveal.js."""
        shown = "\n".join(piece.html for piece in self.pieces)
        notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        kind = self.kind
        if self.is_words():
            kind = f"{kind} words".strip()
        elif self.has_room():
            kind = f"{kind} large".strip()
        return (
            f'<section class="{kind}" data-section="{self.section}">\n'
            f'<h2>{self.title}</h2>\n<div class="body">{shown}</div>\n'
            f'<aside class="notes">{notes}</aside>\n</section>'
        )


@dataclass
class Deck:
    """The slides of a chapter, in their order."""

    name: str
    title: str
    slides: list[Slide]
    reserve: list[Slide]  # what a lecture has no time for
    lecture: int = 0  # minutes of the lecture, if a guide says so

    def minutes(self) -> float:
        """How long the slides take, without those in reserve."""
        return sum(slide.seconds() for slide in self.slides) / 60


def main() -> None:
    """Make the decks that are named, and a page that lists them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="chapters; all, if none is named")
    names = parser.parse_args().names or chapters()
    if not (PAGES / "book/index.html").exists():
        raise SystemExit("There are no pages yet: make book")
    copy_reveal(OUT / "reveal")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(names))) as pool:
        decks = [*pool.map(make, names)]
    for each in decks:
        lecture = f" of {each.lecture}" if each.lecture else ""
        print(
            f"{each.name:15}{each.slides:4} slides{each.minutes:5.0f} minutes{lecture},"
            f"{each.reserve:4} in reserve"
        )
    if long := [each.name for each in decks if 0 < each.lecture < each.minutes]:
        raise SystemExit(f"Longer than the lecture of the guide: {', '.join(long)}")
    if set(names) == set(chapters()):
        (OUT / "index.html").write_text(listing(decks), encoding="utf-8")
        print(f"All decks: {OUT / 'index.html'}")


class Listed(NamedTuple):
    """What the list of all decks says of one: how many slides, how long they take, how
    many are in reserve, and how long the lecture is.
    """

    name: str
    title: str
    slides: int
    minutes: float
    reserve: int
    lecture: int


def make(name: str) -> Listed:
    """Write the deck of a chapter."""
    made = deck(name)
    (OUT / f"{name}.html").write_text(write(made), encoding="utf-8")
    counts = len(made.slides), made.minutes(), len(made.reserve)
    return Listed(name, str(made.title), *counts, made.lecture)


#: Pages with exercises that are no lectures.
NO_DECK = ("claims", "scaling")


def chapters() -> list[str]:
    """The pages of the part that is called Chapters and that have an exercise, but for
    those of `NO_DECK`.
    """
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    part = next(part for part in toc["parts"] if part["caption"] == "Chapters")
    names = [Path(entry["file"]).stem for entry in part["chapters"]]
    asked = {path.stem for path in (ROOT / "book/exercises").glob("*.md")}
    return [name for name in names if name in asked.difference(NO_DECK)]


def copy_reveal(target: Path) -> None:
    """reveal.js, from the package sphinx-revealjs, which is not imported."""
    found = find_spec("sphinx_revealjs")
    if found is None or found.origin is None:
        raise SystemExit("reveal.js is not here: make .venv/book")
    source = Path(found.origin).parent / "_static/revealjs"
    target.mkdir(parents=True, exist_ok=True)
    for name in REVEAL:
        shutil.copyfile(source / name, target / Path(name).name)


def deck(name: str) -> Deck:
    """The slides of a chapter, from its page and its guide."""
    article = section_of(name)
    title = slide_pieces.heading(article)
    guide = guides().get(name)
    slides = [*opening(article, title, guide)]
    for place in guide.opens_with if guide else ():
        page, _, name_there = place.partition("#")
        slides += of_section(section_of(page, name_there), code=False)
    reserve: list[Slide] = []
    for section in article.find_all("section", recursive=False):
        if section["id"] in LEFT_OUT:
            continue
        for part in (section, *section.find_all("section", recursive=False)):
            kept = guide is not None and part["id"] in guide.reserve
            target = (
                reserve
                if kept or (guide and section["id"] in guide.reserve)
                else slides
            )
            target += with_guide(part, guide)
    return Deck(name, title, slides, reserve, guide.minutes if guide else 0)


def section_of(page: str, name: str = "") -> Tag:
    """A section of a page of the book, or all of its text."""
    text = (PAGES / f"book/{page}.html").read_text(encoding="utf-8")
    where = f'section[id="{name}"]' if name else "article > section"
    found = BeautifulSoup(text, "html.parser").select_one(where)
    if found is None:
        raise SystemExit(f"{page}: the page has no {name or 'text'}")
    return found


def with_guide(section: Tag, guide: Guide | None) -> Iterator[Slide]:
    """The slides of a section, with the questions of the guide, each before its answer,
    and what the guide has for its end.
    """
    name = str(section["id"])
    asked = [*questions(guide, name)]
    code = guide is None or name not in guide.no_code
    for slide in of_section(section, code, [each for each in asked if each.before]):
        if guide and guide.lab and slide.has_lab() and not in_class():
            slide.notes.append(f"To be seen: {slide_pieces.plain(guide.lab)}")
        yield slide
    yield from (question(each) for each in asked if not each.before)
    if guide and (sentences := guide.conclude.get(name)):
        items = "".join(f"<li>{inline(each)}</li>" for each in sentences)
        yield Slide("To remember", name, [Piece(f"<ul>{items}</ul>", 400, words=True)])


def opening(article: Tag, title: str, guide: Guide | None) -> Iterator[Slide]:
    """The question of the chapter, and what the class will be able to do."""
    name, _, question = title.partition(": ")
    question = question[:1].upper() + question[1:]
    text = article.find_all("p", recursive=False)
    strong = next((p.strong for p in text if p.strong), None)
    first = Slide(name, "", kind="title", notes=[words_of(p) for p in text])
    first.pieces = [Piece(f"<p class='question'>{question}</p>", 100, words=True)]
    if strong is not None:
        first.pieces.append(slide_pieces.text(strong.decode_contents()))
    yield first
    if guide:
        items = "".join(f"<li>{inline(each.text)}</li>" for each in guide.objectives)
        yield Slide(
            "After this lecture you can",
            "",
            [Piece(f"<ul>{items}</ul>", 400, words=True)],
        )
    figures = article.find_all("div", class_="cell", recursive=False)
    for figure in figures:
        if figure.figure is not None:
            yield from of_blocks([figure], title, "")


def in_class() -> bool:
    """Whether the deck is for a class: anybody may read its notes."""
    return bool(os.environ.get("CLASS_BUILD"))


def questions(guide: Guide | None, section: str) -> Iterator[Question]:
    """What to ask the class in this section."""
    for ask in guide.ask if guide and not in_class() else ():
        if ask.section == section:
            yield ask


def question(ask: Question) -> Slide:
    """A question to the class; the answer is in the notes."""
    shown = f"<p class='question'>{inline(ask.question)}</p>"
    notes = [f"Answer: {slide_pieces.plain(ask.answer)}"]
    piece = Piece(shown, 200, words=True)
    return Slide("A question", ask.section, [piece], notes, "question")


def of_section(
    section: Tag, code: bool = True, asked: Sequence[Question] = ()
) -> Iterator[Slide]:
    """The slides of a section, without those of sections in it."""
    blocks = section.find_all(recursive=False)
    own = [each for each in blocks if each.name not in ("h2", "h3", "section")]
    title, name = slide_pieces.heading(section), str(section["id"])
    yield from of_blocks(own, title, name, code, asked)


def of_blocks(
    blocks: list[Tag],
    title: str,
    section: str,
    code: bool = True,
    asked: Sequence[Question] = (),
) -> Iterator[Slide]:
    """Slides of what stands below one heading: what is shown, with its notes; and the
    questions that this answers, each before the block with its answer.
    """
    made = Section(title, section)
    waiting = [*asked]
    pending: list[Tag] = []  # paragraphs since the last slide
    for block in blocks:
        for ask in [each for each in waiting if each.before in words_of(block)]:
            shown = slide_pieces.lead(pending, told=made.told)
            if shown or made.slides:  # or else there is no slide yet to say it with
                made.add(shown, [], pending)
                pending = []
            made.slides.append(question(ask))
            waiting.remove(ask)
        if block.name in ("p", "blockquote"):
            pending.append(block)
        elif groups := slide_pieces.pieces(block, code):
            made.add(slide_pieces.lead(pending, block, made.told), groups, pending)
            pending = []
    if waiting:
        raise SystemExit(f"{section} does not say {waiting[0].before!r}")
    made.add(slide_pieces.lead(pending, told=made.told), [], pending)
    yield from made.slides


@dataclass
class Section:
    """The slides below one heading, as far as they are made."""

    title: str
    id: str
    slides: list[Slide] = field(default_factory=list)
    told: Told = field(default_factory=Told)

    def add(
        self, lead: list[Piece], groups: list[list[Piece]], paragraphs: list[Tag]
    ) -> None:
        """Show words and what they lead to: on the last slide, if that has only words
        and formulas and there is room; or else on new slides.
        """
        notes = [words_of(p) for p in paragraphs]
        last = self.slides[-1] if self.slides else None
        if last and not last.may_grow(by_words=not groups):
            last = None
        if last and lead and lead[0].continues and fits([*last.pieces, lead[0]]):
            last.pieces.append(lead.pop(0))
            last.notes.append(notes.pop(0))
        group, *more = groups or [[]]
        start = len(self.slides)
        if group and group[0].figure:
            shown = slide_pieces.with_lead(group, lead)
            self._new(*([lead, group] if shown is group else [shown]))
        elif last and fits([*last.pieces, *lead, *group]):
            last.pieces += [*lead, *group]
        elif fits([*lead, *group]):
            self._new([*lead, *group])
        else:
            self._new(*split(lead), group)
        if self.slides:
            self.slides[min(start, len(self.slides) - 1)].notes += notes
        self._new(*more)

    def _new(self, *groups: list[Piece]) -> None:
        for group in groups:
            if group:
                kind = "open" if all(piece.joins for piece in group) else ""
                self.slides.append(Slide(self.title, self.id, group, kind=kind))


def fits(pieces: list[Piece]) -> bool:
    """Whether there is room for these, one below the other."""
    return slide_pieces.height(pieces) <= HEIGHT


def split(pieces: list[Piece]) -> list[list[Piece]]:
    """Lists of pieces, each of which fits on a slide."""
    parts: list[list[Piece]] = []
    for piece in pieces:
        if parts and fits([*parts[-1], piece]):
            parts[-1].append(piece)
        else:
            parts.append([piece])
    return parts


def write(made: Deck) -> str:
    """The page of a deck."""
    more = (
        [Slide("In reserve", "", kind="title"), *made.reserve] if made.reserve else []
    )
    slides = "\n".join(slide.html() for slide in [*made.slides, *more])
    template = Path(__file__).with_name("slides.html").read_text(encoding="utf-8")
    return (
        template.replace("{title}", html.escape(made.title))
        .replace("{name}", made.name)
        .replace("{slides}", slides)
    )


def listing(decks: list[Listed]) -> str:
    """The page that lists all decks."""
    items = "\n".join(
        f'<li><a href="{each.name}.html">{html.escape(each.title)}</a>'
        f" ({each.slides} slides, about {each.minutes:.0f} minutes)</li>"
        for each in decks
    )
    head = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Slides of Block by Block</title></head>\n"
        '<body style="font: 18px/1.6 sans-serif; margin: 2rem auto; max-width: 50rem">'
        "\n<h1>Slides of Block by Block</h1>\n"
    )
    keys = (
        "<p>The keys: arrows go on and back, <kbd>S</kbd> opens the notes in a window"
        " of their own, <kbd>F</kbd> fills the screen, <kbd>O</kbd> shows all slides."
        " Add <code>?print-pdf</code> to the address of a deck to print it.</p>\n"
    )
    return f"{head}{keys}<ul>\n{items}\n</ul>\n</body>\n</html>\n"


if __name__ == "__main__":
    main()
