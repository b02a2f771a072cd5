"""What a drawing consists of: boxes, labels, lines, circles and groups of them, with
their sizes. All are values, and moving them gives new ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from course_lib.arguments import check_one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The widths of characters in thousandths of the size: those of DejaVu Sans, the widest
#: of the fonts that a reader may see, rounded up. What is not here is as wide as high.
WIDTHS = {
    **dict.fromkeys("'ijlIJ", 295),
    **dict.fromkeys(" ,.·/:;|f-", 361),
    **dict.fromkeys("()[]t!r", 411),
    **dict.fromkeys("*_sz?c", 550),
    **dict.fromkeys("LFkvxyPTYoa", 615),
    **dict.fromkeys("eEhnuSbdgpq0123456789", 636),
    **dict.fromkeys("KAVXZBRC", 698),
    **dict.fromkeys("UNHDG&OQ", 787),
    **dict.fromkeys("w+<=>\N{MULTIPLICATION SIGN}", 838),
}
BOLD = 1.15  # how much wider bold words are

#: What of a line of text can be at its x.
ANCHORS = ("start", "middle", "end")


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide `text` is, at most."""
    width = sum(WIDTHS.get(character, 1000) for character in text)
    return width * size / 1000 * (BOLD if bold else 1)


class Bounds(NamedTuple):
    """A rectangle by its sides, in pixels from the upper left corner of the drawing."""

    #: The smallest x.
    left: float
    #: The smallest y, which grows downwards.
    top: float
    #: The largest x.
    right: float
    #: The largest y.
    bottom: float

    def grown(self, by: float) -> Bounds:
        """With a margin."""
        return Bounds(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def box(self, style: str, radius: float) -> Box:
        """The box that fills it."""
        left, top, right, bottom = self
        middle = (left + right) / 2, (top + bottom) / 2
        return Box(*middle, right - left, bottom - top, style, radius)


@dataclass(frozen=True)
class Box:
    """A rectangle around its center."""

    #: The center, in pixels from the left.
    x: float
    #: The center, in pixels from the top.
    y: float
    #: In pixels.
    width: float
    #: In pixels.
    height: float
    #: Its colors, a key of `course_lib.diagram.svg.PALETTE`.
    style: str
    #: Of its corners, in pixels.
    radius: float = 4

    def moved(self, dx: float, dy: float) -> Box:
        """The same elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def bounds(self) -> Bounds:
        """The rectangle itself."""
        dx, dy = self.width / 2, self.height / 2
        return Bounds(self.x - dx, self.y - dy, self.x + dx, self.y + dy)


@dataclass(frozen=True)
class Label:
    """One line of text.

    Raises: ValueError for another `anchor`.
    """

    #: Where its `anchor` is, in pixels from the left.
    x: float
    #: The middle of its height, in pixels from the top.
    y: float
    #: What it says.
    text: str
    #: Of the letters, in pixels.
    size: float
    #: Its color, a key of `course_lib.diagram.svg.PALETTE`.
    style: str = "ink"
    #: What of it is at `x`, one of `ANCHORS`.
    anchor: str = "middle"
    #: Whether it is printed bold.
    bold: bool = False
    #: Whether it is turned, to be read from below.
    upright: bool = False

    def __post_init__(self) -> None:
        check_one_of(ANCHORS, anchor=self.anchor)

    def moved(self, dx: float, dy: float) -> Label:
        """The same elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def bounds(self) -> Bounds:
        """What it takes at most, in any of the usual fonts."""
        width = text_width(self.text, self.size, bold=self.bold)
        left = {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        dx, dy = (left, width - left), (self.size * 0.55,) * 2
        if self.upright:
            dx, dy = dy, dx
        return Bounds(self.x - dx[0], self.y - dy[0], self.x + dx[1], self.y + dy[1])


@dataclass(frozen=True)
class Line:
    """A line through points, with round corners, and a head at its end."""

    #: x and y of each, in pixels.
    points: tuple[tuple[float, float], ...]
    #: Whether it ends as an arrow.
    head: bool = True
    #: Of its corners, in pixels, where there is room.
    radius: float = 8
    #: Its color, a key of `course_lib.diagram.svg.PALETTE`.
    style: str = "line"

    def moved(self, dx: float, dy: float) -> Line:
        """The same elsewhere."""
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))

    def bounds(self) -> Bounds:
        """The rectangle around its points."""
        xs, ys = zip(*self.points, strict=True)
        return Bounds(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True)
class Circle:
    """A circle around its center."""

    #: The center, in pixels from the left.
    x: float
    #: The center, in pixels from the top.
    y: float
    #: In pixels.
    radius: float
    #: Its colors, a key of `course_lib.diagram.svg.PALETTE`.
    style: str

    def moved(self, dx: float, dy: float) -> Circle:
        """The same elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def bounds(self) -> Bounds:
        """The square around it."""
        return Bounds(self.x, self.y, self.x, self.y).grown(self.radius)


@dataclass(frozen=True)
class Group:
    """Marks that belong together: `style` says as what, `name` under which name."""

    marks: tuple[Element, ...]
    style: str
    name: str = ""

    def moved(self, dx: float, dy: float) -> Group:
        """The same elsewhere."""
        return replace(self, marks=moved(self.marks, dx, dy))

    def bounds(self) -> Bounds:
        """Around all of it."""
        return bounds(self.marks)


Element = Box | Label | Line | Circle | Group


def moved(marks: Iterable[Element], dx: float, dy: float) -> tuple[Element, ...]:
    """All of `marks` elsewhere."""
    return tuple(mark.moved(dx, dy) for mark in marks)


def bounds(marks: Iterable[Element]) -> Bounds:
    """The smallest rectangle around all of `marks`; a point at zero for none."""
    sides = [*zip(*(mark.bounds() for mark in marks), strict=True)] or [(0.0,)] * 4
    left, top, right, bottom = sides
    return Bounds(min(left), min(top), max(right), max(bottom))
