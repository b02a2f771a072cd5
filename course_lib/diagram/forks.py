"""Parallel branches: those that end in a join, and residual branches with shortcuts."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from course_lib.diagram.boxes import TEXT
from course_lib.diagram.marks import (
    Box,
    Circle,
    Element,
    Group,
    Label,
    Line,
    bounds,
    moved,
)
from course_lib.diagram.ops import Op, Shape
from course_lib.diagram.tiles import EDGE, Layout, Tile, end_of, shape_text

if TYPE_CHECKING:
    from course_lib.diagram.structure import Chain, Parallel

FORK = 8  # from where a fork is entered to where it forks
START = FORK + EDGE  # and to what stands on the axis
PLUS = 9  # the radius of a plus
BAR = 22  # the breadth of the bar of a join
BETWEEN = 12  # between two branches, and between a residual branch and its arc


def fork(flow: Layout, node: Parallel, shape: Shape) -> Tile:
    """The tile of `node`, into which `shape` goes. Nothing in it goes in rows."""
    flow = replace(flow, limit=math.inf)
    if len(node.join.name) == 1 and len(node.branches) == 2:
        residual, shortcut = sorted(node.branches, key=len, reverse=True)
        return _shortcut(flow, residual, shortcut, shape, node.join)
    return _branches(flow, node, shape)


def _shortcut(
    flow: Layout, residual: Chain, shortcut: Chain, shape: Shape, join: Op
) -> Tile:
    """`residual` on the axis, `shortcut` in an arc: above, or right of a flow down."""
    inner = flow.inside(residual, shape)
    low, high = flow.across(bounds(inner.marks))
    beside = flow.inside(shortcut, shape) if shortcut else end_of(shape)
    near, far = flow.across(bounds(beside.marks))
    room = BETWEEN if shortcut else BETWEEN + 2
    arc = high + room - near if flow.down else low - room - far
    end = START + max(inner.length + EDGE, beside.length + 24 if shortcut else 0)
    middle, side = end + PLUS, PLUS if flow.down else -PLUS
    forked, joined = flow.at(FORK, arc), flow.at(middle, arc)
    lines = [
        Line((flow.at(0, 0), flow.at(START + inner.enter, 0)), inner.arrow),
        Line((flow.at(START + inner.leave, 0), flow.at(end, 0))),
    ]
    start, last = flow.at(FORK, 0), flow.at(middle, side)
    marks: list[Element] = [*moved(inner.marks, *flow.at(START, 0))]
    if shortcut:
        begin = (FORK + middle - beside.length) / 2
        marks += moved(beside.marks, *flow.at(begin, arc))
        into, out = begin + beside.enter, begin + beside.leave
        lines.append(Line((start, forked, flow.at(into, arc)), beside.arrow, 14))
        lines.append(Line((flow.at(out, arc), joined, last), radius=14))
    else:
        marks += flow.label("identity", (FORK + middle) / 2, arc)
        lines.append(Line((start, forked, joined, last), radius=16))
    x, y = flow.at(middle, 0)
    sign = Circle(x, y, PLUS, "join"), Label(x, y, join.name, 15)
    length = end + 2 * PLUS
    marks += [*lines, Group(sign, "box", join.path)]
    return Tile(tuple(marks), length, 0, length, join.shape, arrow=False)


def _branches(flow: Layout, node: Parallel, shape: Shape) -> Tile:
    """Branches side by side, up to the bar of their join."""
    flow = replace(flow, narrow=True)
    lengths, breadths = zip(*map(flow.size, node.branches), strict=True)
    size = max(lengths), max(breadths)
    rows = [
        flow.inside(branch, shape, size) if branch else end_of(shape)
        for branch in node.branches
    ]
    texts = [shape_text(row.shape) for row in rows]
    offsets = _offsets(flow, node, rows, texts, size[1])
    bar = START + max(row.length for row in rows) + max(map(flow.gap, texts))
    marks: list[Element] = []
    for row, text, offset in zip(rows, texts, offsets, strict=True):
        gap = flow.gap(text)
        begin = bar - gap - row.length  # short branches end where the others do
        route = (flow.at(0, 0), flow.at(FORK, 0), flow.at(FORK, offset))
        last = flow.at(bar, offset)
        if row.marks:
            into, out = begin + row.enter, begin + row.leave
            marks.append(Line((*route, flow.at(into, offset)), row.arrow))
            marks.append(Line((flow.at(out, offset), last)))
        else:
            marks.append(Line((*route, last)))
        marks += flow.label(text, bar - gap / 2, offset)
        marks += moved(row.marks, *flow.at(begin, offset))
    x, y = flow.at(bar + BAR / 2, 0)
    width, height = flow.at(BAR, offsets[-1] - offsets[0] + max(size[1], 40))
    name = Label(x, y, node.join.name, TEXT, bold=True, upright=not flow.down)
    join = Group((Box(x, y, width, height, "join"), name), "box", node.join.path)
    return Tile((*marks, join), bar + BAR, 0, bar + BAR, node.shape, arrow=False)


def _offsets(
    flow: Layout, node: Parallel, rows: list[Tile], texts: list[str], breadth: float
) -> list[float]:
    """Where the axes of the branches are, equally far from each other."""
    labels = [flow.label(text, 0, 0) for text in texts]
    if flow.down and all(isinstance(op, Op) for chain in node.branches for op in chain):
        # Boxes and edges stand in a grid: a shape may reach below the next box.
        pitch = max(
            breadth + BETWEEN,
            bounds(label for words in labels for label in words).right + 6,
        )
    else:
        sides = [
            flow.across(bounds((*row.marks, *words)))
            for row, words in zip(rows, labels, strict=True)
        ]
        pairs = pairwise(sides)
        pitch = max(one[1] - other[0] for one, other in pairs) + BETWEEN
    middle = (len(rows) - 1) / 2
    return [(index - middle) * pitch for index in range(len(rows))]
