"""Marks as the text of an SVG file, with the palette that all drawings share.

Each element has its colors twice: as attributes, for editors that know no more, and in
the style sheet as CSS variables, which a page may set.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from course_lib.arguments import check_one_of
from course_lib.diagram.marks import (
    Box,
    Circle,
    Element,
    Group,
    Label,
    Line,
    bounds,
    moved,
    text_width,
)

#: Style -> fill and outline. The kinds of layers have tints of the colors of Okabe and
#: Ito. Variables are called after the style, ``--bb-conv`` and ``--bb-conv-line``.
PALETTE = {
    "conv": ("#B5DEF5", "#0072B2"),
    "pool": ("#EBAD7F", "#B34F00"),
    "norm": ("#55C0A2", "#00704F"),
    "full": ("#DFAAC8", "#9C4A7E"),
    "act": ("#F5EC7B", "#9A8C00"),
    "join": ("#DADADA", "#4D4D4D"),
    "other": ("#FFFFFF", "#767676"),
    "panel": ("#F4F4F4", "#D9D9D9"),
    "repeat": ("none", "#767676"),
    "line": ("none", "#4D4D4D"),
    "head": ("#4D4D4D", "none"),
    "ink": ("#1A1A1A", "none"),
    "label": ("#555555", "none"),
    "paper": ("#FFFFFF", "none"),
}

#: What the kinds are called in the legend.
LEGEND = {
    "conv": "convolution",
    "pool": "pooling",
    "norm": "normalization",
    "full": "fully connected",
    "act": "activation",
    "join": "join",
    "other": "other",
}

LEGEND_WIDTH, LEGEND_TEXT = 260, 10.5
MARGIN = 8
SMALLEST = 0.75  # how much a page may shrink a drawing before it scrolls


def svg(marks: tuple[Element, ...], title: str, text: str, legend: bool = True) -> str:
    """The drawing as a file, with a title and a text that say what it shows.

    Raises: ValueError for a mark of a style that is not in `PALETTE`.
    """
    left, _, right, bottom = bounds(marks)
    if legend:
        entries = _legend(marks, max(right - left, LEGEND_WIDTH))
        marks = (*marks, Group(moved(entries, left, bottom + 28), "legend", "legend"))
    area = bounds(marks).grown(MARGIN)
    marks = moved(marks, -area.left, -area.top)
    width, height = area.right - area.left, area.bottom - area.top
    content = "\n".join([title, text, *_elements(marks, _Ids(""))])
    ids = _Ids(f"bb-{hashlib.sha256(content.encode()).hexdigest()[:8]}-")
    w, h = _number(width), _number(height)
    narrowest = _number(SMALLEST * width)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}"'
        f' viewBox="0 0 {w} {h}" role="img"'
        f' aria-labelledby="{ids.prefix}title {ids.prefix}desc"'
        ' font-family="Helvetica, Arial, sans-serif"'
        f' style="min-width:{narrowest}px;max-width:100%;height:auto">',
        f'<title id="{ids.new("title")}">{escape(title)}</title>',
        f'<desc id="{ids.new("desc")}">{escape(text)}</desc>',
        f"<style>{_style_sheet()}</style>",
        f'<rect width="{w}" height="{h}" {_paint("paper")}/>',
        *_elements(marks, ids),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


class _Ids:
    """Ids that are unique in a drawing, and by their prefix on a page."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.count: dict[str, int] = {}

    def new(self, name: str) -> str:
        """An id that says `name`."""
        name = re.sub(r"[^\w.]", "-", name)
        self.count[name] = self.count.get(name, 0) + 1
        again = f"-{self.count[name]}" if self.count[name] > 1 else ""
        return f"{self.prefix}{name}{again}"


def _style_sheet() -> str:
    rules = []
    for style, colors in PALETTE.items():
        names = f"--bb-{style}", f"--bb-{style}-line"
        fill, stroke = (
            color if color == "none" else f"var({name},{color})"
            for name, color in zip(names, colors, strict=True)
        )
        rules.append(f".bb-{style}{{fill:{fill};stroke:{stroke}}}")
    return "".join(rules)


def _paint(style: str) -> str:
    check_one_of(tuple(PALETTE), style=style)
    fill, stroke = PALETTE[style]
    dashed = ' stroke-dasharray="4 3"' if style == "repeat" else ""
    return f'class="bb-{style}" fill="{fill}" stroke="{stroke}"{dashed}'


def _number(value: float) -> str:
    """With one decimal place, and none where it is zero."""
    return f"{round(value, 1) + 0.0:g}"


def _elements(marks: Iterable[Element], ids: _Ids) -> Iterator[str]:
    for mark in marks:
        match mark:
            case Box():
                left, top, *_ = mark.bounds()
                yield (
                    f'<rect x="{_number(left)}" y="{_number(top)}"'
                    f' width="{_number(mark.width)}" height="{_number(mark.height)}"'
                    f' rx="{_number(mark.radius)}" {_paint(mark.style)}/>'
                )
            case Circle(x, y, radius, style):
                yield (
                    f'<circle cx="{_number(x)}" cy="{_number(y)}"'
                    f' r="{_number(radius)}" {_paint(style)}/>'
                )
            case Label():
                yield _label(mark)
            case Line():
                yield from _line(mark)
            case _:
                name = f' id="{ids.new(mark.name)}"' if mark.name else ""
                yield f'<g class="bb-{mark.style}"{name}>'
                yield from _elements(mark.marks, ids)
                yield "</g>"


def _label(label: Label) -> str:
    x, y = _number(label.x), _number(label.y)
    bold = ' font-weight="600"' if label.bold else ""
    turned = f' transform="rotate(-90 {x} {y})"' if label.upright else ""
    return (
        f'<text x="{x}" y="{y}" dy="0.36em" font-size="{_number(label.size)}"'
        f' text-anchor="{label.anchor}"{bold}{turned} {_paint(label.style)}>'
        f"{escape(label.text)}</text>"
    )


def _line(line: Line) -> Iterator[str]:
    """The line as a path, and its head as a triangle."""
    points = [point for point, _ in groupby(line.points)]  # none twice in a row
    (x, y), end = points[-2:]
    length = math.dist((x, y), end)
    dx, dy = (end[0] - x) / length, (end[1] - y) / length
    if line.head:
        points[-1] = end[0] - 5 * dx, end[1] - 5 * dy
    path = [f"M{_point(points[0])}"]
    corners = zip(points, points[1:], points[2:], strict=False)
    for index, (before, corner, behind) in enumerate(corners):
        # Two corners share the line between them.
        first, last = index == 0, index == len(points) - 3
        room = math.dist(before, corner) / (1 if first else 2)
        radius = min(line.radius, room, math.dist(corner, behind) / (1 if last else 2))
        start, stop = (_towards(corner, to, radius) for to in (before, behind))
        path.append(f"L{_point(start)}Q{_point(corner)} {_point(stop)}")
    path.append(f"L{_point(points[-1])}")
    yield f'<path d="{"".join(path)}" {_paint(line.style)}/>'
    if line.head:
        back = end[0] - 7 * dx, end[1] - 7 * dy
        left = back[0] - 3.5 * dy, back[1] + 3.5 * dx
        right = back[0] + 3.5 * dy, back[1] - 3.5 * dx
        sides = f"L{_point(left)}L{_point(right)}"
        yield f'<path d="M{_point(end)}{sides}Z" {_paint("head")}/>'


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _towards(
    start: tuple[float, float], end: tuple[float, float], by: float
) -> tuple[float, float]:
    """The point `by` from `start` towards `end`."""
    part = by / math.dist(start, end)
    return (
        start[0] + part * (end[0] - start[0]),
        start[1] + part * (end[1] - start[1]),
    )


def _flat(marks: Iterable[Element]) -> Iterator[Element]:
    """The marks in groups as well."""
    for mark in marks:
        if isinstance(mark, Group):
            yield from _flat(mark.marks)
        else:
            yield mark


def _legend(marks: tuple[Element, ...], width: float) -> tuple[Element, ...]:
    """The kinds that occur and how strides are written, in lines of at most `width`."""
    drawn = [*_flat(marks)]
    styles = {mark.style for mark in drawn}
    entries = [(kind, name) for kind, name in LEGEND.items() if kind in styles]
    if any(isinstance(mark, Label) and "/" in mark.text for mark in drawn):
        entries.append(("", "/2: stride 2"))
    legend: list[Element] = []
    x = y = 0.0
    for kind, name in entries:
        square = 17 if kind else 0
        needed = square + text_width(name, LEGEND_TEXT) + 8
        if x + needed > width:
            x, y = 0, y + 18
        if kind:
            legend.append(Box(x + 6, y, 12, 12, kind, 3))
        legend.append(Label(x + square, y, name, LEGEND_TEXT, "label", "start"))
        x += needed
    return tuple(legend)
