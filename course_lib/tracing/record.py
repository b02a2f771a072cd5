"""What a module did in one run: the calls of modules and functions in it, and the
operations that PyTorch carried out for them, in the order in which they ran.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


class View(NamedTuple):
    """A part of memory, as a tensor shows it."""

    #: A number for the memory.
    storage: int
    #: Where it begins, in elements.
    offset: int
    #: The shape of the tensor.
    shape: tuple[int, ...]
    #: The steps from one element to the next, along each dimension.
    stride: tuple[int, ...]
    #: The size of the memory, in bytes.
    nbytes: int


class Value(NamedTuple):
    """A tensor that a module or a function took or returned."""

    #: A number for the tensor.
    tensor: int
    #: How often it has been written to.
    version: int
    #: What it shows.
    view: View

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.view.shape


@dataclass(eq=False, slots=True)
class Operation:
    """One operation of PyTorch's dispatcher."""

    #: The operation.
    func: Any
    #: What it was given by position, with a `View` for each tensor.
    args: tuple[Any, ...]
    #: The tensors among all its arguments.
    given: list[View]
    #: The tensors that it made or changed.
    made: list[View]
    #: Multiply-accumulates; None if that is not known.
    macs: int | None


@dataclass(eq=False, slots=True)
class FunctionCall:
    """One call of a function or a method of tensors."""

    #: Its name.
    name: str
    #: The tensors that it was given.
    given: list[Value]
    #: Those that it returned.
    made: list[Value] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class ModuleCall:
    """One call of a module."""

    #: The module, or rather the copy that ran.
    module: nn.Module
    #: Its name in the network, "" for the network.
    path: str
    #: The tensors that it was given.
    given: list[Value] = field(default_factory=list)
    #: Those that it returned; what they were in, its output may say.
    made: list[Value] = field(default_factory=list)
    #: What it did, in order.
    events: list[ModuleCall | FunctionCall | Operation] = field(default_factory=list)
    #: Whether it returned.
    returned: bool = False

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.module).__name__


class Saved(NamedTuple):
    """Memory that autograd saved for the backward pass."""

    #: Its size, in bytes.
    nbytes: int
    #: Who saved it first.
    call: ModuleCall


@dataclass(eq=False)
class Trace:
    """The record of one run."""

    #: The call of the network.
    root: ModuleCall
    #: The names of parameters and buffers, by their memory.
    names: dict[int, str] = field(default_factory=dict)
    #: The memory of the inputs.
    inputs: set[int] = field(default_factory=set)
    #: What was saved for backward, by its memory.
    saved: dict[int, Saved] = field(default_factory=dict)
    #: Memory that a kernel takes for itself, in whole pages.
    workspaces: set[int] = field(default_factory=set)
    #: Whether tensors had values, on which its path may depend.
    values: bool = False
    #: Whether it drew random numbers that are real, on which its path may depend.
    chance: bool = False

    @property
    def saved_bytes(self) -> int:
        """What was saved for backward, but inputs, parameters, buffers and workspaces,
        in bytes.
        """
        other = {*self.names, *self.inputs, *self.workspaces}
        return sum(n for key, (n, _) in self.saved.items() if key not in other)

    def calls(self) -> Iterator[ModuleCall]:
        """The calls of all modules, in the order in which they began."""
        waiting = [self.root]
        while waiting:
            call = waiting.pop()
            yield call
            inner = [event for event in call.events if isinstance(event, ModuleCall)]
            waiting += reversed(inner)


def view_of(tensor: Tensor) -> View:
    """Where the elements of `tensor` are."""
    place: View | None = getattr(tensor, "place", None)
    if place is not None:  # of a tensor without values
        return place
    try:
        if tensor.is_nested:
            raise RuntimeError
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        kind = f"tensor of layout {tensor.layout}"
        if tensor.is_nested:
            kind = "nested tensor"
        raise ValueError(f"a {kind} cannot be followed; give a dense one") from None
    return View(
        storage._cdata,
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tensor.stride(),
        storage.nbytes(),
    )


def modules_in(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As `net.named_modules()`, in a third of the time."""
    seen: set[nn.Module] = set()
    waiting = [("", net)]
    while waiting:
        path, module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        yield path, module
        start = f"{path}." if path else ""
        for name, inner in reversed(module._modules.items()):
            if inner is not None:
                waiting.append((start + name, inner))


def tensors_of(values: Any) -> list[Tensor]:
    """All tensors in `values`, whatever they are in: sequences, mappings, dataclasses
    and objects with attributes.
    """
    if isinstance(values, Tensor):
        return [values]
    if values.__class__ is tuple and all(isinstance(v, Tensor) for v in values):
        return list(values)
    found: list[Tensor] = []
    _look(values, found, set(), 0)
    return found


def _look(value: Any, found: list[Tensor], seen: set[int], depth: int) -> None:
    """Add the tensors in `value`, which may refer to itself."""
    if isinstance(value, Tensor):
        found.append(value)
    elif id(value) not in seen and depth < 9:
        seen.add(id(value))
        for part in _parts(value):
            _look(part, found, seen, depth + 1)


def _parts(value: Any) -> Any:
    """What is in `value`."""
    if isinstance(value, list | tuple):
        return value
    if value is None or isinstance(value, int | float | str | bytes | nn.Module | type):
        return ()
    if hasattr(value, "values") and hasattr(value, "keys"):
        return value.values()
    if isinstance(value, set | frozenset):
        return value
    if is_dataclass(value):
        return [getattr(value, each.name, None) for each in fields(value)]
    slots = (getattr(value, name, None) for name in getattr(value, "__slots__", ()))
    return [*slots, *getattr(value, "__dict__", {}).values()]
