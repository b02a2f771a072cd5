"""Tensors without values that behave as on a processor.

A ghost has a shape and memory of a size, as on PyTorch's meta device, and nothing is in
it. But it says that it is on the CPU, so that PyTorch chooses its kernels as there, for
attention, recurrent layers and under `torch.autocast`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from course_lib.tracing.macs import macs_of
from course_lib.tracing.record import View, view_of

CPU, META = torch.device("cpu"), torch.device("meta")

#: Shape, steps and type of a tensor.
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]

#: What is known of the operations that make new tensors, by what they were given: found
#: once, as finding it takes longer than all else.
Results = dict[Any, "_Result"]

#: Numbers of ghosts, which no address in memory equals.
NUMBERS = count(-1, -1)


class DataDependentError(ValueError):
    """An operation without values whose result depends on them."""

    #: The last one, as who raised it may have been stopped by others.
    last: ClassVar[DataDependentError | None] = None

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        DataDependentError.last = self


class Ghost(Tensor):
    """A tensor without values."""

    #: Its own number.
    number: int
    #: Where its elements would be.
    place: View
    #: How they would be laid out.
    form: Layout
    #: The same on the meta device, once it was asked for.
    _meta: Tensor | None = None
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, place: View, dtype: torch.dtype) -> Ghost:
        """The ghost of a tensor at `place`."""
        ghost = Tensor._make_wrapper_subclass(
            cls,
            place.shape,
            strides=place.stride,
            storage_offset=place.offset,
            dtype=dtype,
            device=CPU,
            storage_size=place.nbytes,
        )
        ghost.number, ghost.place = next(NUMBERS), place
        ghost.form = place.shape, place.stride, dtype
        return ghost

    @classmethod
    def of(cls, meta: Tensor, storage: int | None = None) -> Ghost:
        """The ghost of a tensor on the meta device, in memory called `storage`."""
        number = next(NUMBERS) if storage is None else storage
        ghost = cls(view_of(meta)._replace(storage=number), meta.dtype)
        ghost._meta = meta
        return ghost

    @classmethod
    def like(cls, tensor: Tensor) -> Ghost:
        """A ghost of the shape and type of `tensor`, and a parameter if that is one."""
        ghost = _new(tuple(tensor.shape), tensor.stride(), tensor.dtype)
        ghost._is_param = isinstance(tensor, torch.nn.Parameter)
        return ghost

    @property
    def meta(self) -> Tensor:
        """The same on the meta device."""
        if self._meta is None:
            shape, stride, dtype = self.form
            self._meta = torch.empty_strided(shape, stride, dtype=dtype, device=META)
        return self._meta

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operation; usually a `Tracer` does that."""
        return compute(func, args, kwargs or {}, {})[0]

    def tolist(self) -> Any:
        """Raises: DataDependentError."""
        raise DataDependentError("tolist")

    def numpy(self, *, force: bool = False) -> Any:
        """Raises: DataDependentError."""
        del force
        raise DataDependentError("numpy")

    def data_ptr(self) -> int:
        """Raises: DataDependentError: there is no memory, and none to compare."""
        raise DataDependentError("data_ptr")

    def as_subclass(self, cls: Any) -> Any:
        """Raises: DataDependentError: it is of one class."""
        del cls
        raise DataDependentError("as_subclass")

    def __deepcopy__(self, memo: dict[int, Any]) -> Ghost:
        """Another ghost like it."""
        new: Any = self.detach().clone()
        new._is_param = isinstance(self, torch.nn.Parameter)
        memo[id(self)] = new.requires_grad_(self.requires_grad)
        return new

    def __format__(self, format_spec: str) -> str:
        """Raises: DataDependentError for a format of numbers."""
        if format_spec:
            raise DataDependentError("item")
        return repr(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        del tensor_contents
        return f"Ghost(shape={self.place.shape}, dtype={self.dtype})"


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments or results of an operation, and in lists there."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


def compute(
    func: Any, args: Any, kwargs: Any, results: Results
) -> tuple[Any, int | None]:
    """Run an operation of which some tensors have no values: what it returns, and its
    multiply-accumulates. What is written to a tensor with values is lost.

    Raises: DataDependentError if the result depends on values, or is not known for any
        tensors without.
    """
    if func is torch.ops.aten._pack_padded_sequence.default:
        return _packed(*args), None
    traits = _traits(func)
    if traits.in_place and _fits(args):
        return args[0], None
    if not traits.new:
        given: dict[int, Tensor] = {}
        made = _run(func, args, kwargs, given)
        if traits.moves:
            _follow(args[0])
        ghosts = _ghosts(made, given)
        return ghosts, macs_of(func, args, kwargs, ghosts)
    key = func, _key(args), _key(kwargs.items())
    result = results.get(key)
    if result is None:
        made = _run(func, args, kwargs, {})
        several = isinstance(made, list | tuple)
        layouts = [
            each if each is None else (tuple(each.shape), each.stride(), each.dtype)
            for each in (made if several else [made])
        ]
        macs = macs_of(func, args, kwargs, made)
        result = results[key] = _Result(layouts, macs, several)
    new = [layout and _new(*layout) for layout in result.layouts]
    return tuple(new) if result.several else new[0], result.macs


class _Result(NamedTuple):
    """What an operation makes."""

    #: The layouts of its results; None where there is none.
    layouts: list[Layout | None]
    #: Its multiply-accumulates; None if they are not known.
    macs: int | None
    #: Whether it returns several tensors.
    several: bool


def _new(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Ghost:
    """A ghost in memory of its own."""
    last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    nbytes = 0 if 0 in shape else (last + 1) * dtype.itemsize
    return Ghost(View(next(NUMBERS), 0, shape, stride, nbytes), dtype)


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
        isinstance(t, Ghost)
        and t.form[0] == first.form[0]
        and t.form[2] is first.form[2]
        for t in tensors_in(args)
    )


def _run(func: Any, args: Any, kwargs: Any, given: dict[int, Tensor]) -> Any:
    """The results on the meta device; `given` gets the tensors that they may be."""
    plain = [_on_meta(value, given) for value in args]
    named = {name: _on_meta(value, given) for name, value in kwargs.items()}
    if named.get("device") is not None:
        named["device"] = META
    if func in BY_HAND:
        by_hand: Any = BY_HAND[func]
        return by_hand(*plain, **named)
    try:
        if func in VALUES:
            raise NotImplementedError
        return func(*plain, **named)
    except (NotImplementedError, RuntimeError) as error:
        if type(error) is RuntimeError and "data-dependent" not in str(error):
            raise
        name = func._overloadpacket.__name__.strip("_")
        raise DataDependentError(
            "item" if name == "local_scalar_dense" else name
        ) from error


def _key(values: Iterable[Any]) -> tuple[Any, ...]:
    """What the layout of a result depends on; a number is not the same as another of
    its size.
    """
    return tuple(
        [
            value.form
            if value.__class__ is Ghost
            else (value.shape, value.stride(), value.dtype)
            if isinstance(value, Tensor)
            else _key(value)
            if value.__class__ in (list, tuple)
            else (value.__class__, value)
            for value in values
        ]
    )


def _on_meta(value: Any, given: dict[int, Tensor]) -> Any:
    """A value with all tensors on the meta device; `given` is to find them again."""
    if isinstance(value, Tensor):
        meta = value.meta if isinstance(value, Ghost) else value.to(META)
        given[id(meta)] = value
        return meta
    if isinstance(value, list | tuple):
        return [_on_meta(item, given) for item in value]
    return value


def _follow(ghost: Tensor) -> None:
    """Lay a ghost out as its other self is laid out now."""
    if isinstance(ghost, Ghost):
        view = view_of(ghost.meta)._replace(storage=ghost.place.storage)
        ghost.place, ghost.form = view, (view.shape, view.stride, ghost.form[2])
        with torch._C._DisableTorchDispatch():
            torch.ops.aten.as_strided_.default(
                ghost, view.shape, view.stride, view.offset
            )


def _ghosts(made: Any, given: dict[int, Tensor]) -> Any:
    """Results as ghosts, and what was changed in place as what it was."""
    if isinstance(made, Tensor):
        if id(made) in given:
            return given[id(made)]
        memory = made.untyped_storage()._cdata
        owners = (
            view_of(tensor).storage
            for tensor in given.values()
            if isinstance(tensor, Ghost)
            and tensor.meta.untyped_storage()._cdata == memory
        )
        return Ghost.of(made, next(owners, None))
    if isinstance(made, list | tuple):
        return type(made)(_ghosts(item, given) for item in made)
    return made


def _batch_norm(x: Tensor, *more: Any) -> tuple[Tensor, Tensor, Tensor]:
    """As torch's own, which takes half of a run to find the shapes."""
    mean, std = x.new_empty((2, x.shape[1] if more[4] else 0))
    y = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)
    return y, mean, std


def _convolution(x: Tensor, weight: Tensor, bias: Any, *more: Any) -> Tensor:
    """Laid out as the processor's kernel does it, which torch knows on the meta device
    for none.
    """
    y = torch.ops.aten.convolution.default(x, weight, bias, *more)
    if x.dim() < 4 or x.stride(-1) == weight.stride(-1) == 1:
        return y  # channels are last in neither
    names = "stride", "padding", "dilation", "transposed", "output_padding", "groups"
    given = Ghost.of(x), Ghost.of(weight)
    options = {**dict(zip(names, more, strict=True)), "bias": None, "bias_sizes": None}
    kernel = torch._C._select_conv_backend(*given, **options)
    layout = torch._C._conv_determine_backend_memory_format(*given, kernel)
    return y.to(memory_format=layout)


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


def _packed(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Sequences by steps, and how many there are at each, which are numbers."""
    if isinstance(lengths, Ghost):
        raise DataDependentError("pack_padded_sequence")
    zeros = torch.zeros(x.shape, dtype=x.dtype)
    pack = torch.ops.aten._pack_padded_sequence.default
    data, sizes = pack(zeros, lengths, batch_first)
    return _new(tuple(data.shape), data.stride(), x.dtype), sizes


def _embedding_bag(*args: Any) -> tuple[Tensor, ...]:
    """With the indices that a processor's kernel keeps: not those of a GPU's."""
    defaults = (None, None, None, False, 0, False, None, False, -1)
    given: Any = (*args, *defaults[len(args) :])
    weight, indices, offsets, _, mode, _, _, last, padding = given
    bags, width = len(offsets) - bool(last), weight.shape[1]
    fast = mode == 0 and padding < 0
    shapes = (0 if fast else len(indices),), (bags,), (bags, width)[: 1 + (mode == 2)]
    return weight.new_empty((bags, width)), *map(offsets.new_empty, shapes)


#: Products of a recurrent layer up to which it is run to measure its workspace.
MOST = 10**9

#: Operations whose results torch finds slowly, or not as they are.
BY_HAND = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.mkldnn_rnn_layer.default: _recurrent,
    torch.ops.aten._embedding_bag.default: _embedding_bag,
    torch.ops.aten._embedding_bag_forward_only.default: _embedding_bag,
}

#: Operations that return a value.
VALUES = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default}
