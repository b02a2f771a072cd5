"""Parts of a drawing and how they are put one behind the other, in rows if need be.

Positions are along the flow, which goes right or down, and across it, from the axis on
which data runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from course_lib.diagram.marks import (
    Bounds,
    Element,
    Label,
    Line,
    bounds,
    moved,
    text_width,
)
from course_lib.diagram.ops import TIMES, Shape

if TYPE_CHECKING:
    from course_lib.diagram.structure import Chain

Size = tuple[float, float]  # along and across the flow

LABEL = 10.5  # the size of letters on an edge
EDGE = 22  # the length of an edge without a label
CHANNEL = 24, 14  # between two rows: above the line from one to the other, and below
RETURN, NEXT = 14, 7  # from a row to that line, and to one beside it


@dataclass(frozen=True)
class Tile:
    """A part of a drawing; all lengths are in pixels, along or across the flow."""

    #: What is drawn.
    marks: tuple[Element, ...]
    #: Where it ends on the axis; it begins at 0.
    length: float
    #: Where data goes in, along.
    enter: float
    #: Where data comes out, along.
    leave: float
    #: The shape of its output.
    shape: Shape
    #: Whether what goes in has an arrow.
    arrow: bool = True
    #: How far from the axis data comes out, across.
    off: float = 0
    #: Where it is entered and where it is left, across; nothing means anywhere.
    lanes: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    #: Whether it is an activation, which stays with what is before it.
    small: bool = False
    #: Something hangs below: from where across, up to where along.
    hang: tuple[float, float] = (0, 0)


def end_of(shape: Shape) -> Tile:
    """Where a drawing begins, with `shape`, or ends."""
    return Tile((), 0, 0, 0, shape)


def shape_text(shape: Shape, lanes: int = 1) -> str:
    """(64, 56, 56) -> "64x56x56", or what one of `lanes` has of it."""
    return TIMES.join(map(str, (*(c // lanes for c in shape[:1]), *shape[1:])))


@dataclass(frozen=True)
class Direction:
    """A flow `down`, or to the right in rows of at most `limit`."""

    down: bool = True
    limit: float = 656  # with which all fits into 700

    def at(self, along: float, across: float) -> tuple[float, float]:
        """The point on the page; for lengths, the width and height."""
        return (across, along) if self.down else (along, across)

    def along(self, area: Bounds) -> tuple[float, float]:
        """Where `area` begins and ends along the flow."""
        return (area.top, area.bottom) if self.down else (area.left, area.right)

    def across(self, area: Bounds) -> tuple[float, float]:
        """Where it begins and ends across the flow."""
        return (area.left, area.right) if self.down else (area.top, area.bottom)

    def gap(self, text: str) -> float:
        """The length of an edge with a label."""
        if self.down:
            return EDGE + 6
        return max(EDGE, text_width(text, LABEL) + 6)

    def label(self, text: str, along: float, across: float) -> tuple[Label, ...]:
        """A label above the middle of an edge, or right of it."""
        x, y = self.at(along, across)
        if not text:
            return ()
        if self.down:
            return (Label(x + 6, y - 2, text, LABEL, "label", "start"),)
        return (Label(x - 2, y - 8, text, LABEL, "label"),)

    def row(self, tiles: list[Tile], shown: Shape = ()) -> Tile:
        """Tiles one behind the other, with edges. A shape is written where it differs
        from the one written before, which is `shown` at the beginning.
        """
        first, last = tiles[0], tiles[-1]
        marks, lines = [*first.marks], list[Element]()
        end, leave, hang, axis = first.length, first.leave, first.hang, first.off
        for before, tile in pairwise(tiles):
            lanes = before.lanes[1] or tile.lanes[0] or (0,)
            text = "" if before.shape == shown else shape_text(before.shape, len(lanes))
            shown = before.shape
            start = end + self.gap(text)
            if tile.hang[1] or self.across(bounds(tile.marks))[1] + axis > hang[0]:
                start = max(start, hang[1] + EDGE)
            if tile.hang[1]:
                hang = tile.hang[0], start + tile.hang[1]
            for lane in lanes:
                across = axis + lane
                points = self.at(leave, across), self.at(start + tile.enter, across)
                lines.append(Line(points, tile.arrow))
                marks += self.label(text, (end + start) / 2, across)
            marks += moved(tile.marks, *self.at(start, axis))
            leave, end, axis = start + tile.leave, start + tile.length, axis + tile.off
        return Tile(
            (*marks, *lines),
            max(end, hang[1]),
            first.enter,
            leave,
            last.shape,
            first.arrow,
            axis,
            (first.lanes[0], last.lanes[1]),
        )

    def rows(self, tiles: list[Tile], shown: Shape = ()) -> Tile:
        """Tiles in as few rows as the limit allows, of about the same length; down in
        one, which has none.
        """
        whole = self.row(tiles, shown)
        if self.down or whole.length <= self.limit:
            return whole
        clusters = [[tiles[0]]]
        for before, tile in pairwise(tiles):
            # The ends of a drawing, and an activation, stay with what is beside them.
            if not before.marks or not tile.marks or tile.small:
                clusters[-1].append(tile)
            else:
                clusters.append([tile])
        rows = self._filled(clusters, self.limit)
        while len(rows) > 1:
            longest = self._longest(rows)
            narrower = self._filled(clusters, longest - 1)
            if len(narrower) > len(rows) or self._longest(narrower) >= longest:
                break
            rows = narrower
        placed = [self.row(row, shown) for row in rows]
        return self._stacked(placed) if len(placed) > 1 else whole

    def _longest(self, rows: list[list[Tile]]) -> float:
        return max(self.row(row).length for row in rows)

    def _filled(self, clusters: list[list[Tile]], limit: float) -> list[list[Tile]]:
        """Rows that take one cluster after the other while there is room; a tile of
        several rows stands alone.
        """
        rows = [[*clusters[0]]]
        for cluster in clusters[1:]:
            longer = [*rows[-1], *cluster]
            alone = any(tile.off for tile in longer)
            if alone or self.row(longer).length > limit:
                rows.append([*cluster])
            else:
                rows[-1] = longer
        return rows

    def _stacked(self, rows: list[Tile]) -> Tile:
        """Rows under each other, with the lines from the end of one to the next."""
        marks, lines, y = [*rows[0].marks], list[Element](), 0.0
        for before, row in pairwise(rows):
            lanes = before.lanes[1] or row.lanes[0] or (0,)
            each = " each" if len(lanes) > 1 else ""
            text = shape_text(before.shape, len(lanes)) + each
            right, leave = before.length + RETURN, y + before.off
            turn = y + bounds(before.marks).bottom + CHANNEL[0]
            marks += self.label(text, before.length / 2, turn)
            room = CHANNEL[1] + NEXT * (len(lanes) - 1)
            y = turn + room - bounds(row.marks).top
            for inside, lane in enumerate(lanes):  # the upper lane turns outside
                outside = NEXT * (len(lanes) - 1 - inside)
                back = -RETURN - NEXT * inside
                route = (
                    (before.leave, leave + lane),
                    (right + outside, leave + lane),
                    (right + outside, turn + outside),
                    (back, turn + outside),
                    (back, y + lane),
                    (row.enter, y + lane),
                )
                lines.append(Line(route, row.arrow))
            marks += moved(row.marks, 0, y)
        left, _, right, _ = bounds((*marks, *lines))
        return Tile(
            moved((*marks, *lines), -left, 0),
            right - left,
            rows[0].enter - left,
            rows[-1].leave - left,
            rows[-1].shape,
            rows[0].arrow,
            y + rows[-1].off,
        )


@dataclass(frozen=True)
class Layout(Direction, ABC):
    """A direction in which chains are laid out, for those who lay out what is around
    them. Where it is `narrow`, boxes in a flow down have more than one line.
    """

    narrow: bool = False

    @abstractmethod
    def inside(
        self, chain: Chain, shape: Shape, size: Size = (0, 0), groups: int = 1
    ) -> Tile:
        """A chain within another, where `shape` was written already; in rows if it is
        too long for one.
        """

    @abstractmethod
    def size(self, chain: Chain, groups: int = 1) -> Size:
        """The length and breadth that suffice for all layers of a chain."""
