"""Copies of modules to be run in their place, so that a run leaves no trace in them.

Everything that a module holds is copied, and what its hooks and functions refer to, so
that whatever a forward pass writes is written to the copy. Parameters and buffers come
without values, and modules and tensors in two places stay one.
"""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.tracing.ghost import Ghost
from course_lib.tracing.isolation import written
from course_lib.tracing.record import modules_in

#: What is the same in the copy.
ATOMIC = {bool, int, float, complex, str, bytes, type(None), type, torch.dtype}
#: The attributes that every module has for itself.
OWN = frozenset(vars(nn.Module()))
PARTS = ("_parameters", "_buffers", "_modules")


def unwrapped(net: nn.Module) -> nn.Module:
    """The module in `torch.compile`, `nn.DataParallel` and the like."""
    while (inner := _wrapped(net)) is not None:
        net = inner
    return net


def replica(net: nn.Module, *, values: bool = False) -> nn.Module:
    """A copy of `net`, with `values` of its own, or without any.

    Raises: ValueError for a part that cannot be followed: one that was compiled by
        TorchScript, or quantized.
    """
    with torch.inference_mode(mode=False):
        net = unwrapped(net)
        copier = _Copier(net, values=values)
        try:
            return copier.copy(net)
        except _UnknownCodeError as error:
            paths = {id(module): path for path, module in net.named_modules()}
            name = paths.get(id(error.module)) or type(error.module).__name__
            raise ValueError(f"{name} {error}") from None
        except RecursionError:
            name = type(net).__name__
            raise ValueError(f"{name} is nested too deeply to be followed") from None


def _wrapped(module: nn.Module) -> nn.Module | None:
    """The module that `module` only wraps, if it does."""
    name = "_orig_mod" if type(module).__name__ == "OptimizedModule" else "module"
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    if name == "_orig_mod" or isinstance(module, wrappers):
        return module._modules.get(name)
    return None


class _UnknownCodeError(Exception):
    """A module runs code that nothing can follow."""

    def __init__(self, module: nn.Module, words: str) -> None:
        super().__init__(words)
        self.module = module


def _check(module: nn.Module, *, packed: bool = False) -> None:
    """Refuse what runs code that nothing can follow, as what is `packed`."""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise _UnknownCodeError(
            module,
            f"is a module of TorchScript ({kind.__name__}), whose layers cannot be"
            " followed; give the module that it was made from",
        )
    if packed or ".quantized" in kind.__module__:
        raise _UnknownCodeError(
            module,
            f"is quantized ({kind.__module__}.{kind.__name__}), and computes in packed"
            " numbers; give the module before quantization",
        )


class _Copier:
    """Copies values as `copy.deepcopy`, which copies what is left to it."""

    def __init__(self, net: nn.Module, *, values: bool) -> None:
        self._net, self._values = net, values
        self._memo: dict[int, Any] = {}
        self._scopes: dict[int, dict[str, Any]] = {}  # module-level names, copied
        self._kept: list[Any] = []  # or another object might get the same address

    def copy(self, value: Any) -> Any:
        """The copy of `value`, always the same one."""
        if value.__class__ in ATOMIC:
            return value
        if id(value) not in self._memo:
            self._kept.append(value)
            self._memo[id(value)] = value  # if it refers to itself, or fails
            self._copy(value)
        return self._memo[id(value)]

    def _copy(self, value: Any) -> None:
        kind = type(value)
        if kind is OrderedDict or kind is dict:
            new = self._put(value, kind())
            for key, item in value.items():
                new[self.copy(key)] = self.copy(item)
        elif kind is weakref.ref:
            self._weak(value, value(), weakref.ref)
        elif kind in weakref.ProxyTypes:
            self._weak(value, value.__repr__.__self__, weakref.proxy)
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, Tensor):
            self._tensor(value, empty=isinstance(value, nn.Parameter))
        elif kind in (list, deque, set):
            new = self._put(value, kind())
            add = new.add if kind is set else new.append
            for item in value:
                add(self.copy(item))
        elif kind is defaultdict:
            new = self._put(value, defaultdict(value.default_factory))
            for key, item in value.items():
                new[self.copy(key)] = self.copy(item)
        elif kind is tuple:
            if not all(item.__class__ in ATOMIC for item in value):
                self._put(value, tuple(self.copy(item) for item in value))
        elif kind is FunctionType:
            self._function(value)
        elif kind is MethodType:
            self._put(
                value, MethodType(self.copy(value.__func__), self.copy(value.__self__))
            )
        elif kind is partial:
            function, keywords = self.copy(value.func), self.copy(value.keywords)
            self._put(value, partial(function, *self.copy(value.args), **keywords))
        elif kind is torch.Generator:
            self._put(value, value.clone_state())
        else:
            self._other(value)

    def _put(self, value: Any, new: Any) -> Any:
        self._memo[id(value)] = new
        return new

    def _module(self, module: nn.Module) -> None:
        inner = _wrapped(module)
        if inner is not None:
            self._put(module, self.copy(inner))
            return
        _check(module)
        new = self._put(module, object.__new__(type(module)))
        attributes = new.__dict__
        for name, value in vars(module).items():
            if value.__class__ in ATOMIC:
                attributes[name] = value
            elif name in OWN and not value:  # nobody else has it
                attributes[name] = value.__class__()
            elif name in PARTS:
                parts = attributes[name] = value.__class__()
                counts = name == "_buffers"
                for part, inner in value.items():
                    parts[part] = self._part(inner, counts=counts)
            else:
                if isinstance(value, torch.ScriptObject):
                    _check(module, packed=True)
                attributes[name] = self.copy(value)
        attributes["_compiled_call_impl"] = None
        kind: Any = type(module)
        for name in _slots(kind):
            if hasattr(module, name):
                object.__setattr__(new, name, self.copy(getattr(module, name)))

    def _part(self, part: Tensor | nn.Module | None, *, counts: bool) -> Any:
        """A parameter, a buffer or a module, which have no values where all else has
        them; only a buffer of one number has its own, as it may be a counter, a
        pointer or a flag.
        """
        if isinstance(part, Tensor) and id(part) not in self._memo:
            self._kept.append(part)
            lazy = nn.parameter.is_lazy(part)
            one = counts and not (lazy or part.is_meta) and part.numel() == 1
            self._tensor(part, empty=not one)
        return self.copy(part)

    def _weak(self, value: Any, target: Any, kind: Callable[[Any], Any]) -> None:
        """A weak reference; if to a part of the network, then to the same of the copy,
        which something else keeps alive.
        """
        if any(target is module for _, module in modules_in(self._net)):
            self._put(value, kind(self.copy(target)))

    def _tensor(self, tensor: Tensor, *, empty: bool) -> None:
        """One without values, or a copy that is no part of the original's graph."""
        if nn.parameter.is_lazy(tensor):  # it is made in the copy
            self._put(tensor, type(tensor)(requires_grad=tensor.requires_grad))
            return
        new: Tensor
        if empty and not self._values and tensor.layout is torch.strided:
            new = Ghost.like(tensor)
        else:
            new = tensor.detach().clone()
            if not (empty or self._values):
                new = new.cpu()  # where the others seem to be
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=False)
        new.requires_grad_(tensor.requires_grad)
        self._put(tensor, new)

    def _function(self, function: FunctionType) -> None:
        """With what it refers to, which may be the module itself."""
        cells, known = function.__closure__ or (), self._globals(function)
        parts = cells or function.__defaults__ or function.__kwdefaults__
        if not parts and known is function.__globals__:
            return
        closure = tuple(CellType() for _ in cells)
        new = self._put(
            function,
            FunctionType(
                function.__code__,
                known,
                function.__name__,
                closure=closure,
            ),
        )
        new.__dict__.update(function.__dict__)
        new.__defaults__ = self.copy(function.__defaults__)
        new.__kwdefaults__ = self.copy(function.__kwdefaults__)
        for cell, old in zip(closure, cells, strict=True):
            for content in _contents(old):
                cell.cell_contents = self.copy(content)

    def _globals(self, function: FunctionType) -> dict[str, Any]:
        """The module-level names that a function sees: copies of what it may write
        into, such as the list in which a hook keeps what it has seen.
        """
        given = function.__globals__
        if (function.__module__ or "").partition(".")[0] == "torch":
            return given
        kept, writes = written(function)
        if not (kept or writes):
            return given
        new: dict[str, Any] = self._scopes.setdefault(id(given), dict(given))
        new.update({name: self.copy(given[name]) for name in kept})
        return new

    def _other(self, value: Any) -> None:
        """Any other object: by its attributes, or as `copy.deepcopy` does it, or else
        it stays, like a lock or an open file.
        """
        try:
            if _is_plain(value):
                new = self._put(value, object.__new__(type(value)))
                for name, attribute in vars(value).items():
                    new.__dict__[name] = self.copy(attribute)
            else:
                del self._memo[id(value)]
                self._put(value, copy.deepcopy(value, self._memo))
        except Exception:
            self._put(value, value)


@cache
def _slots(kind: type) -> tuple[str, ...]:
    """The names of attributes that are not in an object's dictionary."""
    names = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return tuple(
        name for each in names for name in ((each,) if isinstance(each, str) else each)
    )


def _is_plain(value: object) -> bool:
    """Whether all of an object is in its attributes."""
    kind = type(value)
    own = {name for base in kind.__mro__[:-1] for name in vars(base)}
    special = {
        "__deepcopy__",
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__slots__",
    }
    builtin = isinstance(value, list | dict | set | tuple | BaseException)
    return hasattr(value, "__dict__") and not (builtin or own & special)


def _contents(cell: CellType) -> Iterator[Any]:
    """What is in a cell, if anything is yet."""
    try:
        yield cell.cell_contents
    except ValueError:
        return
