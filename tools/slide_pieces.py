"""What stands on a slide, cut from a page of the book: words, formulas, code in pieces
of at most twelve lines, tables, drawings at a size that can be read from the last row.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

from bs4 import Tag
from bs4.element import NavigableString

#: Pixels of a slide of 1280 by 720 that are free for its pieces.
WIDTH, HEIGHT = 1200, 575
LINE, CODE_LINE, ROW = 36, 27, 33  # pixels of a line of text, of code, of a table
CHARACTERS = 86  # of a line of text
LINES = 12  # of code on a slide
PRINTED, PRINTED_WIDE = 16, 95  # lines and characters of what a cell prints
NEWLINE = "\n"
ROWS = 13
LONGEST = 45  # words of a sentence that is shown; longer ones are only said
SHORT = 12
LONGEST_CHAIN = 60  # words of sentences that lean on each other
SMALLEST = 18  # pixels of a letter
LIVE = ".playground, .explorer, .lab"  # what runs in the page
BESIDE, GAP = 330, 24  # pixels for a caption beside a drawing, and between strips

#: What a sentence ends with, and what only looks like it.
END = re.compile(r"(?<=[.?!])(?<!al\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)\s+(?=[A-Z(\"“*])")
#: How a sentence begins that needs those before it,
PRONOUN = (
    r"(They|Those|These|Their|It|Its|Both|Which one"
    r"|(Each|One|All|Most|None|Two) of (it|them|these|those|its|their)) "
)
#: and one that says nothing without those before it, or without a figure.
BACK = re.compile(rf"Figures? \d|Here (is|are)|{PRONOUN}")
LEANS = re.compile(rf"{PRONOUN}|(But|So|And|Yet|Still|Then|That|This|Hence) ")
#: What sends to another place of the page,
ELSEWHERE = re.compile(
    r"\b([Pp]rinted|(the|this) (table|figure|cell|code|output)) (above|below)\b"
    r"|\b(above|below)[,.;:]?$"
)
#: and to a part of a figure, which stands on another slide.
ASIDE = re.compile(r" \((Figure \d+|(Figure \d+, )?(left|right|top|bottom))\)")
#: A symbol of a formula, or, as a group, a command that is none.
SYMBOL = re.compile(
    r"\\math(?:cal|bb|bf|sf)\{\w\}|\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta"
    r"|(?:var)?theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|(?:var)?phi|chi|psi|omega"
    r"|Gamma|Delta|Theta|Lambda|Sigma|Phi|Omega|ell)(?![a-zA-Z])|(\\[a-zA-Z]+)|[a-zA-Z]"
)
NAMES = re.compile(r"\\(operatorname|text|mathrm|begin|end)\*?\{[^}]*\}")
#: And what a sentence can do without.
JOINED = re.compile(r"^(?:But|So(?! far)|And|Yet|Still|Also),? (\w)")
#: Words in bold, and no label.
BOLD = re.compile(r"<strong>[^<]*\w\W+\w+\W+\w")
LAST = re.compile(r"(?<!al)(?<!e\.g)(?<!i\.e)(?<!vs)[.?!]\s+$")


@dataclass
class Piece:
    """HTML, and the height that it needs; `joins` if others may follow below."""

    html: str
    height: int
    joins: bool = False
    words: bool = False  # a paragraph
    figure: bool = False

    @property
    def continues(self) -> bool:
        """Whether it goes on with the sentence of a formula above it."""
        return bool(re.match(r"<p>(and|but|for|so|then|where|with|which)\b", self.html))


def classes(element: Tag) -> list[str]:
    """Its classes."""
    return [*(element.get("class") or [])]


def heading(section: Tag) -> str:
    """The title of a section."""
    title = section.find(["h1", "h2", "h3"], recursive=False)
    if not isinstance(title, Tag):
        return ""
    title = copy.copy(title)
    for link in title.select("a.headerlink"):
        link.decompose()
    return title.decode_contents().strip()


def words(element: Tag) -> str:
    """What is said: the text, with formulas as TeX."""
    return plain(element.get_text())


def plain(text: str) -> str:
    """In one line, without the marks of formulas."""
    return re.sub(r"\s+", " ", re.sub(r"\\[()\[\]]|\$|\*\*", "", text)).strip()


def text(inner: str) -> Piece:
    """A paragraph."""
    return Piece(f"<p>{inner}</p>", LINE * rows_of(inner) + 12, joins=True, words=True)


def rows_of(inner: str, characters: int = CHARACTERS) -> int:
    """How many lines HTML takes."""
    return ceil(len(re.sub(r"<[^>]+>|\\[a-z]+|[{}\\]", "", inner)) / characters)


@dataclass
class Told:
    """What a section has said so far: its sentences, and the symbols on its slides."""

    sentences: list[str] = field(default_factory=list)
    symbols: set[str] = field(default_factory=set)


def lead(
    paragraphs: list[Tag], block: Tag | None = None, told: Told | None = None
) -> list[Piece]:
    """What is shown of paragraphs: of each a sentence; the one that leads to the block
    below, with those that it leans on; and those in which its symbols are introduced.
    """
    told = told or Told()
    formula = block if block is not None and "math" in classes(block) else None
    found = [list(sentences(each)) for each in paragraphs]
    chosen = [key(each) for each in found]
    if found and (formula is not None or (block and found[-1][-1].endswith(":"))):
        leading = chain(found[-1], len(found[-1]) - 1)
        chosen[-1] = leading if formula is not None else chosen[-1] | leading
    before = _introduced(found, chosen, formula, told)
    told.sentences += [sentence for each in found for sentence in each]
    shown = [said(*each) for each in zip(found, chosen, strict=True)]
    told.symbols |= symbols(" ".join([*before, *shown, str(formula or "")]))
    return [text(each) for each in [" ".join(before), *shown] if each]


def _introduced(
    found: list[list[str]], chosen: list[set[int]], formula: Tag | None, told: Told
) -> list[str]:
    """Choose the sentences, too, that introduce the symbols of what is shown; give any
    that the section said with an earlier slide.
    """
    before: list[str] = []
    done = set(told.symbols)
    while True:
        shown = [said(*each) for each in zip(found, chosen, strict=True)]
        new = symbols(" ".join([*before, *shown, str(formula or "")])) - done
        if not new:
            return before
        done |= new
        for symbol in sorted(new):
            old = (each for each in told.sentences if symbol in symbols(each))
            here = (
                (numbers, chain(each, i))
                for each, numbers in zip(found, chosen, strict=True)
                for i, sentence in enumerate(each)
                if symbol in symbols(sentence)
            )
            if (sentence := next(old, None)) is not None:
                if sentence not in before and counted(sentence) <= LONGEST:
                    before.append(sentence)
            elif (first := next(here, None)) is not None:
                first[0].update(first[1])


def symbols(shown: str) -> set[str]:
    """The letters of the formulas in HTML, without the names of functions."""
    formulas = " ".join(re.findall(r"\\[(\[](.*?)\\[)\]]", shown, flags=re.DOTALL))
    found = SYMBOL.finditer(NAMES.sub("", formulas))
    return {each[0] for each in found if not each[1]}


def counted(sentence: str) -> int:
    """The number of words."""
    return len(re.sub(r"<[^>]+>", "", sentence).split())


def chain(found: list[str], last: int) -> set[int]:
    """A sentence and those before it that it leans on, as far as there is room; nothing
    if it is too long itself.
    """
    numbers, length = set[int](), counted(found[last])
    if length > LONGEST:
        return numbers
    numbers.add(last)
    while last and LEANS.match(found[last]):
        last -= 1
        length += counted(found[last])
        if length > LONGEST_CHAIN or counted(found[last]) > LONGEST:
            break
        numbers.add(last)
    return numbers


def key(found: list[str]) -> set[int]:
    """The sentence that is shown, its number: one with bold words, or the first, and
    the second as well if the first is short. What only leads to a figure, or says
    nothing without what stands elsewhere on the page, is said.
    """
    kept = [i for i, each in enumerate(found) if not BACK.match(each)]
    kept = [i for i in kept if not ELSEWHERE.search(found[i])]
    strong = [i for i in kept if BOLD.search(found[i])]
    if strong and counted(found[strong[0]]) <= LONGEST:
        return {strong[0]}
    if not kept or counted(found[kept[0]]) > LONGEST:
        return set()
    length = counted(found[kept[0]])
    if length < SHORT and len(kept) > 1:
        both = length + counted(found[kept[1]])
        return set(kept[:2] if both <= LONGEST else kept[:1])
    return {kept[0]} if length >= 4 else set()


def said(found: list[str], numbers: set[int]) -> str:
    """These sentences, without what joins one to a sentence that is not shown, and
    without directions to a figure.
    """
    shown = [
        found[i] if i - 1 in numbers else JOINED.sub(capital, found[i])
        for i in sorted(numbers)
    ]
    return ASIDE.sub("", " ".join(shown))


def capital(joined: re.Match[str]) -> str:
    """The first letter of what a sentence is without what joins it to the last one."""
    return joined[1].upper()


def with_lead(group: list[Piece], lead: list[Piece]) -> list[Piece]:
    """A figure with the words that lead to it, if they are few."""
    if not lead or height(lead) > 2 * LINE + 24:
        return group
    piece = group[0]
    if 'figure class="drawn"' in piece.html:  # beside the drawing, above its caption
        inner = "".join(each.html for each in lead)
        made = piece.html.replace("<figcaption>", f"<figcaption>{inner}", 1)
        return [Piece(made, HEIGHT, figure=True)]
    if "drawn" in piece.html or "live" in piece.html:
        return group
    return [*lead, piece]


def height(pieces: list[Piece]) -> int:
    """What pieces need, one below the other."""
    return sum(piece.height for piece in pieces)


def sentences(paragraph: Tag) -> Iterator[str]:
    """The sentences of a paragraph, as HTML; links inside of the book become words."""
    sentence = ""
    for child in _unlinked(paragraph).children:
        if not isinstance(child, NavigableString):
            sentence += str(child)
            continue
        first, *rest = END.split(_escaped(child))
        sentence += first
        for each in rest:
            yield one_line(sentence)
            sentence = each
        if LAST.search(str(child)):  # the next one begins with a link or a formula
            yield one_line(sentence)
            sentence = ""
    if sentence.strip():
        yield one_line(sentence)


def one_line(sentence: str) -> str:
    """Without line breaks."""
    return " ".join(sentence.split())


def _escaped(child: NavigableString) -> str:
    return child.output_ready(formatter="minimal")


def _unlinked(element: Tag) -> Tag:
    made = copy.copy(element)
    for link in made.find_all("a"):
        if not str(link.get("href", "")).startswith("http"):
            link.unwrap()
    return made


def pieces(block: Tag, code: bool = True) -> list[list[Piece]]:
    """What is shown of a block of a page, slide by slide; of a folded one, and of any
    without `code`, only what came of it.
    """
    if block.name in ("ul", "ol"):
        return listed(block)
    if "math" in classes(block):
        return [[formula(block)]]
    if "admonition" in classes(block):
        lists = block.find_all(["ul", "ol"], recursive=False)
        return [group for each in lists for group in listed(each)]
    if "cell" not in classes(block) or {"tag_hide-cell", "tag_parameters"} & {
        *classes(block)
    }:
        return []
    return cell(block, not code or "tag_hide-input" in classes(block))


def formula(block: Tag) -> Piece:
    """A formula on lines of its own."""
    lines = 1 + block.get_text().count(r"\\")
    tall = bool(re.search(r"\\(sum|frac|prod|Big|underbrace)", block.get_text()))
    return Piece(str(block), (66 if tall else 46) * lines + 18, joins=True)


def listed(block: Tag) -> list[list[Piece]]:
    """A list, divided where a slide is full."""
    groups: list[list[Piece]] = []
    number = 1
    for item in block.find_all("li", recursive=False):
        inner = _unlinked(item)
        for paragraph in inner.find_all("p", recursive=False):
            paragraph.unwrap()
        body = text(inner.decode_contents())
        start = f' start="{number}"' if block.name == "ol" else ""
        made = f"<{block.name}{start}><li>{inner.decode_contents()}</li></{block.name}>"
        piece = Piece(made, body.height + 4)
        if groups and sum(p.height for p in groups[-1]) + piece.height <= HEIGHT:
            groups[-1].append(piece)
        else:
            groups.append([piece])
        number += 1
    return groups


def cell(block: Tag, folded: bool) -> list[list[Piece]]:
    """Code that is not folded, and what came of it; of what is live, only that."""
    code = block.select_one("div.cell_input pre")
    figure = block.find("figure")
    folded = folded or block.select_one(LIVE) is not None
    shown = [] if folded or code is None or _draws_only(code, figure) else source(code)
    groups = [[piece] for piece in shown]
    if isinstance(figure, Tag):
        return groups + drawn(figure)
    for output in block.select("div.cell_output > div"):
        made = printed(output)
        if groups and made and height([*groups[-1], made[0]]) <= HEIGHT:
            groups[-1].append(made.pop(0))
        groups += [[piece] for piece in made]
    return groups


def _draws_only(code: Tag, figure: object) -> bool:
    """Whether the code is one line that makes the drawing or the listing below it."""
    lines = code.get_text().strip().splitlines()
    return len(lines) == 1 and (figure is not None or lines[0].startswith("show("))


def source(code: Tag) -> list[Piece]:
    """Code in pieces of at most twelve lines, divided at empty lines if there are."""
    lines = (
        code.decode_contents().removeprefix("<span></span>").rstrip("\n").split("\n")
    )
    return [
        Piece(
            f'<div class="highlight"><pre>{body}</pre></div>',
            CODE_LINE * (body.count("\n") + 1) + 36,
        )
        for body in map("\n".join, chunks(lines, LINES))
    ]


def chunks(lines: list[str], most: int) -> Iterator[list[str]]:
    """At most so many lines each: up to an empty line, or one that is not indented, if
    that leaves a third of the most.
    """
    bare = [re.sub(r"<[^>]+>", "", line) for line in lines]
    start = 0
    while start < len(lines):
        if not bare[start].strip():
            start += 1
            continue
        end = min(start + most, len(lines))
        if end < len(lines):
            room = range(end, start + most // 3, -1)
            empty = [i for i in room if not bare[i].strip()]
            outer = [i for i in room if bare[i] and bare[i][0] not in " )]}"]
            end = (empty or outer or [end])[0]
        part = lines[start:end]
        while part and not re.sub(r"<[^>]+>", "", part[-1]).strip():
            part.pop()
        yield part
        start = end


def printed(output: Tag) -> list[Piece]:
    """What a cell prints, or its table, or what is live."""
    live = output.select_one(LIVE)
    if live is not None:
        return [Piece(running(live), HEIGHT)]
    table = output.find("table")
    if isinstance(table, Tag):
        return [*tables(table)]
    pre = output.find("pre")
    if not isinstance(pre, Tag):
        return []
    if "highlight-python" in (output.get("class") or []):
        return source(pre)
    lines = pre.decode_contents().removeprefix("<span></span>").rstrip("\n").split("\n")
    return [
        Piece(
            f'<pre class="output">{NEWLINE.join(part)}</pre>',
            CODE_LINE * sum(max(1, rows_of(line, PRINTED_WIDE)) for line in part) + 32,
        )
        for part in chunks(lines, PRINTED)
    ]


def running(live: Tag) -> str:
    """What runs in the page, with its links to pages beside it."""
    made = re.sub(r'href="(?=[\w-]+\.html)', 'href="../book/', str(live))
    return f'<div class="live">{made}</div>'


def tables(table: Tag) -> Iterator[Piece]:
    """A table, its rows divided onto slides; the headings are on each."""
    body = table.tbody or table
    rows = body.find_all("tr", recursive=False)
    head = str(table.thead or "")
    caption = str(table.caption or "")
    widest = max(
        len(row.get_text(" ")) for row in [*rows, table.thead or table.tr or table]
    )
    tight = ' class="tight"' if widest > 75 or len(head) > 800 else ""
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        inner = f"{caption}{head}<tbody>{''.join(map(str, part))}</tbody>"
        lines = len(part) + 2 + bool(caption)
        yield Piece(f"<table{tight}>{inner}</table>", ROW * lines + 12)


def drawn(figure: Tag) -> list[list[Piece]]:
    """A figure with its caption; a drawing in pieces that can be read."""
    caption = figure.find("figcaption")
    words = _unlinked(caption).decode_contents() if isinstance(caption, Tag) else ""
    live = figure.select_one(LIVE)
    if live is not None:
        made = f"{running(live)}<figcaption>{words}</figcaption>"
        return [[Piece(f"<figure>{made}</figure>", HEIGHT, figure=True)]]
    image = figure.find("img")
    if isinstance(image, Tag):
        alt, address = image.get("alt", ""), image["src"]
        made = f'<img src="{address}" alt="{alt}">'
        shown = f"<figure>{made}<figcaption>{words}</figcaption></figure>"
        return [[Piece(shown, HEIGHT - 2 * LINE - 24, figure=True)]]
    forms: dict[bool, list[list[Piece]]] = {False: [], True: []}
    for svg in figure.find_all("svg"):
        narrow = svg.find_parent(class_="bb-narrow") is not None
        forms[narrow] += drawing(svg, words)
    # As wide as a page, or as narrow as a phone: what takes fewer slides.
    return min((form for form in forms.values() if form), key=len, default=[])


@dataclass(frozen=True)
class Part:
    """A piece of a drawing, in its own units."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Pieces of a drawing, so many side by side, and the caption beside or below."""

    parts: tuple[Part, ...]
    scale: float
    fit: int
    below: bool

    @property
    def slides(self) -> int:
        """How many it takes."""
        return ceil(len(self.parts) / self.fit)


def drawing(svg: Tag, words: str) -> list[list[Piece]]:
    """A drawing, its letters no smaller than 18 pixels: pieces of it side by side, as
    many as fit on a slide.
    """
    chosen = min(
        (layout(svg, words, below) for below in (False, True)),
        key=lambda each: each.slides,
    )
    groups = []
    for number in range(chosen.slides):
        start = number * chosen.fit
        shown = "".join(
            cut(svg, part, chosen.scale, f"-{start + i}")
            for i, part in enumerate(chosen.parts[start : start + chosen.fit])
        )
        more = f" (part {number + 1} of {chosen.slides})" if chosen.slides > 1 else ""
        kind = "drawn below" if chosen.below else "drawn"
        made = (
            f'<figure class="{kind}"><div>{shown}</div>'
            f"<figcaption>{words}{more}</figcaption></figure>"
        )
        groups.append([Piece(made, HEIGHT, figure=True)])
    return groups


def layout(svg: Tag, words: str, below: bool) -> Layout:
    """How a drawing is divided with its caption below it, or beside it."""
    _, _, *size = str(svg.get("viewbox") or svg["viewBox"]).split()
    width, high = map(float, size)
    legend = svg.find("g", class_="bb-legend")
    if isinstance(legend, Tag) and isinstance(legend.rect, Tag):
        high = number(legend.rect, "y") - 8  # the boxes say what they are
    letters = [number(each, "font-size") for each in svg.select("text[font-size]")]
    scale = SMALLEST / min(letters, default=SMALLEST)
    wide = WIDTH if below else WIDTH - BESIDE
    tall = HEIGHT - 14 - (LINE * rows_of(words) + 20 if below else 0)
    parts = tuple(
        Part(left, top, right - left, bottom - top)
        for top, bottom in strips(svg, "y", high, tall / scale)
        for left, right in strips(svg, "x", width, wide / scale)
    )
    fit = max(1, int((wide + GAP) // (scale * parts[0].width + GAP)))
    if len(parts) == 1:  # there is room for more
        scale = min(tall / high, wide / width, 2.2 * scale)
    return Layout(parts, scale, fit, below)


def number(element: Tag, name: str) -> float:
    """An attribute that is a number, or zero."""
    return float(str(element.get(name) or 0))


def cut(svg: Tag, part: Part, scale: float, suffix: str) -> str:
    """A piece of a drawing; ids get a suffix, since a page has each only once."""
    made = copy.copy(svg)
    for name in ("viewbox", "viewBox", "style"):
        del made[name]
    view = part.left, part.top, part.width, part.height
    made["viewBox"] = " ".join(f"{each:g}" for each in view)
    made["width"] = f"{scale * part.width:.1f}"
    made["height"] = f"{scale * part.height:.1f}"
    for element in made.find_all(id=True):
        element["id"] = f"{element['id']}{suffix}"
    labels = str(svg.get("aria-labelledby", "")).split()
    made["aria-labelledby"] = " ".join(f"{each}{suffix}" for each in labels)
    return str(made)


def strips(svg: Tag, axis: str, end: float, most: float) -> list[tuple[float, float]]:
    """Divide a drawing along an axis where no box and no word is cut, and no panel if
    that can be. All strips have about the same size.
    """
    whole = gaps(sorted(extents(svg, axis, panels=True)), end)
    inside = gaps(sorted(extents(svg, axis)), end)
    parts, start = [], 0.0
    while end - start > most:
        wanted = start + (end - start) / ceil((end - start) / most)
        low, high = start + most / 3, start + most
        cuts = [y for y in whole if low < y <= high] or [
            y for y in inside if low < y <= high
        ]
        stop = min(cuts, key=lambda y: abs(y - wanted), default=high)
        parts.append((start, stop))
        start = stop
    return [*parts, (start, end)]


def extents(svg: Tag, axis: str, panels: bool = False) -> Iterator[tuple[float, float]]:
    """From where to where each box and each word goes, and each panel if wanted."""
    ignored = {"bb-repeat", "bb-paper"} | (set() if panels else {"bb-panel"})
    for box in svg.find_all("rect"):
        if not ignored & {*(box.get("class") or [])}:
            low = number(box, axis)
            yield low, low + number(box, "height" if axis == "y" else "width")
    for circle in svg.find_all("circle"):
        middle, radius = number(circle, f"c{axis}"), number(circle, "r")
        yield middle - radius, middle + radius
    for word in svg.find_all("text"):
        size, middle = number(word, "font-size"), number(word, axis)
        half = 0.8 * size if axis == "y" else 0.3 * size * len(word.get_text())
        if word.get("text-anchor") == "start" and axis == "x":
            middle += half
        yield middle - half, middle + half


def gaps(taken: list[tuple[float, float]], last: float) -> list[float]:
    """Where nothing is."""
    free, end = [], 0.0
    for low, high in taken:
        if low - end > 1:
            free.append((low + end) / 2)
        end = max(end, high)
    return [*free, last]
