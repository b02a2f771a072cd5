"""Where everything goes: a tile for each node of a plan, and a drawing of them all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from course_lib.diagram.boxes import TEXT, box, box_size, card
from course_lib.diagram.forks import fork
from course_lib.diagram.marks import (
    Bounds,
    Element,
    Group,
    Label,
    Line,
    bounds,
    moved,
    text_width,
)
from course_lib.diagram.ops import TIMES, Op, Shape
from course_lib.diagram.structure import (
    Chain,
    Node,
    Parallel,
    Repeat,
    SideBranch,
    Stage,
    layers,
)
from course_lib.diagram.tiles import Layout, Size, Tile, end_of

Sides = tuple[float, float]  # where something begins and ends across it

LANE_GAP = 16  # between the boxes of two groups
PAD = 8  # inside a frame
HEADER = 18  # what its name takes
HANG = 34  # the width of the turn where something leaves a chain


def lay_out(
    chain: Chain,
    shape: Shape,
    *,
    down: bool = True,
    cards: bool = False,
    narrow: bool = False,
) -> tuple[Element, ...]:
    """The drawing of `chain`, into which `shape` goes: `down` or to the right in rows,
    with `cards` for stages or all that is in them, and perhaps `narrow` boxes.
    """
    flow = Flow(down, cards=cards, narrow=narrow)
    tiles = flow.tiles(chain, shape, groups=_groups(chain))
    return flow.rows([end_of(shape), *tiles, end_of(())]).marks


@dataclass(frozen=True)
class Flow(Layout):
    """A direction, and a level: `cards`, or all that is in them."""

    cards: bool = False

    def _lines(self, op: Op) -> list[str]:
        """What is written in a box."""
        if not self.down:
            return op.lines()
        return op.pair() if self.narrow else [op.line()]

    def inside(
        self, chain: Chain, shape: Shape, size: Size = (0, 0), groups: int = 1
    ) -> Tile:
        """A chain within another, where `shape` was written already; in rows if it is
        too long for one.
        """
        flow = replace(self, limit=self.limit - 2 * PAD)
        return flow.rows(flow.tiles(chain, shape, size, groups), shape)

    def tiles(
        self, chain: Chain, shape: Shape, size: Size = (0, 0), groups: int = 1
    ) -> list[Tile]:
        """One tile for each node. Boxes are at least as long as `size`, and equally
        broad; those whose input is of several groups are as broad as these.
        """
        size = size if size[1] else (0, self.size(chain, groups)[1])
        shapes = [shape, *(node.shape for node in chain)]
        steps = [*zip(chain, shapes, strict=False)]
        sides: Sides = (0, 0)
        if self.down:  # all stages are equally wide
            stages = [step for step in steps if isinstance(step[0], Stage)]
            frames = [self._tile(*step, size, groups, sides) for step in stages]
            sides = self.across(bounds(mark for tile in frames for mark in tile.marks))
        tiles: list[Tile] = []
        for node, given in steps:
            if isinstance(node, SideBranch):
                tiles[-1] = self._hung(tiles[-1], node)
            else:
                tiles.append(self._tile(node, given, size, groups, sides))
        return tiles

    def size(self, chain: Chain, groups: int = 1) -> Size:
        """The length and breadth that suffice for all layers of a chain."""
        ops = [op for op in layers(chain) if not op.small]
        ops = [op.lane() for op in ops] if groups > 1 else ops
        sizes = [self.at(*box_size(op, self._lines(op))) for op in ops] or [(0, 0)]
        return max(length for length, _ in sizes), max(broad for _, broad in sizes)

    def _tile(
        self, node: Node, shape: Shape, size: Size, groups: int, sides: Sides
    ) -> Tile:
        match node:
            case Op():
                return self._box(node, size, groups)
            case Parallel():
                return fork(self, node, shape)
            case Repeat():
                inner = self.inside(node.body, shape)
                words = f"{TIMES} {node.count}"
                framed = self._framed(inner, "repeat", words, (0, 0))
                return replace(framed, shape=node.shape)
        stage = cast("Stage", node)
        if self.cards:
            return self._centered((card(stage, sides[1] - sides[0]),), stage.shape)
        inner = self.inside(stage.body, shape, size, groups)
        return self._framed(inner, "stage", stage.name, sides)

    def _centered(self, marks: tuple[Element, ...], shape: Shape) -> Tile:
        """A tile of marks around the origin."""
        start, end = self.along(bounds(marks))
        length = end - start
        return Tile(moved(marks, *self.at(-start, 0)), length, 0, length, shape)

    def _box(self, op: Op, size: Size, groups: int) -> Tile:
        lanes = op.lanes if groups > 1 else 1
        one = op.lane() if lanes > 1 else op
        lines = self._lines(one)
        width, height = box_size(one, lines)
        pitch = size[1] + LANE_GAP
        if not op.small:
            length = max(size[0], self.at(width, height)[0])
            broad = size[1] if lanes > 1 else groups * pitch - LANE_GAP
            width, height = self.at(length, broad)
        drawn = box(one, lines, width, height)
        if lanes == 1:
            return replace(self._centered((drawn,), op.shape), small=op.small)
        offsets = tuple((lane - (lanes - 1) / 2) * pitch for lane in range(lanes))
        boxes = tuple(drawn.moved(*self.at(0, offset)) for offset in offsets)
        return replace(self._centered(boxes, op.shape), lanes=(offsets, offsets))

    def _framed(self, inner: Tile, style: str, name: str, sides: Sides) -> Tile:
        """A panel with a name, at least as wide as `sides` in a flow down; or a dashed
        frame that says how often.
        """
        ends = Line((self.at(0, 0), self.at(inner.length, 0)))
        left, top, right, bottom = bounds((*inner.marks, ends)).grown(PAD)
        if style == "stage":
            top -= HEADER
            needed = text_width(name, TEXT, bold=True) + 2 * PAD
            if self.down:  # and the axis does not run through the name
                left, right = min(left, sides[0], -needed), max(right, sides[1])
            right = max(right, left + needed)
            words = Label(left + PAD, top + 14, name, TEXT, anchor="start", bold=True)
        else:
            words = Label(right - 2, top - 8, name, TEXT, anchor="end", bold=True)
        shape = Bounds(left, top, right, bottom)
        frame = shape.box("panel" if style == "stage" else style, 6)
        group = Group((frame, words, *inner.marks), style, name)
        start, end = self.along(group.bounds())
        return replace(
            inner,
            marks=moved((group,), *self.at(-start, 0)),
            length=end - start,
            enter=inner.enter - start,
            leave=inner.leave - start,
        )

    def _hung(self, tile: Tile, node: SideBranch) -> Tile:
        """A chain that leaves the end of `tile` across the flow and goes on beside."""
        flow = replace(self, limit=self.limit - 2 * HANG)
        side = flow.row([*flow.tiles(node.body, node.shape), end_of(())])
        edge = self.across(bounds(tile.marks))[1]
        axis = edge + 20 - self.across(bounds(side.marks))[0]
        turn, start = tile.length - HANG / 2, tile.length
        end = self.at(start + side.enter, axis)
        route = self.at(turn, edge), self.at(turn, axis), end
        marks = *tile.marks, *moved(side.marks, *self.at(start, axis)), Line(route)
        return replace(tile, marks=marks, hang=(edge + 8, start + side.length))


def _groups(chain: Chain) -> int:
    """In how many groups `chain` is drawn: one, unless it is layer after layer, and all
    that is in groups is in equally many.
    """
    inner = [node for stage in chain if isinstance(stage, Stage) for node in stage.body]
    if any(isinstance(node, Parallel | Repeat) for node in (*chain, *inner)):
        return 1
    lanes = {op.lanes for op in layers(chain)} - {1}
    return lanes.pop() if len(lanes) == 1 else 1
