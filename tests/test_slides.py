"""Slides are cut from pages: nothing is lost, and nothing is too much for one."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tools import slide_pieces, slides
from tools.slide_pieces import HEIGHT, Piece
from tools.teaching import Question, guides

ROOT = Path(__file__).parents[1]


def tag(html):
    return BeautifulSoup(html, "html.parser").find(True)


def code(lines, output=""):
    return tag(
        '<div class="cell"><div class="cell_input"><div><pre><span></span>'
        + "\n".join(lines)
        + f'\n</pre></div></div><div class="cell_output">{output}</div></div>'
    )


def bare(piece):
    return re.sub(r"<[^>]+>", "", piece.html)


@pytest.mark.parametrize("count", [1, 12, 13, 40, 100])
def test_code_is_divided_into_at_most_twelve_lines(count):
    lines = [f"line_{i} = {i}" if i % 7 else "" for i in range(1, count + 1)]
    groups = slide_pieces.pieces(code(lines))
    parts = [bare(piece).split("\n") for group in groups for piece in group]
    assert max(map(len, parts)) <= 12
    kept = [line for part in parts for line in part if line]
    assert kept == [line for line in lines if line], "every line, in its order"


def test_code_is_divided_at_empty_lines():
    lines = [*["    x = 1"] * 8, "", *["    y = 2"] * 8]
    first, second = slide_pieces.chunks(lines, 12)
    assert first == ["    x = 1"] * 8
    assert second == ["    y = 2"] * 8


def test_what_is_folded_is_not_shown():
    cell = code(["import torch"])
    cell["class"] = ["cell", "tag_hide-input"]
    assert slide_pieces.pieces(cell) == []
    cell["class"] = ["cell", "tag_parameters"]
    assert slide_pieces.pieces(cell) == []


def test_what_a_cell_prints_stands_below_its_code():
    output = '<div class="output stream"><pre><span></span>12\n</pre></div>'
    ((source, printed),) = slide_pieces.pieces(code(["print(12)"], output))
    assert "print(12)" in source.html
    assert bare(printed) == "12"


def test_long_tables_go_on_with_their_headings():
    rows = "".join(f"<tr><td>{i}</td></tr>" for i in range(30))
    table = f"<table><thead><tr><th>n</th></tr></thead><tbody>{rows}</tbody></table>"
    groups = slide_pieces.pieces(code(["table"], f"<div>{table}</div>"))
    shown = [piece for group in groups for piece in group if "<table" in piece.html]
    assert len(shown) == 3
    assert all("<th>n</th>" in piece.html for piece in shown)
    cells = [int(n) for piece in shown for n in re.findall(r"<td>(\d+)", piece.html)]
    assert cells == [*range(30)]


def test_sentences():
    paragraph = tag(
        '<p>He et al. 2015 say so. <a href="x.html">This</a> is a second, e.g. short'
        ' one. Is <span class="math">\\(x < 1\\)</span> the third? Yes.</p>'
    )
    found = [*slide_pieces.sentences(paragraph)]
    assert [re.sub(r"<[^>]+>", "", each) for each in found] == [
        "He et al. 2015 say so.",
        "This is a second, e.g. short one.",
        "Is \\(x &lt; 1\\) the third?",
        "Yes.",
    ]
    assert "<a" not in found[1], "a link inside of the book leads nowhere from a slide"


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (
            ["A sentence of more than twelve words stands on a slide by itself."],
            0,
        ),
        (["Two warnings.", "The first is here."], "Two warnings. The first is here."),
        (["Figure 3 shows it.", "That is so with all of them."], 1),
        (
            ["They are many.", "But all of them are small here."],
            "All of them are small here.",
        ),
        (["It is not said what it is in this sentence."], ""),
        (["One of them.", "<strong>This one is bold</strong>, and shown."], 1),
        (["word " * 60], ""),
        ([], ""),
    ],
)
def test_the_key_sentence(found, shown):
    assert slide_pieces.said(found, slide_pieces.key(found)) == (
        found[shown] if isinstance(shown, int) else shown
    )


def shown_of(paragraphs, block=None):
    told = slide_pieces.Told()
    pieces = slide_pieces.lead(
        [tag(f"<p>{each}</p>") for each in paragraphs], block, told
    )
    return [bare(piece) for piece in pieces], told


FORMULA = tag(r'<div class="math">\[ y = J_l x \]</div>')


def test_symbols_are_introduced():
    first = "A sentence of quite a few words, in which nothing is called anything."
    introduced = r"Let \(J_l\) be a matrix."
    paragraph = f"{first} {introduced} It is large. We multiply by it:"
    shown, told = shown_of([paragraph], FORMULA)
    assert shown == [f"{introduced} We multiply by it:"]
    assert {"J", "l", "x", "y"} <= told.symbols


def test_symbols_that_an_earlier_slide_left_out_are_introduced_later():
    told = slide_pieces.Told()
    first = tag(
        r"<p>A sentence of more than twelve words stands on a slide by itself, always."
        r" Let \(x\) be the input.</p>"
    )
    (piece,) = slide_pieces.lead([first], None, told)
    assert "input" not in piece.html
    shown = slide_pieces.lead([tag("<p>Then we have</p>")], FORMULA, told)
    assert bare(shown[0]) == r"Let \(x\) be the input."
    assert slide_pieces.lead([tag("<p>Once more,</p>")], FORMULA, told) == [
        slide_pieces.text("Once more,")
    ], "once is enough"


@pytest.mark.parametrize(
    ("paragraph", "shown"),
    [
        ("A set is large. But if it grows,", "A set is large. But if it grows,"),
        (
            "A set is large. It grows. So we find",
            "A set is large. It grows. So we find",
        ),
        ("A set is large. If it grows,", "If it grows,"),
        (f"{'long ' * 50}. So we find", "We find"),
    ],
)
def test_what_a_sentence_before_a_formula_leans_on_is_shown(paragraph, shown):
    assert shown_of([paragraph], FORMULA)[0] == [shown]


def test_what_leads_to_a_cell_is_shown():
    first = "The sentence that says most of it is the first one of the paragraph."
    paragraph = f"{first} More is said. That holds here only:"
    assert shown_of([paragraph], code(["f(1)"]))[0] == [
        f"{first} More is said. That holds here only:"
    ]
    assert shown_of([paragraph])[0] == [first]


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (["Printed above are their means over the last epoch."], ""),
        (["Each of its three stages is one block of two layers."], ""),
        (["They have most of the weights (Figure 1, left).", "Some are zero."], ""),
        (
            ["Networks have most of their weights there (Figure 1, left)."],
            "Networks have most of their weights there.",
        ),
        (["So far, we have looked at one seed only, in one network."], None),
    ],
)
def test_no_slide_sends_to_another_place(found, shown):
    said = slide_pieces.said(found, slide_pieces.key(found))
    assert said == (found[0] if shown is None else shown)


@pytest.mark.parametrize(
    ("formula", "symbols"),
    [
        (r"\mathcal{H}_m", {r"\mathcal{H}", "m"}),
        (r"\operatorname{relu}(F(x))", {"F", "x"}),
        (r"\frac{\alpha}{\varepsilon} \in S", {r"\alpha", r"\varepsilon", "S"}),
    ],
)
def test_symbols(formula, symbols):
    assert slide_pieces.symbols(rf"a word, \({formula}\), another") == symbols


def drawn(width, height, boxes):
    marks = "".join(
        f'<rect class="bb-conv" x="{x}" y="{y}" width="60" height="40"></rect>'
        f'<text font-size="12" text-anchor="middle" x="{x + 30}" y="{y + 20}">c</text>'
        for x, y in boxes
    )
    return tag(f'<svg viewbox="0 0 {width} {height}" width="{width}">{marks}</svg>')


@pytest.mark.parametrize("count", [1, 5, 9, 20])
def test_drawings_are_divided_between_boxes_and_can_be_read(count):
    boxes = [(10, 20 + 60 * i) for i in range(count)]
    svg = drawn(80, 60 * count + 20, boxes)
    groups = slide_pieces.drawing(svg, "What to see.")
    seen = []
    for group in groups:
        for _x, y, w, h, width in re.findall(
            r'viewBox="([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+)" width="([\d.]+)"',
            re.sub(r"(width=\"[\d.]+\") (viewBox=\"[^\"]+\")", r"\2 \1", group[0].html),
        ):
            seen.append((float(y), float(y) + float(h)))
            assert 12 * float(width) / float(w) >= 17.9, "letters of 18 pixels"
    assert seen[0][0] == 0
    assert seen[-1][1] == pytest.approx(60 * count + 20)
    assert all(a[1] == pytest.approx(b[0], abs=0.1) for a, b in pairwise(seen))
    for _, y in boxes:
        whole = [low <= y and y + 40 <= high for low, high in seen]
        assert sum(whole) == 1, "a box is cut, or there twice"


def test_a_wide_drawing_is_divided_along_its_width():
    svg = drawn(1500, 80, [(20 + 100 * i, 20) for i in range(15)])
    pieces = [piece for group in slide_pieces.drawing(svg, "") for piece in group]
    assert len(pieces) > 1


PAGE = """
<section id="net"><h1>Net: does it learn?<a class="headerlink">#</a></h1>
<p>It may. <strong>Does it learn?</strong></p>
<section id="idea"><h2>The idea</h2>
<p>The output is a sum of many terms, and each is</p>
<div class="math">\\[ y = 1 \\]</div><p>where nothing else is meant.</p>
<section id="deeper"><h3>Deeper</h3><p>A last sentence with enough words.</p></section>
</section>
<section id="exercises"><h2>Exercises</h2><p>Do them, all of them, today.</p></section>
</section>
"""


@pytest.fixture
def deck(tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "book/net.html").write_text(f"<article>{PAGE}</article>")
    monkeypatch.setattr(slides, "PAGES", tmp_path)
    monkeypatch.setattr(slides, "guides", dict)
    return slides.deck("net")


def test_a_deck(deck):
    assert [slide.title for slide in deck.slides] == ["Net", "The idea", "Deeper"]
    idea = deck.slides[1]
    assert [bare(piece).strip() for piece in idea.pieces] == [
        "The output is a sum of many terms, and each is",
        "\\[ y = 1 \\]",
        "where nothing else is meant.",
    ]
    assert idea.notes[1] == "where nothing else is meant."
    assert 0.3 < deck.minutes() < 2


def asking(**place):
    question = Question("idea", "How many?", "Many.", **place)
    return replace(
        guides()["resnet"],
        ask=(question,),
        reserve=(),
        no_code=(),
        opens_with=(),
        conclude={"idea": ["So it is."]},
    )


def test_a_question_comes_before_its_answer(deck, monkeypatch):
    monkeypatch.setattr(
        slides, "guides", lambda: {"net": asking(before="nothing else")}
    )
    made = slides.deck("net").slides
    titles = ["The idea", "A question", "The idea", "To remember", "Deeper"]
    assert [slide.title for slide in made][2:] == titles
    before, _, after = made[2:5]
    assert "y = 1" in before.pieces[-1].html
    assert "where nothing else" in after.pieces[0].html
    assert not any("nothing else" in note for note in before.notes)


def test_what_is_said_before_a_question_is_not_lost(deck, tmp_path, monkeypatch):
    page = PAGE.replace("<p>The output", "<p>They are here.</p><p>The output")
    (tmp_path / "book/net.html").write_text(f"<article>{page}</article>")
    monkeypatch.setattr(slides, "guides", lambda: {"net": asking(before="a sum of")})
    made = slides.deck("net").slides
    assert [slide.title for slide in made][2:4] == ["A question", "The idea"]
    assert sum("They are here." in slide.notes for slide in made) == 1


def test_a_question_without_an_answer_on_the_page_comes_last(deck, monkeypatch):
    monkeypatch.setattr(slides, "guides", lambda: {"net": asking()})
    made = [slide.title for slide in slides.deck("net").slides]
    assert made[2:] == ["The idea", "A question", "To remember", "Deeper"]


def test_a_question_before_what_no_page_says(deck, monkeypatch):
    monkeypatch.setattr(slides, "guides", lambda: {"net": asking(before="nowhere")})
    with pytest.raises(SystemExit, match="idea does not say 'nowhere'"):
        slides.deck("net")


def test_a_guide_changes_a_deck(deck, monkeypatch, tmp_path):
    other = PAGE.replace("A last sentence", "A sentence of another page")
    (tmp_path / "book/other.html").write_text(f"<article>{other}</article>")
    found = guides()["resnet"]
    changes = {"opens_with": ("other#deeper",), "conclude": {"deeper": ["So it is."]}}
    guide = replace(found, ask=(), reserve=(), no_code=(), **changes)
    monkeypatch.setattr(slides, "guides", lambda: {"net": guide})
    made = slides.deck("net").slides
    titles = ["Net", "After this lecture you can", "Deeper", "The idea", "Deeper"]
    assert [slide.title for slide in made] == [*titles, "To remember"]
    assert "another page" in made[2].pieces[0].html
    assert "So it is." in made[-1].pieces[0].html


def test_without_code_there_is_what_came_of_it():
    cell = tag(
        '<div class="cell"><div class="cell_input"><pre>f(1)</pre></div>'
        '<div class="cell_output"><div class="output"><pre>7</pre></div></div></div>'
    )
    [[printed]] = slide_pieces.pieces(cell, code=False)
    assert "7" in printed.html
    assert "f(1)" not in printed.html


def test_what_is_live_stands_without_its_code():
    cell = tag(
        '<div class="cell"><div class="cell_input"><pre>Lab()</pre></div>'
        '<div class="cell_output"><div class="output"><div class="lab">'
        '<a href="lab.html?net=vgg">In the lab</a></div></div></div></div>'
    )
    [[live]] = slide_pieces.pieces(cell)
    assert 'href="../book/lab.html?net=vgg"' in live.html
    assert "Lab()" not in live.html


@pytest.mark.parametrize("in_class", ["", "1"])
def test_what_is_to_be_seen_in_the_lab_is_in_the_notes(
    deck, tmp_path, monkeypatch, in_class
):
    live = (
        '<div class="cell"><div class="cell_output"><div class="output">'
        '<div class="lab">Networks</div></div></div></div>'
    )
    page = PAGE.replace("<p>A last sentence", f"{live}<p>A last sentence")
    (tmp_path / "book/net.html").write_text(f"<article>{page}</article>")
    monkeypatch.setenv("CLASS_BUILD", in_class)
    monkeypatch.setattr(
        slides, "guides", lambda: {"net": replace(asking(), lab="Half of $n$.")}
    )
    made = slides.deck("net").slides
    noted = [slide.title for slide in made if "To be seen: Half of n." in slide.notes]
    assert noted == ([] if in_class else ["Deeper"])


def test_the_page_of_a_deck_asks_no_other_host(deck):
    page = slides.write(deck)
    asked = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', page)
    assert asked
    assert not [address for address in asked if "//" in address]
    assert "{" not in re.sub(r"<script>.*?</script>", "", page)


def test_no_slide_is_too_high():
    section = slides.Section("title", "id")
    paragraph = tag(
        "<p>" + "A sentence that has quite a few words in it. " * 9 + "</p>"
    )
    for height in (500, 60, 400, HEIGHT, 30):
        lead = slide_pieces.lead([paragraph] * 4)
        section.add(lead, [[Piece("<pre></pre>", height)]], [paragraph] * 4)
    for slide in section.slides:
        assert slide_pieces.height(slide.pieces) <= HEIGHT
    said = sum(len(slide.notes) for slide in section.slides)
    assert said == 20, "every paragraph is said once"
    assert sum("<pre>" in p.html for s in section.slides for p in s.pieces) == 5


def test_chapters_are_those_with_exercises():
    assert slides.chapters()[:3] == ["convolution", "training", "lenet"]
    assert "claims" not in slides.chapters()


def test_what_is_copied_of_reveal(tmp_path):
    slides.copy_reveal(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "reveal.js",
        "reveal.css",
        "notes.js",
        "LICENSE",
    }
    style = (tmp_path / "reveal.css").read_text()
    assert "http" not in re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
