"""The box of a layer, and the card of a stage, with all that is in it as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from course_lib.diagram.marks import Box, Element, Group, Label, Line, moved, text_width
from course_lib.diagram.ops import TIMES, Op, Tag
from course_lib.diagram.structure import Chain, Node, Parallel, Repeat, Stage

TEXT, SMALL, CELL = 12, 10, 11  # sizes of letters: in a box, in a tag, in a card
LINE = 15  # from one line of text to the next
TAG = 15  # the height of a tag
GAP = 3  # around tags and between rows
ROW = 20  # the height of a row
STRIPE = 6  # what a tag takes in a row
ARC, ARC_TOP = 13, 4  # left of rows with a shortcut, and above them
BRACKET = 32  # right of rows that are repeated, at least
INSET, TITLE = 7, 25  # inside a card: at the sides, at the top


def box_size(op: Op, lines: list[str]) -> tuple[float, float]:
    """Width and height that the box of `op` needs for `lines`."""
    bold = _heads(op, lines) > 0
    text = max(text_width(line, TEXT, bold=bold) for line in lines)
    tags = sum(_tag_width(name) + GAP for _, name in op.tags) + GAP
    height = LINE * len(lines) + 9 + (TAG + 1 if op.tags else 0)
    return max(text + 8, tags), height


def box(op: Op, lines: list[str], width: float, height: float) -> Group:
    """The box of `op` around the origin, with `lines` and what follows it as tags at
    its foot.
    """
    heads = _heads(op, lines)
    middle = -(TAG + 1) / 2 if op.tags else 0
    marks: list[Element] = [Box(0, 0, width, height, op.kind)]
    for index, line in enumerate(lines):
        y = middle + (index - (len(lines) - 1) / 2) * LINE
        marks.append(Label(0, y, line, TEXT, bold=index < heads))
    needed = sum(_tag_width(name) for _, name in op.tags) + GAP * (len(op.tags) + 1)
    x, y = GAP - width / 2, height / 2 - GAP - TAG / 2
    for kind, name in op.tags:
        wide = _tag_width(name) + (width - needed) / len(op.tags)
        marks.append(Box(x + wide / 2, y, wide, TAG, kind, 3))
        marks.append(Label(x + wide / 2, y, name, SMALL))
        x += wide + GAP
    return Group(tuple(marks), "box", op.path)


def _heads(op: Op, lines: list[str]) -> int:
    """How many of several lines are bold, which is the name."""
    return len(op.name.split("\n")) if len(lines) > 1 else 0


def _tag_width(name: str) -> float:
    return text_width(name, SMALL) + 5


class CardRow(NamedTuple):
    """A row of a card: the width that it needs, its height, and how to draw it from its
    upper left corner in the width that it gets.
    """

    width: float
    height: float
    draw: Callable[[float], tuple[Element, ...]]


def card(stage: Stage, width: float = 0) -> Group:
    """The card of `stage` around the origin: its name and its rows, at least as wide
    as `width`.
    """
    content = _stacked(_rows(stage.body))
    needed = max(content.width, text_width(stage.name, TEXT, bold=True))
    width = max(width, needed + 2 * INSET)
    height = TITLE + content.height + INSET
    left, top = -width / 2, -height / 2
    marks = (
        Box(0, 0, width, height, "panel", 6),
        Label(0, top + 14, stage.name, TEXT, bold=True),
        *moved(content.draw(width - 2 * INSET), left + INSET, top + TITLE),
    )
    return Group(marks, "stage", stage.name)


def _rows(chain: Chain, *, within: bool = False) -> list[CardRow]:
    """The rows of a chain; `within` a branch, what forks again stands apart."""
    rows: list[CardRow] = []
    before: Node | None = None
    for node, behind in zip(chain, (*chain[1:], None), strict=True):
        if isinstance(node, Op) and not (node.small and isinstance(before, Parallel)):
            rows.append(_cells([node]))
        elif isinstance(node, Parallel):
            # An activation after a join goes into its row.
            forked = _branches(node, _tag(behind))
            rows += [_indented(_stacked(forked))] if within else forked
        elif isinstance(node, Repeat):
            rows.append(_bracketed(_stacked(_rows(node.body)), node.count))
        before = node
    return rows


def _tag(node: Node | None) -> tuple[Tag, ...]:
    if isinstance(node, Op) and node.small:
        return ((node.kind, node.name),)
    return ()


def _branches(node: Parallel, tags: tuple[Tag, ...]) -> list[CardRow]:
    """Branches one under the other, and what joins them."""
    sign = node.join.name
    if len(sign) > 1 or len(node.branches) > 2:
        rows = [row for branch in node.branches for row in _inner(branch)]
        size, more = None if node.join.more else node.shape[0], node.join.more
        if not all(node.branches):
            sign = f"{sign} with input"
        join = Op("join", sign, node.shape, size, more=more, tags=tags)
        return [*rows, _cells([join])]
    residual, shortcut = sorted(node.branches, key=len, reverse=True)
    if shortcut:
        last = _branch(shortcut, f"{sign} ", tags)
    else:
        last = [_cells([Op("join", f"{sign} input", node.shape, tags=tags)])]
    return [_arched(_stacked([*_rows(residual), *last]))]


def _inner(chain: Chain) -> list[CardRow]:
    """One of several branches: within a line of its own, if it forks again."""
    if any(isinstance(node, Parallel) for node in chain):
        return [_indented(_stacked(_rows(chain, within=True)))]
    return _branch(chain)


def _branch(chain: Chain, sign: str = "", tags: tuple[Tag, ...] = ()) -> list[CardRow]:
    """A branch: in one row, if it is layer after layer."""
    ops = [node for node in chain if isinstance(node, Op)]
    if len(ops) < len(chain):
        return _rows(chain)
    return [_cells(ops, sign, tags)] if ops else []


def _cells(ops: list[Op], sign: str = "", tags: tuple[Tag, ...] = ()) -> CardRow:
    """Layers side by side, one for each lane, with what follows as stripes at their
    ends. `sign` stands before the first, `tags` are stripes of the last.
    """
    lanes = [lane for op in ops for lane in [op.lane()] * op.lanes]
    texts = [op.line() for op in lanes]
    if len(texts) > 1:
        texts = [text.replace(" conv,", ",") for text in texts]
    texts[0] = sign + texts[0]
    stripes = [op.tags for op in lanes]
    stripes[-1] += tags
    widths = [
        text_width(text, CELL) + 7 + STRIPE * len(kinds)
        for text, kinds in zip(texts, stripes, strict=True)
    ]
    needed = sum(widths) + GAP * (len(widths) - 1)

    def draw(width: float) -> tuple[Element, ...]:
        marks: list[Element] = []
        left, more, y = 0.0, (width - needed) / len(widths), ROW / 2
        for op, text, kinds, narrow in zip(lanes, texts, stripes, widths, strict=True):
            wide, taken = narrow + more, STRIPE * len(kinds)
            cell: list[Element] = [Box(left + wide / 2, y, wide, ROW, op.kind, 3)]
            cell.append(Label(left + (wide - taken) / 2, y, text, CELL))
            for index, (kind, _) in enumerate(kinds):
                x = left + wide - taken + STRIPE * index + 1
                cell.append(Box(x, y, 4, ROW - 6, kind, 1.5))
            marks.append(Group(tuple(cell), "box", op.path))
            left += wide + GAP
        return tuple(marks)

    return CardRow(needed, ROW, draw)


def _stacked(rows: list[CardRow]) -> CardRow:
    """Rows one under the other, as one."""

    def draw(width: float) -> tuple[Element, ...]:
        marks: list[Element] = []
        y = 0.0
        for row in rows:
            marks += moved(row.draw(width), 0, y)
            y += row.height + GAP
        return tuple(marks)

    height = sum(row.height + GAP for row in rows) - GAP
    return CardRow(max(row.width for row in rows), height, draw)


def _arched(row: CardRow) -> CardRow:
    """Rows with an arc around them, from above the first to the last."""
    foot = ARC_TOP + row.height - ROW / 2
    arc = Line(((ARC, 1), (2, 1), (2, foot), (ARC, foot)), radius=5)

    def draw(width: float) -> tuple[Element, ...]:
        return (*moved(row.draw(width - ARC), ARC, ARC_TOP), arc)

    return CardRow(row.width + ARC, row.height + ARC_TOP, draw)


def _indented(row: CardRow) -> CardRow:
    """Rows with a line on their left that says what belongs together."""
    points = ((ARC - 6, 1), (2, 1), (2, row.height - 1), (ARC - 6, row.height - 1))
    line = Line(points, head=False, radius=3)

    def draw(width: float) -> tuple[Element, ...]:
        return (*moved(row.draw(width - ARC), ARC, 0), line)

    return CardRow(row.width + ARC, row.height, draw)


def _bracketed(row: CardRow, count: int) -> CardRow:
    """Rows in a bracket that says how often they come."""
    text = f"{TIMES} {count}"
    right = max(BRACKET, text_width(text, CELL, bold=True) + 14)

    def draw(width: float) -> tuple[Element, ...]:
        x, top, bottom = width - right + 4, 1, row.height - 1
        points = ((x, top), (x + 4, top), (x + 4, bottom), (x, bottom))
        bracket = Line(points, head=False, radius=3)
        label = Label(x + 9, row.height / 2, text, CELL, anchor="start", bold=True)
        marks = *row.draw(width - right), bracket, label
        return (Group(marks, "repeat", text),)

    return CardRow(row.width + right, row.height, draw)
