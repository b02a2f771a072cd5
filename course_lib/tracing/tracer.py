"""A module as it runs: one tracer for the X-ray and for the drawings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.tracing.ghost import CPU, Ghost, Results, compute, tensors_in
from course_lib.tracing.macs import macs_of
from course_lib.tracing.record import (
    FunctionCall,
    ModuleCall,
    Operation,
    Saved,
    Trace,
    Value,
    View,
    tensors_of,
    view_of,
)


class Tracer(TorchDispatchMode):
    """Runs a copy of a module, and writes down what it does, as a `Trace`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._net = net
        self._open = [ModuleCall(nn.Identity(), "")]
        self.trace = Trace(self._open[0])
        #: Where the last error came from: the module that was running.
        self.where = self._open[0]
        self._error: BaseException | None = None
        self._results: Results = {}
        self._written: set[int] = set()  # memory whose values are lost
        self._alive: list[Tensor] = []  # or another might get the same address

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be wrapped, which takes longer than what it does."""
        return False

    def run(
        self, args: Any, kwargs: Any, *, grad: bool, functions: bool = False
    ) -> None:
        """Call the module; with `grad`, what autograd saves is recorded, and with
        `functions`, the calls of functions.
        """
        self.trace.inputs = {view_of(t).storage for t in tensors_of((args, kwargs))}
        self._error = sys.exc_info()[1]
        for path, module in self._net.named_modules():
            module.register_forward_pre_hook(
                self._enter(path), with_kwargs=True, prepend=True
            )
            module.register_forward_hook(self._leave, always_call=True)
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(grad))
            if grad:
                stack.enter_context(saved_tensors_hooks(self._save, lambda t: t))
            stack.enter_context(self)
            if functions:
                stack.enter_context(_Functions(self))
            self._net(*args, **kwargs)
        named = (*self._net.named_parameters(), *self._net.named_buffers())
        self.trace.names = {view_of(tensor).storage: name for name, tensor in named}
        self.trace.root = next(
            event for event in self._open[0].events if isinstance(event, ModuleCall)
        )

    def _enter(self, path: str) -> Any:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            call = ModuleCall(module, path, self.values((args, kwargs)))
            self._open[-1].events.append(call)
            self._open.append(call)

        return enter

    def _leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        call = self._open.pop()
        error = sys.exc_info()[1]
        if error is not self._error:
            self._error, self.where = error, call
            return
        call.made, call.returned = self.values(output), True

    def values(self, values: Any) -> list[Value]:
        """All tensors in `values`."""
        tensors = [t for t in tensors_of(values) if type(t) not in LAZY]
        self._alive += tensors
        with torch._C.DisableTorchFunction():  # these are no calls of the module
            return [
                Value(id(t), 0 if t.is_inference() else t._version, view_of(t))
                for t in tensors
            ]

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function for the module that is running."""
        if func.__name__ == "__get__" and func.__self__.__name__ not in VIEWS:
            return func(*args, **kwargs)
        given = self.values((args, kwargs))  # before it may be changed
        made = func(*args, **kwargs)
        if results := self.values(made):
            call = FunctionCall(_name(func), given, results)
            self._open[-1].events.append(call)
        return made

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operation for the module that is running."""
        del types
        if func is torch.ops.prim.device.default:
            return CPU
        kwargs = kwargs or {}
        tensors = tensors_in((*args, *kwargs.values()))
        if any(type(tensor) in LAZY for tensor in tensors):  # about to be made
            return func(*args, **kwargs)
        given = [view_of(tensor) for tensor in tensors]
        empty = any(isinstance(t, Ghost) for t in tensors) or (
            self._written and any(view.storage in self._written for view in given)
        )
        if empty:
            made = compute(func, args, kwargs, self._results)
        else:
            made = func(*args, **kwargs)
        results = tensors_in([made])
        self._alive += results
        if empty:
            self._written.update(
                view_of(t).storage for t in results if not isinstance(t, Ghost)
            )
        if func is torch.ops.aten.mkldnn_rnn_layer.default:
            self.trace.workspaces.add(view_of(results[-1]).storage)
        views = iter(given)
        operation = Operation(
            func,
            tuple(_viewed(args, views)),
            given,
            [view_of(tensor) for tensor in results],
            macs_of(func, args, kwargs, made),
        )
        self._open[-1].events.append(operation)
        return made

    def _save(self, saved: Tensor) -> Tensor:
        """Autograd saves a tensor."""
        view = view_of(saved)
        if view.storage not in self.trace.saved:
            self._alive.append(saved)
            self.trace.saved[view.storage] = Saved(view.nbytes, self._open[-1])
        return saved


#: Tensors without a shape, of layers that wait for their first input.
LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)

#: Attributes of a tensor that are tensors.
VIEWS = ("T", "mT", "H", "mH", "data", "real", "imag")


class _Functions(TorchFunctionMode):
    """Writes down functions as torch calls them."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """A function is called."""
        del types
        return self._tracer.call(func, args, kwargs or {})


def _name(func: Any) -> str:
    """The name of a function; of an attribute, like ``x.T``, that of the attribute."""
    name = func.__name__
    return func.__self__.__name__ if name == "__get__" else name.strip("_")


def _viewed(values: Any, views: Iterator[View]) -> Iterator[Any]:
    """Arguments with a view for each tensor."""
    for value in values:
        if isinstance(value, Tensor):
            yield next(views)
        elif isinstance(value, list | tuple):
            yield list(_viewed(value, views))
        else:
            yield value
