"""A module as it runs: one tracer for the X-ray and for the drawings."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import partial
from operator import itemgetter
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.tracing.ghost import (
    DataDependentError,
    Ghost,
    Results,
    compute,
    tensors_in,
)
from course_lib.tracing.macs import macs_of
from course_lib.tracing.record import (
    FunctionCall,
    ModuleCall,
    Operation,
    Saved,
    Trace,
    Value,
    View,
    modules_in,
    tensors_of,
    view_of,
)


class Tracer(TorchDispatchMode):
    """Runs a copy of a module, and writes down what it does, as a `Trace`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._net = net
        self._open = [ModuleCall(nn.Identity(), "")]
        self._thread = get_ident()
        self.trace = Trace(self._open[0])
        #: Where the last error came from: the module that was running.
        self.where = self._open[0]
        self._error: BaseException | None = None
        self._results: Results = {}
        self._written: set[int] = set()  # memory whose values are lost
        self._alive: list[Tensor] = []  # or another might get the same address
        self._boxes: list[list[Tensor]] = []

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
        modules, DataDependentError.last = [*modules_in(self._net)], None
        for path, module in modules:  # no hooks, which a copy would keep
            module.__dict__["_compiled_call_impl"] = partial(self._call, module, path)
        try:
            with ExitStack() as stack:
                stack.enter_context(torch.set_grad_enabled(grad))
                if grad:
                    stack.enter_context(saved_tensors_hooks(self._save, itemgetter(0)))
                stack.enter_context(self)
                if functions:
                    stack.enter_context(_FunctionCalls(self))
                output = self._net(*args, **kwargs)
            if DataDependentError.last:  # the module has caught it, and gone elsewhere
                raise DataDependentError.last
            if isinstance(output, Generator):
                raise ValueError("what it returns is a generator: nothing has run yet")
        finally:
            DataDependentError.last = None
            for _, module in modules:
                module.__dict__["_compiled_call_impl"] = None
            for box in self._boxes:
                box.clear()
        names = self.trace.names
        for path, module in modules_in(self._net):
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None and tensor.layout is torch.strided:
                    full = f"{path}.{name}" if path else name
                    names.setdefault(view_of(tensor).storage, full)
        self.trace.root = next(
            event for event in self._open[0].events if isinstance(event, ModuleCall)
        )

    def _call(self, module: Any, path: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a module as PyTorch does, with its hooks."""
        if get_ident() != self._thread:  # in which no operation comes here
            raise ValueError(f"{path} runs in a thread of its own: it is not followed")
        given = self.values((args, kwargs) if kwargs else args)
        call = ModuleCall(module, path, given)
        self._open[-1].events.append(call)
        self._open.append(call)
        try:
            output = module._call_impl(*args, **kwargs)
            call.made, call.returned = self.values(output), True
        except Exception as error:
            if error is not self._error:
                self._error, self.where = error, call
            raise
        finally:
            self._open.pop()
        return output

    def values(self, values: Any) -> list[Value]:
        """All tensors in `values`."""
        found = []
        with torch._C.DisableTorchFunction():  # these are no calls of the module
            for each in tensors_of(values):
                tensor = each
                while _functorch.is_functorch_wrapped_tensor(tensor):
                    tensor = _functorch.get_unwrapped(tensor)
                if type(tensor) in LAZY:
                    continue
                number = id(tensor)
                if isinstance(tensor, Ghost):
                    number = tensor.number
                else:
                    self._alive.append(tensor)
                version = 0 if tensor.is_inference() else tensor._version
                found.append(Value(number, version, view_of(tensor)))
        return found

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
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():
            made = self._in_parts(func, args, kwargs)
            if made is not NotImplemented:
                return made
        tensors = tensors_in(args) + (tensors_in(kwargs.values()) if kwargs else [])
        given, empty, written = [], False, self._written
        for tensor in tensors:
            if type(tensor) in LAZY:  # about to be made
                return func(*args, **kwargs)
            if isinstance(tensor, Ghost):
                empty = True
                given.append(tensor.place)
            else:
                view = view_of(tensor)
                given.append(view)
                empty = empty or view.storage in written
        if empty:
            made, macs = compute(func, args, kwargs, self._results)
        else:
            made = func(*args, **kwargs)
            macs = macs_of(func, args, kwargs, made)
        results = []
        for tensor in (made,) if isinstance(made, Tensor) else tensors_in([made]):
            view = view_of(tensor)
            results.append(view)
            if not isinstance(tensor, Ghost):
                self._alive.append(tensor)
                if empty:
                    written.add(view.storage)
        if func is torch.ops.aten.mkldnn_rnn_layer.default:
            self.trace.workspaces.add(results[-1].storage)
        viewed = tuple(_viewed(args, iter(given)))
        operation = Operation(func, viewed, given, results, macs)
        self._open[-1].events.append(operation)
        return made

    def _in_parts(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation that is made of others, as all come in inference mode."""
        with self:
            return func.decompose(*args, **kwargs)

    def _save(self, saved: Tensor) -> list[Tensor]:
        """Autograd saves a tensor: in a box, which is emptied afterwards, as a tensor
        that refers to what saves it would never be freed.
        """
        view = view_of(saved)
        if view.storage not in self.trace.saved:
            if not isinstance(saved, Ghost):
                self._alive.append(saved)
            self.trace.saved[view.storage] = Saved(view.nbytes, self._open[-1])
        box = [saved]
        self._boxes.append(box)
        return box


#: What wraps tensors in `torch.func`, as for `vmap`.
_functorch = torch._C._functorch

#: Tensors without a shape, of layers that wait for their first input.
LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)

#: Attributes of a tensor that are tensors.
VIEWS = ("T", "mT", "H", "mH", "data", "real", "imag")


class _FunctionCalls(TorchFunctionMode):
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


def _viewed(values: Any, views: Iterator[View]) -> list[Any]:
    """Arguments with a view for each tensor."""
    return [
        next(views)
        if isinstance(value, Tensor)
        else _viewed(value, views)
        if value.__class__ in (list, tuple)
        else value
        for value in values
    ]
