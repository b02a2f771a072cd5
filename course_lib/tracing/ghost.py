"""Tensors without values that behave as on a processor.

A ghost has a shape and memory of a size, as on PyTorch's meta device, and nothing is in
it. But it says that it is on the CPU, so that PyTorch chooses its kernels as there, for
attention, recurrent layers and under `torch.autocast`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

CPU, META = torch.device("cpu"), torch.device("meta")

#: Shapes, steps and types of the results of operations that make new tensors, by what
#: they were given: found once, as finding them takes longer than all else.
Results = dict[Any, tuple[bool, list[tuple[Any, ...] | None]]]


class DataDependentError(ValueError):
    """An operation without values whose result depends on them."""


class Ghost(Tensor):
    """A tensor without values. `meta` is the same on the meta device, with the same
    memory.
    """

    meta: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, meta: Tensor) -> Ghost:
        """The ghost of a tensor on the meta device."""
        ghost = Tensor._make_wrapper_subclass(
            cls,
            meta.shape,
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=CPU,
            storage_size=meta.untyped_storage().nbytes(),
        )
        ghost.meta = meta
        return ghost

    @classmethod
    def like(cls, tensor: Tensor) -> Ghost:
        """A ghost of the shape and type of `tensor`, and a parameter if that is one."""
        ghost = _new(tensor.shape, tensor.stride(), tensor.dtype)
        ghost._is_param = isinstance(tensor, torch.nn.Parameter)
        return ghost

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operation; usually a `Tracer` does that."""
        return compute(func, args, kwargs or {}, {})

    def tolist(self) -> Any:
        """Raises: DataDependentError."""
        raise DataDependentError("tolist")

    def numpy(self, *, force: bool = False) -> Any:
        """Raises: DataDependentError."""
        del force
        raise DataDependentError("numpy")

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        del tensor_contents
        return f"Ghost(shape={tuple(self.shape)}, dtype={self.dtype})"


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments or results of an operation, and in lists there."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


def compute(func: Any, args: Any, kwargs: Any, results: Results) -> Any:
    """Run an operation of which some tensors have no values. What is written to a
    tensor with values is lost.

    Raises: DataDependentError if the result depends on values, or is not known for any
        tensors without.
    """
    if func is torch.ops.prim.device.default:
        return CPU
    traits = _traits(func)
    if traits.in_place and _fits(args):
        return args[0]
    given: dict[int, Tensor] = {}
    plain = [_meta(value, given) for value in args]
    named = {name: _meta(value, given) for name, value in kwargs.items()}
    if named.get("device") is not None:
        named["device"] = META
    if not traits.new:
        made = _run(func, plain, named)
        if traits.moves:
            _follow(args[0])
        return _ghosts(made, given)
    key = _key(func, plain, named)
    if key not in results:
        made = _run(func, plain, named)
        several = isinstance(made, list | tuple)
        results[key] = (
            several,
            [
                each if each is None else (each.shape, each.stride(), each.dtype)
                for each in (made if several else [made])
            ],
        )
    several, layouts = results[key]
    new = [layout and _new(*layout) for layout in layouts]
    return tuple(new) if several else new[0]


def _new(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Ghost:
    return Ghost(torch.empty_strided(shape, stride, dtype=dtype, device=META))


class _Traits(NamedTuple):
    """What kind of operation it is."""

    #: It returns new tensors, whose layout depends on those of its arguments, and
    #: changes none.
    new: bool
    #: It changes its first argument, element by element.
    in_place: bool
    #: It gives its first argument another layout.
    moves: bool


@cache
def _traits(func: Any) -> _Traits:
    schema = func._schema
    aliases = any(value.alias_info for value in (*schema.arguments, *schema.returns))
    tensors = all(str(value.type) == "Tensor" for value in schema.returns)
    return _Traits(
        new=not aliases and tensors and bool(schema.returns) and func not in VALUES,
        in_place=torch.Tag.pointwise in func.tags
        and schema.name.endswith("_")
        and schema.is_mutable,
        moves=torch.Tag.inplace_view in func.tags,
    )


def _fits(args: Any) -> bool:
    """Whether a ghost can be changed by these tensors without a look at them."""
    first = args[0]
    return isinstance(first, Ghost) and all(
        isinstance(t, Ghost) and t.shape == first.shape and t.dtype == first.dtype
        for t in tensors_in(args)
    )


def _run(func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The results on the meta device."""
    if func in BY_HAND:
        return BY_HAND[func](*args, **kwargs)
    try:
        if func in VALUES:
            raise NotImplementedError
        return func(*args, **kwargs)
    except NotImplementedError as error:
        name = func._overloadpacket.__name__.strip("_")
        raise DataDependentError(
            "item" if name == "local_scalar_dense" else name
        ) from error


def _key(func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What the layout of a result depends on."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.shape, value.stride(), value.dtype
        if isinstance(value, list):
            return tuple(map(part, value))
        return value.__class__, value if isinstance(value, Hashable) else id(value)

    return func, part(args), *((name, part(kwargs[name])) for name in kwargs)


def _meta(value: Any, given: dict[int, Tensor]) -> Any:
    """A value with all tensors on the meta device; `given` is to find them again."""
    if isinstance(value, Tensor):
        meta = value.meta if isinstance(value, Ghost) else value.to(META)
        given[id(meta)] = value
        return meta
    if isinstance(value, list | tuple):
        return [_meta(item, given) for item in value]
    return value


def _follow(ghost: Tensor) -> None:
    """Lay a ghost out as its other self is laid out now."""
    if isinstance(ghost, Ghost):
        meta = ghost.meta
        with torch._C._DisableTorchDispatch():
            torch.ops.aten.as_strided_.default(
                ghost, meta.shape, meta.stride(), meta.storage_offset()
            )


def _ghosts(made: Any, given: dict[int, Tensor]) -> Any:
    """Results as ghosts, and what was changed in place as what it was."""
    if isinstance(made, Tensor):
        return given[id(made)] if id(made) in given else Ghost(made)
    if isinstance(made, list | tuple):
        return type(made)(_ghosts(item, given) for item in made)
    return made


def _batch_norm(x: Tensor, *more: Any) -> tuple[Tensor, Tensor, Tensor]:
    """As torch's own, which takes half of a run to find the shapes."""
    mean, std = x.new_empty((2, x.shape[1] if more[4] else 0))
    y = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)
    return y, mean, std


def _recurrent(*args: Any) -> tuple[Tensor | None, ...]:
    """With the workspace that oneDNN really takes, which only it knows."""
    kernel = torch.ops.aten.mkldnn_rnn_layer.default
    x, weight = args[:2]
    if weight.numel() * x.numel() // x.shape[-1] > MOST:
        raise DataDependentError("mkldnn_rnn_layer")
    zeros = [
        torch.zeros(value.shape, dtype=value.dtype)
        if isinstance(value, Tensor)
        else value
        for value in args
    ]
    return tuple(made if made is None else made.to(META) for made in kernel(*zeros))


#: Products of a recurrent layer up to which it is run to measure its workspace.
MOST = 10**9

#: Operations whose results torch finds slowly, or not as they are.
BY_HAND = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.mkldnn_rnn_layer.default: _recurrent,
}

#: Operations that return a value.
VALUES = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default}
