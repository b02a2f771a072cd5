"""The plan of a module: its chains, parallel branches, shortcuts and repeated blocks.

`read` takes it from a record of the module as it runs. A module in which data takes
other paths stays one box with the name of its class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from course_lib.blocks import Network
from course_lib.diagram.ops import Op, Shape, describe, is_layer
from course_lib.diagram.trace import TracedCall, traced
from course_lib.tracing import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Parallel:
    """Branches from one tensor that meet in `join`; an empty one is an identity
    shortcut.
    """

    branches: tuple[Chain, ...]
    join: Op

    @property
    def shape(self) -> Shape:
        """The shape of its output."""
        return self.join.shape


@dataclass(frozen=True)
class Repeat:
    """`count` equal blocks, one after the other; or blocks that are equal but for the
    `growth`, the channels that each adds to its input.
    """

    count: int
    body: Chain
    growth: int = 0

    @property
    def shape(self) -> Shape:
        """The shape of its output."""
        channels, *pixels = self.body[-1].shape
        return channels + (self.count - 1) * self.growth, *pixels


@dataclass(frozen=True)
class Stage:
    """A child of the network, by its name."""

    name: str
    body: Chain

    @property
    def shape(self) -> Shape:
        """The shape of its output."""
        return self.body[-1].shape


@dataclass(frozen=True)
class SideBranch:
    """What branches off after the node before and does not come back, like an auxiliary
    classifier; `shape` is that of the main path.
    """

    body: Chain
    shape: Shape


Node = Op | Parallel | Repeat | Stage | SideBranch

#: Functions that add.
SUMS = ("add", "iadd")
Chain = tuple[Node, ...]
#: A chain, after the shape that it reads.
Step = tuple[Shape, Chain]


def read(net: nn.Module, inputs: Inputs) -> Chain:
    """The plan of `net` for `inputs`, with all shapes measured.

    Raises: ValueError if `net` cannot take such an input.
    """
    plans = [_follow(record, top=True) for record in traced(net, inputs)]
    return max(plans, key=_boxes)  # the first of several that are equal


def _boxes(chain: Chain) -> int:
    """How many boxes there are in a chain."""
    return sum(
        1
        if isinstance(node, Op)
        else 1 + sum(map(_boxes, node.branches))
        if isinstance(node, Parallel)
        else _boxes(node.body)
        for node in chain
    )


def layers(chain: Chain) -> list[Op]:
    """The layers that `chain` and the stages in it have on their axis."""
    found: list[Op] = []
    for node in chain:
        if isinstance(node, Op):
            found.append(node)
        elif isinstance(node, Stage):
            found += layers(node.body)
    return found


class _TangledError(Exception):
    """Data takes paths that are neither a chain nor branches which all meet again."""


def _follow(call: TracedCall, *, top: bool = False) -> Chain:
    """What the module called consists of, or one box if that cannot be told. Only at
    the `top`, what comes out besides the first value is known to leave.
    """
    assert isinstance(call.target, nn.Module)
    values = len(call.sources), len({*call.outputs})
    box = (describe(call.target, call.shape, call.path),)
    if is_layer(call.target) or not call.followed or not call.outputs:
        return box
    if not top and values != (1, 1):
        return box
    if call.plan is None:
        call.plan = _planned(call, top) or box
    return call.plan


def _planned(call: TracedCall, top: bool) -> Chain | None:
    """The plan of `call`, with sums as they are or else with sums of sums as one."""
    _shorten(call)
    for simplify in (None, _simplify):
        if simplify:
            simplify(call)
        try:
            return _Plan(call, top).chain
        except _TangledError:
            continue
    return None


class _Plan:
    """The calls that `call` made, as a chain: what its first output comes from, and
    after the nodes where they branch off, what the others come from.
    """

    def __init__(self, call: TracedCall, top: bool) -> None:
        self.call, self.top = call, top
        self.side_branches: dict[TracedCall, list[Chain]] = {}
        taken = main = self._made_of(call.outputs[0])
        for goal in call.outputs[1:]:
            calls = self._made_of(goal) - taken
            starts = {source for step in calls for source in step.sources} - calls
            taken = taken | calls
            for start in starts:  # one, or placing them all will fail
                self.side_branches.setdefault(start, []).append(
                    self._all(calls, start, goal)
                )
        self.chain = self._all(main, call, call.outputs[0])
        if self.side_branches:  # not all of them could be attached
            raise _TangledError

    def _made_of(self, goal: TracedCall) -> set[TracedCall]:
        """`goal` and the calls that it comes from."""
        calls: set[TracedCall] = set()
        waiting = [goal]
        while waiting:
            step = waiting.pop()
            if step is not self.call and step not in calls:
                calls.add(step)
                waiting += step.sources
        return calls

    def _all(
        self, calls: set[TracedCall], start: TracedCall, goal: TracedCall
    ) -> Chain:
        """The chain of exactly `calls`, from `start` to `goal`."""
        order = [step for step in self.call.calls if step in calls]
        self.readers: dict[TracedCall, list[TracedCall]] = {}
        for step in order:
            for source in dict.fromkeys(step.sources):
                self.readers.setdefault(source, []).append(step)
        # Each call with those that everything from there comes to, the next one first.
        self.ahead: dict[TracedCall, list[TracedCall]] = {}
        for step in reversed(order):
            self.ahead[step] = [step, *self._meeting(self.readers.get(step, []))]
        self.placed = 0
        chain, last = self._chain(start, None)
        if not chain or last is not goal or self.placed != len(calls):
            raise _TangledError
        return chain

    def _meeting(self, starts: list[TracedCall]) -> list[TracedCall]:
        """The calls that all paths from `starts` come to."""
        first, *others = [self.ahead[start] for start in starts] or [[]]
        return [step for step in first if all(step in other for other in others)]

    def _chain(
        self, at: TracedCall, end: TracedCall | None
    ) -> tuple[Chain, TracedCall]:
        """What follows `at`, up to the join `end`, and the last call of it."""
        steps: list[Step] = []
        while (readers := self.readers.get(at, [])) and readers != [end]:
            if len(readers) == 1:
                step, named = readers[0], self.top and end is None
                nodes = self._one(step, named=named)
            else:
                step = next(iter(self._meeting(readers)), self.call)
                nodes = (self._fork(at, readers, step),)
            given = at.given if at is self.call else at.shape
            steps.append((given, nodes))
            steps += [
                (step.shape, (SideBranch(chain, step.shape),))
                for chain in self.side_branches.pop(step, [])
            ]
            at = step
        return _merged(_folded(steps)), at

    def _fork(
        self, at: TracedCall, starts: list[TracedCall], join: TracedCall
    ) -> Parallel:
        """Several branches from `at` to `join`, by their first calls."""
        branches: dict[TracedCall, Chain] = {}
        for start in starts:
            if start is join:
                branches[at] = ()
            else:
                first = self._one(start)
                rest, last = self._chain(start, join)
                branches[last] = _merged((*first, *rest))
        if len(branches) != len(join.sources) or {*branches} != {*join.sources}:
            raise _TangledError
        self.placed += 1
        box = describe(join.target, join.shape, join.path)
        branches_in_order = tuple(branches[source] for source in join.sources)
        return Parallel(branches_in_order, replace(box, kind="join"))

    def _one(self, step: TracedCall, *, named: bool = False) -> Chain:
        """A call that reads one value; if it is `named`, perhaps a stage."""
        if len({*step.sources}) > 1:
            raise _TangledError
        self.placed += 1
        if isinstance(step.target, str):
            box = describe(step.target, step.shape)
            if box.kind == "join":  # of a value and a number, or a parameter
                box = replace(box, kind="other", name=step.target)
            return (box,)
        chain = _follow(step)
        network = isinstance(self.call.target, Network)
        stage = network or not (is_layer(step.target) or step.path.isdigit())
        return (Stage(step.path, chain),) if named and stage else chain


def _shorten(call: TracedCall) -> None:
    """Leave out what concatenates a single tensor."""
    alone = {
        step: step.sources[0]
        for step in call.calls
        if step.target == "cat" and len(step.sources) == 1
    }
    for step in call.calls:
        step.sources = [alone.get(source, source) for source in step.sources]
        if step in alone:
            alone[step] = step.sources[0]
    call.outputs = [alone.get(output, output) for output in call.outputs]
    call.calls = [step for step in call.calls if step not in alone]


def _simplify(call: TracedCall) -> None:
    """Read a sum of sums as one sum, and what is concatenated again, with more, as a
    concatenation of the first one.
    """
    readers = Counter(source for step in call.calls for source in {*step.sources})
    readers.update(call.outputs)
    given: dict[TracedCall, list[TracedCall]] = {}
    for step in call.calls:
        given[step] = step.sources
        if step.target in SUMS:
            step.sources = [
                source
                for term in step.sources
                for source in (
                    term.sources
                    if term.target in SUMS and readers[term] == 1 < len(term.sources)
                    else [term]
                )
            ]
        elif step.target == "cat":
            earlier = [
                other
                for other in call.calls[: call.calls.index(step)]
                if other.target == "cat"
                and other.shape[1:] == step.shape[1:]
                and 1 < len(given[other]) < len(given[step])
                and given[step][: len(given[other])] == given[other]
            ]
            if earlier:
                rest = given[step][len(given[earlier[-1]]) :]
                step.sources = [earlier[-1], *rest]


def _folded(steps: Iterable[Step]) -> Chain:
    """Chains in a row, with equal ones of several boxes folded into one."""
    groups: list[list[Step]] = []
    for step in steps:
        if groups and _goes_on(groups[-1][-1], step):
            groups[-1].append(step)
        else:
            groups.append([step])
    nodes: list[Node] = []
    for group in groups:
        _, chain = group[0]
        block = len(chain) > 1 or isinstance(chain[0], Parallel)
        if block and len(group) > 1:
            nodes.append(_repeat(len(group), *group[0]))
        else:
            nodes += [node for _, chain in group for node in chain]
    return tuple(nodes)


def _repeat(count: int, given: Shape, chain: Chain) -> Repeat:
    """`count` times `chain`; if it adds channels, its last box says how many."""
    last = chain[-1]
    growth = last.shape[0] - given[0] if given and last.shape else 0
    if not growth or not isinstance(last, Parallel):
        return Repeat(count, chain)
    join = replace(last.join, size=None, more=(f"+{growth}",))
    return Repeat(count, (*chain[:-1], replace(last, join=join)), growth)


def _goes_on(first: Step, then: Step) -> bool:
    """Whether `then` is `first` once more, for as many more channels as it adds."""
    if first == then:
        return True
    (given, chain), (after, other) = first, then
    sizes = [(given, after), (chain[-1].shape, other[-1].shape)]
    if any(not shape for pair in sizes for shape in pair):
        return False
    channels = [(a[0], b[0]) for a, b in sizes]
    added = {there - here for here, there in channels}
    grown = chain[-1].shape[0] - given[0]
    joined = isinstance(chain[-1], Parallel) and grown > 0 and added == {grown}
    return joined and _alike(chain, other, channels)


def _alike(one: Chain, other: Chain, channels: list[tuple[int, int]]) -> bool:
    """Whether two chains are equal, but for `channels` where one has the first number
    and the other the second.
    """
    return len(one) == len(other) and all(
        _alike_node(a, b, channels) for a, b in zip(one, other, strict=True)
    )


def _alike_node(a: Node, b: Node, channels: list[tuple[int, int]]) -> bool:
    if isinstance(a, Op) and isinstance(b, Op):
        same = a.shape == b.shape or (
            a.shape[1:] == b.shape[1:] and (a.shape[0], b.shape[0]) in channels
        )
        return same and replace(a, shape=()) == replace(b, shape=())
    if isinstance(a, Parallel) and isinstance(b, Parallel):
        pairs = zip(a.branches, b.branches, strict=False)
        return (
            len(a.branches) == len(b.branches)
            and _alike_node(a.join, b.join, channels)
            and all(_alike(one, other, channels) for one, other in pairs)
        )
    return a == b


def _merged(chain: Chain) -> Chain:
    """Activations, normalizations and dropout go into the box before them."""
    nodes: list[Node] = []
    for node in chain:
        last = nodes[-1] if nodes else None
        if isinstance(node, Op) and isinstance(last, Op):
            if node.small and last.large and node.shape == last.shape:
                nodes[-1] = replace(last, tags=(*last.tags, (node.kind, node.name)))
                continue
            if node.kind == "pool":  # per channel, so that groups stay apart
                node = replace(node, lanes=last.lanes)
        nodes.append(node)
    return tuple(nodes)
