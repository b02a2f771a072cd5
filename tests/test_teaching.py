"""What a teacher gets of a chapter: objectives that are taught and asked, answers that
are computed, quizzes with reasons.
"""

import contextlib
import io
import re
from itertools import pairwise

import nbformat
import pytest
import torch
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.nodes import make_id
from sphinx.addnodes import pending_xref

from course_lib import fashion_mnist
from course_lib.lab import NETS, network
from course_lib.pages.lab import gallery
from tools import sphinx_teaching as pages
from tools import teaching
from tools.classroom import schedules
from tools.teaching import BOOK, GUIDES, QUIZZES, guides, questions, quizzes, sections

NAMES = sorted(guides())
each = pytest.mark.parametrize("name", NAMES)


def test_guides_and_quizzes_are_those_of_chapters():
    assert len(NAMES) >= 8
    assert NAMES == sorted(quizzes()) == sorted(p.stem for p in GUIDES.glob("*.md"))
    for name in NAMES:
        assert (BOOK / f"{name}.ipynb").exists()
    toc = (BOOK.parent / "_toc.yml").read_text()
    assert all(f"book/instructor/{name}\n" in toc for name in NAMES)


@each
def test_every_objective_is_taught_and_asked(name):
    guide, quiz = guides()[name], quizzes()[name]
    asked = {q.objective for q in quiz} | {a.objective for a in guide.answers}
    assert asked == set(range(1, len(guide.objectives) + 1))
    for objective in guide.objectives:
        assert objective.section in sections(name), objective
        assert objective.text.split()[0].isalpha(), "begins with a verb"


@each
def test_every_section_that_is_named_is_there(name):
    guide = guides()[name]
    named = {q.section for q in guide.ask} | {m.section for m in guide.misconceptions}
    named |= {*guide.reserve, *guide.no_code, *guide.conclude}
    assert named <= {*sections(name)}
    for place in guide.opens_with:
        page, _, section = place.partition("#")
        assert section in sections(page)


@each
def test_a_question_before_its_answer_has_a_place(name):
    text = re.sub(r"[*`$]", "", (BOOK / f"{name}.md").read_text(encoding="utf-8"))
    parts = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)
    found = {make_id(a): " ".join(b.split()) for a, b in pairwise(parts[1:])}
    for ask in guides()[name].ask:
        if ask.before:
            assert found[ask.section].count(ask.before) == 1, ask


def cells_of(name):
    """Section -> whether there is code in it, or in one inside of it."""
    found, open_sections = {}, []
    for cell in nbformat.read(BOOK / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            found |= {section: True for _, section in open_sections}
        for marks, title in re.findall(r"^(##+) (.+)$", cell.source, flags=re.M):
            if cell.cell_type == "markdown":
                open_sections = [s for s in open_sections if s[0] < len(marks)]
                open_sections.append((len(marks), make_id(title)))
    return found


@each
def test_an_experiment_answers_each_misconception(name):
    guide = guides()[name]
    assert len(guide.misconceptions) >= 3
    for misconception in guide.misconceptions:
        assert cells_of(name).get(misconception.section), misconception


@each
def test_a_guide_is_complete(name):
    guide = guides()[name]
    assert len(guide.objectives) >= 4
    assert len(guide.ask) >= 4
    assert len(guide.exam) == 3
    assert all(sum(points for points, _ in exam.key) >= 3 for exam in guide.exam)
    assert all(points > 0 for exam in guide.exam for points, _ in exam.key)
    assert len(guide.answers) == len(questions(name)), "an answer for every exercise"


@pytest.mark.parametrize(
    ("name", "number"),
    [(n, i) for n in NAMES for i, a in enumerate(guides()[n].answers) if a.code],
)
def test_answers_are_what_their_code_prints(name, number):
    answer = guides()[name].answers[number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(answer.code, {})
    assert printed.getvalue().strip() == answer.prints.strip()


@each
def test_a_quiz_has_one_right_choice_and_reasons(name):
    for question in quizzes()[name]:
        assert sum(choice.right for choice in question.choices) == 1
        assert len(question.choices) >= 3
        assert all(len(choice.why) > 15 for choice in question.choices)
        assert len({choice.text for choice in question.choices}) == len(
            question.choices
        )
    right = [[c.right for c in q.choices].index(True) for q in quizzes()[name]]
    assert len({*right}) > 1, "the right one is always at the same place"


@each
def test_a_quiz_works_without_its_script(name):
    found = BeautifulSoup(pages.quiz(quizzes()[name]), "html.parser")
    assert len(found.select("fieldset > legend")) == len(quizzes()[name])
    for choice in found.select("input"):
        assert found.select_one(f'label[for="{choice["id"]}"]')
        reason = found.select_one(f'details p[data-for="{choice["id"]}"]')
        assert len(reason.get_text()) > 20
    ids = [element["id"] for element in found.select("[id]")]
    assert len(ids) == len({*ids})


@each
def test_an_instructors_page_has_all_of_it(name):
    guide, text = guides()[name], "\n".join(pages.page(name, guides()[name]))
    for part in (*guide.objectives, *guide.answers):
        assert part.text in text
    for question in questions(name):
        assert question in text
    for exam in guide.exam:
        assert all(line in text for _, line in exam.key)
    for section in re.findall(r"%%([\w-]+)%%", text):
        assert section in sections(name)


HOURS = {3: "one and a half", 4: "two", 5: "two and a half", 6: "three"}


@each
def test_a_chapter_says_how_long_its_exercises_take(name):
    half_hours = -(-sum(pages.exercise_minutes(name)) // 30)
    head = " ".join((BOOK / f"{name}.md").read_text().split("> **Time:**")[1].split())
    said = head.replace("> ", "").split(".")[0]
    assert said.endswith(f", and {HOURS[half_hours]} for the exercises")


@each
def test_no_other_place_says_how_long_a_lecture_takes(name):
    guide = guides()[name]
    assert 45 <= guide.minutes <= 90
    assert not re.search(r"\bexercises take|\bminutes\b", guide.time)
    text = "\n".join(pages.page(name, guide))
    checked, free = pages.exercise_minutes(name)
    assert f"{guide.minutes} minutes in class" in text
    assert f"The exercises take {checked} minutes" in text
    assert f"investigation {free} more" in text or not free


@pytest.mark.parametrize("plan", schedules().values(), ids=[*schedules()])
def test_the_lectures_of_a_session_fit_into_it(plan):
    for session in plan["sessions"]:
        held = {*session["chapters"]} - {*session.get("read", [])}
        assert {*session.get("read", [])} < {*session["chapters"]}
        minutes = [guides()[name].minutes for name in held if name in guides()]
        assert sum(minutes) <= plan["minutes"], session


def test_a_plan_has_the_minutes_of_the_guides():
    lines = [*pages.schedule(schedules()["week"])]
    row = next(line for line in lines if "vgg.ipynb" in line)
    day, chapters, lecture, exercises, topic = row.strip("| ").split(" | ")
    assert (day, int(lecture)) == ("3", guides()["vgg"].minutes)
    assert chapters.endswith("(to read)")
    assert exercises.split(", ") == [
        str(sum(pages.exercise_minutes(name))) for name in ("vgg", "nin")
    ]
    assert topic == "small kernels, and no fully connected layers"


def printed_by(name):
    """What the cells of a chapter print."""
    cells = nbformat.read(BOOK / f"{name}.ipynb", as_version=4).cells
    outputs = [each for cell in cells for each in cell.get("outputs", [])]
    return "\n".join(
        each.get("text") or each.get("data", {}).get("text/plain", "")
        for each in outputs
    )


@each
def test_a_part_of_the_lab_has_a_debriefing_with_recorded_numbers(name):
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    lab = guides()[name].lab
    assert bool(lab) == ("\nLab(" in text)
    known = printed_by("interventions") + printed_by(name)
    for number in re.findall(r"-?\d+\.\d+", lab):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", known), number
    if lab:
        shown = "\n".join(pages.page(name, guides()[name]))
        assert f"## What is to be seen in the lab\n\n{lab}" in shown


def test_one_network_of_eight_says_sneaker():
    """As the guide of the comparison says of image 17 of the gallery."""
    shown = gallery()
    x, _ = next(shown.batches(len(shown)))
    with torch.inference_mode():
        said = {name: network(name)(x[17:18]).argmax().item() for name in NETS}
    classes = fashion_mnist().classes
    assert [name for name in said if classes[said[name]] == "sneaker"] == ["lenet"]
    assert [classes[each] for each in said.values()].count("sandal") == 7
    assert "only LeNet says sneaker, the other seven" in guides()["comparison"].lab


@each
def test_the_board_stands_in_its_order(name):
    board = guides()[name].board
    text = "\n".join(pages.page(name, guides()[name]))
    assert 6 <= len(board) <= 10
    assert all(f"{i}. {line}" in text for i, line in enumerate(board, 1))


def test_marks_become_links():
    text = nodes.Text("before %%the-idea%% after")
    first, link, last = pages.linked(text, "net", {"the-idea": "The idea"})
    assert (first, last) == ("before ", " after")
    assert link["refuri"] == "../net.html#the-idea"
    assert link.astext() == "The idea"


def test_a_class_gets_no_link_to_what_it_does_not_have():
    paragraph = nodes.paragraph("", "in a notebook, and")
    paragraph += nodes.Text("\n")
    link = pending_xref("", nodes.Text("here they are solved"), reftarget="x")
    paragraph += [link, nodes.Text(".")]
    pages.leave_out(link)
    assert paragraph.astext() == "in a notebook."
    assert pages.HIDDEN_LINK.search("/book/solutions/resnet")
    assert pages.HIDDEN_LINK.search("instructor/resnet")
    assert not pages.HIDDEN_LINK.search("exercises/resnet")


def test_inline_text_escapes_what_is_html():
    assert teaching.inline("*a* < $x < 1$") == (
        '<em>a</em> &lt; <span class="math">\\(x &lt; 1\\)</span>'
    )


def test_quizzes_have_a_place():
    for path in QUIZZES.glob("*.yml"):
        assert "\n## Exercises\n" in (BOOK / f"{path.stem}.md").read_text()
