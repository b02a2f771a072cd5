"""A network as it runs. In evaluation mode: what each layer computes, its output and
its receptive field. In training mode: what autograd saves for the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from course_lib.summary.field_tracker import FieldTracker, storage
from course_lib.summary.receptive_field import Field, UnknownReceptiveField
from course_lib.summary.rules import is_uncounted, name_of

#: Images of the mini-batch in the training run; without values they cost nothing.
#: It is prime, so that only what grows with the batch can be divided by it.
BATCH = 10_007


class DataDependentError(ValueError):
    """An operation on the meta device whose result depends on values."""


@dataclass
class ModuleStats:
    """What a layer or a stage has done so far, for one image: the fields of
    `course_lib.summary.table.SummaryRow`.
    """

    #: Its name in the network, "" for the network.
    name: str
    #: The name of its class, or of the operations that a module does itself.
    kind: str
    #: Shape of its output, without the batch.
    shape: tuple[int, ...] = ()
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


@dataclass
class RunningModule:
    """A module that has been called and has not returned."""

    #: Where it counts as a layer.
    layer: ModuleStats
    #: Where it counts as a stage, or as a part of one.
    stage: ModuleStats
    #: Memory that its own operations have allocated: storage -> bytes.
    made: dict[int, int] = field(default_factory=dict)
    #: The names of these operations, in the order of their first call.
    operations: dict[str, None] = field(default_factory=dict)
    #: What the last of them made.
    last: Tensor | None = None
    #: Whether it has called no other module.
    leaf: bool = True

    def add(
        self, what: Literal["macs", "activations", "saved_bytes"], amount: int
    ) -> None:
        """Count for the layer and for the stage."""
        for stats in (self.layer, self.stage):
            setattr(stats, what, getattr(stats, what) + amount)


class Tracer(TorchDispatchMode):
    """Records every module and every operation of `net`, and counts for `layers` and
    `stages`, by name; "" is the network itself.

    A layer is a module that calls no other, or what a module computes itself between
    the others; a stage is what the network calls. `used` are the names of the
    parameters and buffers that took part. `lost` and `uncounted` are the operations
    after which a receptive field is unknown and those of unknown cost, with the first
    layer of each.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Imported here because it takes a quarter of a second.
        from torch.utils.flop_counter import flop_registry

        self.layers: dict[str, ModuleStats] = {}
        self.stages: dict[str, ModuleStats] = {}
        self.used: set[str] = set()
        self.lost: dict[str, str] = {}
        self.uncounted: dict[str, str] = {}
        self._formulas = flop_registry
        self._net = net
        self._stats = {
            module: ModuleStats(name, type(module).__name__)
            for name, module in net.named_modules()
        }
        self.root = RunningModule(self._stats[net], ModuleStats("", type(net).__name__))
        self._calls = [self.root]
        self._given: dict[int, str] = {}
        self._makers: dict[int, RunningModule] = {}
        self._saved: set[int] = set()
        self._alive: list[Tensor] = []  # or another storage might get the same address
        self._fields: FieldTracker | None = None

    def evaluate(self, x: Tensor, given: Mapping[str, Tensor]) -> None:
        """Run `net` on `x`, with `given` instead of its parameters and buffers."""
        self._fields = FieldTracker(x)
        with torch.no_grad():
            self._run(x, given)

    def train(self, x: Tensor, given: Mapping[str, Tensor]) -> None:
        """Run `net` on `BATCH` inputs like `x`, and count what is saved."""
        self._fields = None
        with torch.enable_grad(), saved_tensors_hooks(self._keep, lambda saved: saved):
            self._run(x.new_empty((BATCH, *x.shape[1:]), device="meta"), given)

    def _run(self, x: Tensor, given: Mapping[str, Tensor]) -> None:
        self._calls = [self.root]
        self._given = {storage(tensor): name for name, tensor in given.items()}
        self._saved = {*self._given, storage(x)}
        self._makers = dict.fromkeys(self._saved, self.root)
        handles = (
            register_module_forward_pre_hook(self._begin),
            register_module_forward_hook(self._end, always_call=True),
        )
        try:
            with self:
                torch.func.functional_call(self._net, dict(given), x)
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, module: nn.Module, _input: Any) -> None:
        if module not in self._stats:  # made in the forward pass: part of its caller
            return
        layer, caller = self._stats[module], self._calls[-1]
        stage = caller.stage
        if module is not self._net:
            caller.leaf = False
            if stage is self.root.stage:
                new = ModuleStats(layer.name, layer.kind)
                stage = self.stages.setdefault(layer.name, new)
        self._calls.append(RunningModule(layer, stage))

    def _end(self, module: nn.Module, _input: Any, output: Any) -> None:
        if module not in self._stats:
            return
        call, outputs = self._calls.pop(), _tensors(output)
        made = sum(call.made.values())
        if not call.leaf:
            self._describe(call.layer, call.last, ", ".join(call.operations))
        else:
            self._list(call)
            self._describe(call.layer, next(iter(outputs), None))
            if module is not self._net:  # nothing else of a layer outlives it
                made = sum(call.made.get(key, 0) for key in set(map(storage, outputs)))
        if module is self._net:
            self._describe(call.stage, call.last)
        elif self._calls[-1].stage is self.root.stage:
            self._describe(call.stage, next(iter(outputs), None))
        if self._fields:
            call.add("activations", made)

    def _describe(
        self, stats: ModuleStats, result: Tensor | None, kind: str = ""
    ) -> None:
        """Note what came out of a layer or a stage; training only adds what is new."""
        if result is None or not (self._fields or stats.calls == 0):
            return
        stats.kind, stats.shape = kind or stats.kind, tuple(result.shape[1:])
        if self._fields:
            stats.calls += 1
            try:
                stats.field = self._fields.field(result)
            except UnknownReceptiveField as reason:
                stats.field = None
                self.lost.setdefault(str(reason), stats.name)

    def _list(self, call: RunningModule) -> None:
        """Give what has run a row, behind those that ran before."""
        self.layers.setdefault(call.layer.name, call.layer)
        if call.stage is self.root.stage:
            self.stages.setdefault("", call.stage)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operation for the module that is running."""
        del types
        call, kwargs = self._calls[-1], kwargs or {}
        tensors = _tensors((args, kwargs))
        known = [self._fields.of(tensor) for tensor in tensors] if self._fields else []
        out = self._call(func, args, kwargs, tensors)
        outs = _tensors(out)
        self.used |= {self._given.get(storage(tensor), "") for tensor in tensors}
        self._alive += outs
        for tensor in outs:
            key, size = storage(tensor), tensor.untyped_storage().nbytes()
            if size and key not in self._makers:
                self._makers[key], call.made[key], call.last = call, size, tensor
                call.operations[name_of(func).lstrip("_")] = None
                self._list(call)
        if self._fields:
            formula = self._formulas.get(func._overloadpacket)
            if formula:
                call.add("macs", formula(*args, **kwargs, out_val=out) // 2)
                self._list(call)
            if outs and any(state is not None for state in known):
                if func._schema.is_mutable and outs[0] is not tensors[0]:
                    outs.append(tensors[0])  # has values, which a copy stood in for
                lost = self._fields.update(func, args, known, outs)
                if lost:
                    self.lost.setdefault(str(lost), call.layer.name)
                if not formula and is_uncounted(func):
                    self.uncounted.setdefault(name_of(func), call.layer.name)
        return out

    def _call(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Run an operation, of which tensors may have no values."""
        if not any(tensor.is_meta for tensor in tensors):
            return func(*args, **kwargs)
        if not all(tensor.is_meta for tensor in tensors):  # made in the forward pass
            args, kwargs = tree_map_only(Tensor, lambda t: t.to("meta"), (args, kwargs))
        if func is torch.ops.aten.native_batch_norm.default:
            # The same as torch has, which takes half of a run to find the shapes.
            x, training = args[0], args[5]
            mean, std = x.new_empty((2, x.shape[1] if training else 0))
            return torch.empty_like(x), mean, std
        try:
            if func is torch.ops.aten._local_scalar_dense.default:
                raise NotImplementedError
            return func(*args, **kwargs)
        except NotImplementedError as error:
            caller = self._calls[-1].layer.name or type(self._net).__name__
            name = name_of(func).replace("_local_scalar_dense", "item")
            raise DataDependentError(f"{caller} calls {name}") from error

    def _keep(self, saved: Tensor) -> Tensor:
        """Count memory that is saved for backward, once and for its maker."""
        key, size = storage(saved), saved.untyped_storage().nbytes()
        if key not in self._saved and size % BATCH == 0:
            if size and size % BATCH**2 == 0:
                raise ValueError("the first dimension is not that of the mini-batch")
            self._makers.get(key, self._calls[-1]).add("saved_bytes", size // BATCH)
        self._saved.add(key)
        return saved


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
