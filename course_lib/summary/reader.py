"""What the X-ray reads in the traces of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy

from course_lib.summary.field_tracker import FieldTracker
from course_lib.summary.receptive_field import Field, UnknownReceptiveField
from course_lib.summary.rules import name_of
from course_lib.tracing import ModuleCall, Operation, Trace, View
from course_lib.tracing.macs import multiplies
from course_lib.tracing.shapes import Shape, without_batch

#: Operations of fused attention, and the one that only its plain way uses.
ATTENTION = re.compile("_scaled_dot_product|_safe_softmax")


@dataclass
class ModuleStats:
    """What a layer or a stage has done, for one image: the fields of
    `course_lib.summary.row.SummaryRow`.
    """

    #: Its name in the network, "" for the network.
    name: str
    #: The name of its class, or of the operations that a module does itself.
    kind: str
    #: Shape of its output, without the batch.
    shape: Shape = ()
    #: Receptive field of its output, in pixels; None if unknown.
    field: Field | None = None
    #: How many times it has run.
    calls: int = 0
    #: Trainable parameters.
    parameters: int = 0
    #: Multiply-accumulates.
    macs: int = 0
    #: Memory of its output, in bytes; 0 if that is a view or its changed input.
    activations: int = 0
    #: What autograd saves of it for backward, in bytes.
    saved_bytes: int = 0
    #: Parameters that are not trained.
    frozen: int = 0
    #: Shape of its input, without the batch.
    input_shape: Shape = ()
    #: The kernel of a convolution or of pooling.
    kernel: Shape = ()


@dataclass(eq=False)
class Running:
    """A module that has been called and has not returned."""

    #: Its call.
    call: ModuleCall
    #: Where it counts as a layer.
    layer: ModuleStats
    #: Where it counts as a stage, or as a part of one.
    stage: ModuleStats
    #: Memory that its own operations have allocated: storage -> view.
    made: dict[int, View] = field(default_factory=dict)
    #: The names of these operations, in the order of their first call.
    operations: dict[str, None] = field(default_factory=dict)
    #: What the last of them made.
    last: View | None = None

    def add(self, what: Literal["macs", "activations"], amount: int) -> None:
        """Count for the layer and for the stage."""
        for stats in (self.layer, self.stage):
            setattr(stats, what, getattr(stats, what) + amount)

    @property
    def leaf(self) -> bool:
        """Whether it calls no other module."""
        return not any(isinstance(event, ModuleCall) for event in self.call.events)


class SavedBy(NamedTuple):
    """Memory that was saved for backward."""

    #: Who made it, as a layer and as a stage or a part of one.
    makers: tuple[ModuleStats, ModuleStats]
    #: What it is called.
    name: str
    #: Its size, in bytes.
    nbytes: int
    #: Whether these are whole pages of a workspace.
    pages: bool


@dataclass(eq=False)
class Reading:
    """What was found in one trace."""

    #: The memory of the input, parameters and buffers.
    given: set[int]
    #: The last shapes that went into a layer or a stage and came out of it, with the
    #: batch; by its id.
    shapes: dict[int, tuple[Shape | None, Shape | None]] = field(default_factory=dict)
    #: How many times.
    calls: Counter[int] = field(default_factory=Counter)
    #: Which module allocated memory.
    makers: dict[int, Running] = field(default_factory=dict)
    #: The calls of modules, with where they count.
    running: dict[ModuleCall, Running] = field(default_factory=dict)
    #: What was saved for backward, but the input, parameters and buffers.
    saved: list[SavedBy] = field(default_factory=list)

    def finish(self, trace: Trace) -> None:
        """Read what was saved, and forget all that is not needed any more."""
        for storage, (nbytes, call) in trace.saved.items():
            if storage not in self.given:
                maker = self.makers.get(storage, self.running[call])
                pages = storage in trace.workspaces
                name = maker.call.path or maker.call.kind
                makers = maker.layer, maker.stage
                self.saved.append(SavedBy(makers, name, nbytes, pages))
        self.makers.clear()
        self.running.clear()


class UnknownMemory(Exception):  # noqa: N818 - what is asked for is not known
    """Why it is not known what an image adds to what is saved for backward."""


class Reader:
    """Counts for `layers` and `stages`, by name; "" is the network itself.

    A layer is a module that calls no other, or what a module computes itself between
    the others; a stage is what the network calls. `modules` are those that call others,
    with what comes out of them. `used` are the names of the
    parameters and buffers that took part. `lost` and `uncounted` are the operations
    after which a receptive field is unknown and those of unknown cost, with the first
    layer of each; `elsewhere` is what saves other memory on a GPU; with `chance`,
    the path is another in each run. `parameters`
    are those of the network, by name: how many numbers, and whether they are trained;
    `names` has all names of each.
    """

    def __init__(self) -> None:
        self.layers: dict[str, ModuleStats] = {}
        self.stages: dict[str, ModuleStats] = {}
        self.modules: dict[str, ModuleStats] = {}
        self.used: set[str] = set()
        self.parameters: dict[str, tuple[int, bool]] = {}
        self.names: dict[str, list[str]] = {}
        self.kinds: dict[str, str] = {}
        self.nbytes = self.gradient_bytes = 0  # of the parameters
        self.lost: dict[str, str] = {}
        self.uncounted: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        self.chance = False
        self.own = ModuleStats("", ""), ModuleStats("", "")  # of the network itself
        self._stats: dict[str, ModuleStats] = {"": self.own[0]}
        self._fields: FieldTracker | None = None

    def evaluate(self, trace: Trace) -> Reading:
        """Count what an evaluation of one image does."""
        self._count(trace.root.module)
        self._fields = FieldTracker([value.view for value in trace.root.given])
        reading = self.read(trace)
        self._fields = None
        return reading

    def _count(self, net: nn.Module) -> None:
        for path, module in net.named_modules():
            self.kinds[path] = type(module).__name__
        names: dict[int, list[str]] = {}
        for name, parameter in net.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        for name, parameter in net.named_parameters():
            self.names[name] = names[id(parameter)]
            trained = parameter.requires_grad
            self.parameters[name] = parameter.numel(), trained
            nbytes = parameter.numel() * parameter.dtype.itemsize
            self.nbytes += nbytes
            self.gradient_bytes += nbytes * trained

    def hold(self, net: nn.Module) -> None:
        """List the modules that hold parameters, without a trace."""
        lazy = [name for name, each in net.named_parameters() if is_lazy(each)]
        if lazy:
            raise ValueError(
                f"{lazy[0]} has no shape yet; give the size of an input, from which it"
                " follows"
            )
        self._count(net)
        self.used = {*self.parameters}
        for path, module in net.named_modules():
            if path and any(True for _ in module.parameters()):
                kind = type(module).__name__
                inner = any(True for _ in module.children())
                if inner:
                    self.modules[path] = ModuleStats(path, kind)
                if not inner or module._parameters:
                    self.layers[path] = ModuleStats(path, kind)
                if "." not in path:
                    self.stages[path] = ModuleStats(path, kind)

    def read(self, trace: Trace) -> Reading:
        """Go through a trace, and add what is new."""
        reading = Reading({*trace.names, *trace.inputs})
        self._module(trace.root, None, reading)
        used = {view.storage for view in _used(trace)}
        self.used |= {name for key, name in trace.names.items() if key in used}
        reading.finish(trace)
        return reading

    def train(self, few: Reading, many: Reading) -> None:
        """Count what two more images add to what is saved for backward, for one.

        Raises: UnknownMemory if that grows faster than the batch.
        """
        if len(few.saved) == len(many.saved):
            for two, four in zip(few.saved, many.saved, strict=True):
                if four.nbytes > 2 * two.nbytes and not four.pages:
                    raise UnknownMemory(
                        f"what {two.name} saves grows faster than the batch"
                    )
        for sign, saved in ((-1, few.saved), (1, many.saved)):
            for makers, _, nbytes, _ in saved:
                for stats in makers:
                    stats.saved_bytes += sign * nbytes
        for stats in {id(s): s for s in (*self._counted(),)}.values():
            stats.saved_bytes //= 2

    def shape(self, one: Reading, few: Reading | None, many: Reading | None) -> None:
        """Find the batch in all shapes, from runs with one, two and four images."""
        all_runs = one, few, many
        for stats in {id(s): s for s in self._counted()}.values():
            key, none = id(stats), (None, None)
            runs = [each.shapes.get(key, none) if each else none for each in all_runs]
            alone = few is not None and few.calls[key] == 2 * one.calls[key] > 0
            stats.input_shape, stats.shape = (
                without_batch(*shapes, alone=alone)
                for shapes in zip(*runs, strict=True)
            )

    def _counted(self) -> Iterator[ModuleStats]:
        """All that things are counted for."""
        yield from self._stats.values()
        yield from self.stages.values()
        yield from self.modules.values()
        if "" not in self.stages:
            yield self.own[1]

    def _module(
        self, call: ModuleCall, caller: Running | None, reading: Reading
    ) -> None:
        """Go through the call of a module."""
        running = reading.running[call] = self._begin(call, caller)
        for event in call.events:
            if isinstance(event, ModuleCall):
                self._module(event, running, reading)
            elif isinstance(event, Operation):  # pragma: no branch, functions are not
                self._operation(event, running, reading)
        if call.returned:
            self._end(running, caller, reading)

    def _begin(self, call: ModuleCall, caller: Running | None) -> Running:
        new = ModuleStats(call.path, call.kind)
        if isinstance(call.module, nn.RNNBase):
            self.elsewhere.setdefault(call.kind, call.path)
        if caller is None:
            for stats in self.own:
                stats.kind = stats.kind or call.kind
            return Running(call, *self.own)
        layer, stage = self._stats.setdefault(call.path, new), caller.stage
        kernel = getattr(call.module, "kernel_size", ())
        kernel = kernel if isinstance(kernel, list | tuple) else (kernel,)
        if all(type(n) is int for n in kernel):  # else it is something of theirs
            layer.kernel = tuple(kernel)
        if stage is self.own[1]:
            stage = self.stages.setdefault(call.path, ModuleStats(call.path, call.kind))
        return Running(call, layer, stage)

    def _end(self, running: Running, caller: Running | None, reading: Reading) -> None:
        outputs = [value.view for value in running.call.made]
        first = next(iter(outputs), None)
        made, last = [*running.made.values()], running.last
        if first and last and first.storage == last.storage:
            last = first  # which is a view of it
        if running.leaf:
            self._list(running)
            self._describe(running.layer, first, reading)
            if caller:  # nothing else of a layer outlives it
                kept = {view.storage for view in outputs}
                made = [view for view in made if view.storage in kept]
        elif last:
            kind = ", ".join(running.operations)
            self._describe(running.layer, last, reading, kind)
        if not running.leaf:
            name, kind = running.call.path, running.call.kind
            whole = self.modules.setdefault(name, ModuleStats(name, kind))
            self._describe(whole, first, reading)
        if caller is None:
            if last or running.leaf:
                self._describe(running.stage, first if running.leaf else last, reading)
        elif caller.stage is self.own[1]:
            self._describe(running.stage, first, reading)
        given = next((value.view.shape for value in running.call.given), None)
        for stats in (
            running.layer,
            running.stage,
            self.modules.get(running.call.path),
        ):
            if (
                stats
                and id(stats) in reading.shapes
                and stats.name == running.call.path
            ):
                reading.shapes[id(stats)] = given, reading.shapes[id(stats)][1]
        if self._fields:
            varying = [view for view in made if self._fields.of(view) is not None]
            running.add("activations", sum(view.nbytes for view in varying))

    def _describe(
        self, stats: ModuleStats, view: View | None, reading: Reading, kind: str = ""
    ) -> None:
        """Note what came out of a layer or a stage; training only adds what is new."""
        reading.calls[id(stats)] += 1
        if view:
            reading.shapes[id(stats)] = None, view.shape
        if self._fields:
            stats.calls += 1
            try:
                stats.field = self._fields.field(view) if view else None
            except UnknownReceptiveField as reason:
                stats.field = None
                self.lost.setdefault(str(reason), stats.name)
        if self._fields or stats.calls == 0:
            stats.kind = kind or stats.kind

    def _list(self, running: Running) -> None:
        """Give what has run a row, behind those that ran before."""
        self.layers.setdefault(running.layer.name, running.layer)
        if running.stage is self.own[1]:
            self.stages.setdefault("", running.stage)

    def _operation(
        self, operation: Operation, running: Running, reading: Reading
    ) -> None:
        """Count one operation."""
        func, fresh = operation.func, []
        for view in operation.made:
            key = view.storage
            if view.nbytes and key not in reading.makers and key not in reading.given:
                reading.makers[key], running.made[key] = running, view
                fresh.append(view)
        if fresh:
            running.operations[name_of(func).lstrip("_")] = None
            running.last = fresh[0]
            self._list(running)
        if not self._fields:
            if ATTENTION.match(name_of(func)):
                self.elsewhere.setdefault("attention", running.layer.name)
            return
        if operation.macs is not None:
            running.add("macs", operation.macs)
            self._list(running)
        elif multiplies(func):
            self.uncounted.setdefault(name_of(func), running.layer.name)
        if lost := self._fields.update(operation):
            self.lost.setdefault(str(lost), running.layer.name)


def _used(trace: Trace) -> Iterator[View]:
    """What operations were given, and what came out in the end."""
    for call in trace.calls():
        for event in call.events:
            if isinstance(event, Operation):
                yield from event.given
    for value in trace.root.made:
        yield value.view
