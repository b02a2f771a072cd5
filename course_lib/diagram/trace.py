"""What a module does with one input: every call in it, and where its inputs come from,
as the tracer has recorded it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from torch import nn

from course_lib.diagram.ops import is_layer
from course_lib.tracing import (
    FunctionCall,
    Inputs,
    ModuleCall,
    Trace,
    TracingError,
    Value,
    refusal,
    trace,
)
from course_lib.tracing.shapes import Shape, without_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Functions that return the parts of a tensor.
PARTS = ("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk")


@dataclass(eq=False)
class TracedCall:
    """One call, of a module or of a function."""

    #: What was called: a module, or a function by its name.
    target: nn.Module | str
    #: The module's name in the network.
    path: str = ""
    #: The calls by the same caller that made its inputs, or the caller itself for what
    #: that was given.
    sources: list[TracedCall] = field(default_factory=list)
    #: What a module was given first, without the batch.
    given: Shape = ()
    #: What it returned, without the batch.
    shape: Shape = ()
    #: What a module called.
    calls: list[TracedCall] = field(default_factory=list)
    #: Those among `calls` that made what it returned.
    outputs: list[TracedCall] = field(default_factory=list)
    #: False if data took a path past this record.
    followed: bool = True
    #: Its plan, once it was found: `course_lib.diagram.structure.Chain`.
    plan: Any = None
    #: Who made a tensor, by its number, and its version then: a tensor that was changed
    #: in place since is another one.
    made: dict[int, tuple[TracedCall, int]] = field(default_factory=dict)


def traced(net: nn.Module, inputs: Inputs) -> list[TracedCall]:
    """Run `net` on `inputs`, in the mode that it is in, and read what it called. Where
    there are modules of several inputs, a second record has what is in them in their
    place.

    Raises: ValueError if `net` cannot take such an input.
    """
    try:
        few, many = _traces(net, inputs)
    except TracingError as error:
        raise refusal(net, inputs, error) from error
    whole, open_ = (_Reader(few, many, through=through) for through in (False, True))
    records = [whole.read()]
    return [*records, open_.read()] if whole.joining else records


def _traces(net: nn.Module, inputs: Inputs) -> tuple[Trace, Trace | None]:
    """The traces of two images, as batch normalization in training needs more than one
    value, and of four, to find the batch in all shapes; or of one.
    """

    def run(batch: int) -> Trace:
        return trace(net, inputs, batch, functions=True, values=inputs.has_values)

    few = many = None
    try:
        few = run(2)
        many = run(4)
    except TracingError as error:
        if few is None:
            if error.needs_values:
                raise
            few = _alone(run, error)
    return few, many


def _alone(run: Callable[[int], Trace], reason: TracingError) -> Trace:
    """The trace of one image, unless that fails, too: for the `reason` of two."""
    try:
        return run(1)
    except TracingError:
        pass
    raise reason


Call = ModuleCall | FunctionCall


class _Reader:
    """Reads where the inputs of all calls come from."""

    def __init__(self, few: Trace, many: Trace | None, *, through: bool) -> None:
        self._few, self._through = few, through
        #: Whether there are modules of several inputs that call others.
        self.joining = False
        self._more: dict[Call, Call] = {}  # the same call with more images
        if many:
            self._pair(few.root, many.root)
        self._open: list[TracedCall] = []
        self._known: set[int] = set()
        self._constant: set[tuple[int, int]] = set()

    def read(self) -> TracedCall:
        """The call of the network."""
        call = self._module(self._few.root)
        assert call is not None
        return call

    def _pair(self, one: Call, other: Call) -> None:
        """Find the counterparts of all calls, as far as there are any."""
        self._more[one] = other
        if isinstance(one, ModuleCall) and isinstance(other, ModuleCall):
            for inner, outer in zip_longest(_calls(one), _calls(other)):
                if inner is None or outer is None or _name(inner) != _name(outer):
                    return
                self._pair(inner, outer)

    def _module(self, call: ModuleCall) -> TracedCall | None:
        """A module was called, which is worth a record unless it only returned its
        input.
        """
        new = TracedCall(call.module, call.path, self._sources(call.given))
        layer = is_layer(call.module)
        joins = not layer and len({*new.sources}) > 1
        self.joining = self.joining or joins
        if joins and self._through:
            self._inside(call)
            return None
        more = self._more.get(call)
        new.given = _shape(call.given, more.given if more else (), 0)
        self._open.append(new)
        self._remember(new, call.given)
        self._inside(call, layer=layer)
        given = {value.tensor for value in call.given}
        changed = any(value.tensor not in given for value in call.made)
        new.outputs = self._sources(call.made)
        self._open.pop()
        if not self._open:
            new.shape = self._shape(call, 0)
            return new
        if layer or new.calls or changed:
            self._add(new, call, call.made)
        return None

    def _inside(self, call: ModuleCall, *, layer: bool = False) -> None:
        """What a module called; of a `layer`, functions are its own business."""
        for event in _calls(call):
            if isinstance(event, ModuleCall):
                self._module(event)
            elif not layer:
                self._function(event)

    def _function(self, call: FunctionCall) -> None:
        """A function was called; each of the parts that it returns is another value."""
        sources = self._sources(call.given)
        if call.name not in PARTS:
            self._add(TracedCall(call.name, sources=sources), call, call.made)
            return
        shapes = {value.shape for value in call.made}
        for index, value in enumerate(call.made):
            halves = len(call.made) == 2 and len(shapes) == 1
            name = (
                ("first half", "second half")[index]
                if halves
                else f"part {index + 1} of {len(call.made)}"
            )
            self._add(TracedCall(name, sources=sources), call, [value], index)

    def _add(
        self, new: TracedCall, call: Call, made: list[Value], index: int = 0
    ) -> None:
        """`new` made values for the caller; constants, if it was given no other."""
        new.shape = self._shape(call, index)
        if not new.sources and new.followed:
            self._constant |= {(value.tensor, value.version) for value in made}
            return
        self._open[-1].calls.append(new)
        self._remember(new, made)

    def _shape(self, call: Call, index: int) -> Shape:
        """The shape of one of the values that a call returned, without the batch."""
        more = self._more.get(call)
        return _shape(call.made, more.made if more else (), index)

    def _remember(self, maker: TracedCall, values: Iterable[Value]) -> None:
        for value in values:
            self._known.add(value.tensor)
            self._open[-1].made[value.tensor] = maker, value.version

    def _sources(self, values: Iterable[Value]) -> list[TracedCall]:
        """Who made `values` for the caller. Parameters and constants have no maker."""
        sources = []
        for value in values if self._open else ():
            maker, version = self._open[-1].made.get(value.tensor, (None, None))
            if maker is not None and version == value.version:
                sources.append(maker)
            elif (value.tensor, value.version) in self._constant:
                continue
            elif value.tensor in self._known:
                self._past(value)
        return sources

    def _past(self, value: Value) -> None:
        """`value` came past the open calls, up to the one that knew it."""
        for call in reversed(self._open):
            call.followed = False
            if value.tensor in call.made:
                break


def _shape(few: Sequence[Value], many: Sequence[Value], index: int) -> Shape:
    """The shape of one of some values, without the batch, of which `many` have more."""
    if index >= len(few):
        return ()
    more = many[index].shape if index < len(many) else None
    return without_batch(None, few[index].shape, more)


def _calls(call: ModuleCall) -> list[Call]:
    """The modules and functions that a module called."""
    return [each for each in call.events if isinstance(each, Call)]


def _name(call: Call) -> str:
    return call.name if isinstance(call, FunctionCall) else call.path
