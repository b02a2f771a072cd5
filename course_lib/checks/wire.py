"""What passes between the judge and the process in which an answer runs: only data.

Nothing that an answer returns is taken for what it says it is: subclasses become what
they are made of, iterators become lists, and what is no data arrives as an `Opaque`,
which has a kind and a text. Bytes can make nothing in the judge but numbers, strings,
containers, tensors, and modules of `torch.nn` and of this library.
"""

from __future__ import annotations

import importlib
import io
import itertools
import json
import pickle
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, KeysView, Sequence, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

#: A request to the judge, or its reply: the lengths of its JSON and bytes, then both.
HEAD = struct.Struct("!QQ")

#: Bytes of tensors that one message may have.
LARGEST = 2**30

#: What iterators yield at most.
LONGEST = 100_000

#: Modules whose classes may be made in the judge, if they are an `nn.Module`.
KNOWN = ("torch.nn.modules.", "course_lib.")

#: What a module has whatever its class is, in its ``__dict__``.
EVERY = frozenset(vars(nn.Module()))

#: What is called in the judge to make data.
OURS = ("_made", "_parameter", "_same", "Opaque", "Held")

#: What is data as it is, exactly of these types.
PLAIN = (bool, int, float, str, type(None))


class TooLarge(Exception):  # noqa: N818, it says what is wrong with an answer
    """More than `LARGEST` bytes of tensors."""


@dataclass(frozen=True)
class Opaque:
    """Something that is no data."""

    #: The name of its class.
    kind: str
    #: What it says of itself, cut off.
    text: str


@dataclass(frozen=True)
class Held:
    """A module that stays where the answer runs, since it has code of the answer's."""

    #: By which the other process knows it.
    number: int
    #: Each module in it: its path, the path where it comes first, the name of its
    #: class, and its mode.
    modules: list[tuple[str, str, str, bool]]
    #: Paths of the parameters, of which some may be one and the same.
    parameters: list[tuple[str, Any]]
    #: Paths of the buffers, and whether they are in the state.
    buffers: list[tuple[str, Any, bool]]
    #: Whether some parameters have no shape before the first input.
    lazy: bool


def dumps(
    value: Any, hold: Callable[[nn.Module], Held] | None = None, *, stay: bool = False
) -> bytes:
    """`value` as bytes; `hold` says what arrives for modules with code of their own,
    and for all that `stay`, to be watched when they run.

    Raises: TooLarge if its tensors have more than `LARGEST` bytes, and whatever the
        iterators in it raise.
    """
    target = io.BytesIO()
    _DataPickler(target, hold, stay=stay).dump(value)
    return target.getvalue()


def loads(data: bytes) -> Any:
    """What `dumps` was given.

    Raises: pickle.UnpicklingError if it is something else.
    """
    return _DataUnpickler(io.BytesIO(data)).load()


def text_of(value: Any, longest: int = 200) -> str:
    """What a value says of itself, cut off; objects may raise there."""
    try:
        text = value if type(value) is str else str.__str__(repr(value))
    except BaseException as error:  # whatever it does, we do not
        return f"an object whose text raises {type(error).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of the text of an error, cut off; some raise there."""
    try:
        lines = str.__str__(str(error)).strip().splitlines()
    except BaseException as other:  # so it is with some
        return f"(its text raises {type(other).__name__})"
    return text_of(lines[0]) if lines else ""


class _DataPickler(pickle.Pickler):
    """A pickler of data."""

    def __init__(
        self,
        target: io.BytesIO,
        hold: Callable[[nn.Module], Held] | None,
        *,
        stay: bool,
    ) -> None:
        super().__init__(target, protocol=5)
        self.hold = hold
        self.stay = stay
        self.left = LARGEST

    def reducer_override(self, value: Any) -> Any:
        """How something is made again that is no plain number, string or container."""
        if type(value) in (Opaque, Held, OrderedDict) or _is_ours(value):
            return NotImplemented
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            if self.hold is None or (not self.stay and is_known(value)):
                return NotImplemented
            return _same, (self.hold(value),)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return self._tensor(torch.from_numpy(_native(value)))
        made = _plain(value)
        return (_same, (made,)) if made is not value else self._opaque(value)

    def _tensor(self, value: Tensor) -> Any:
        """The bytes of a tensor, wherever and however it was stored."""
        with torch.no_grad(), torch._C.DisableTorchFunction():
            needs = bool(Tensor.requires_grad.__get__(value))  # type: ignore[attr-defined]
            parameter = type(value) is nn.Parameter
            if nn.parameter.is_lazy(value) or value.is_meta:
                return self._opaque(value)
            plain = Tensor.detach(value)
            if plain.is_quantized:
                plain = plain.dequantize()
            if plain.layout != torch.strided:
                plain = plain.to_dense()
            plain = plain.as_subclass(Tensor).cpu()
            self.left -= plain.numel() * plain.element_size()
            if self.left < 0:
                gigabytes = (LARGEST - self.left) / 2**30
                raise TooLarge(f"what it returns takes {gigabytes:.1f} GiB")
            plain = plain.resolve_conj().resolve_neg().contiguous()
            data = b""  # an empty tensor may have strides that no view can take
            if plain.numel():
                data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
        dtype = str(plain.dtype).removeprefix("torch.")
        if not parameter:
            return _made, (dtype, tuple(plain.shape), data, needs)
        return _parameter, (dtype, tuple(plain.shape), data, needs, value.grad)

    def _opaque(self, value: Any) -> Any:
        return Opaque, (str(type(value).__name__), text_of(value))


def _plain(value: Any) -> Any:
    """The data that something is, without its class; itself if it is none."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {"b": bool, "f": float}.get(value.dtype.kind, int)(value)
    for base, own in OWN.items():
        if isinstance(value, base):
            return own(value)
    if isinstance(value, Fraction | Decimal):
        return float(value)
    if isinstance(value, Iterator | range | deque | KeysView | ValuesView):
        return list(itertools.islice(value, LONGEST))
    return value


#: What objects of subclasses are made of, whatever their own methods say.
OWN: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
}


def _native(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of this machine's byte order, of a type that PyTorch has, too."""
    size = min(value.dtype.itemsize, 16 if value.dtype.kind == "c" else 8)
    return np.array(value, dtype=f"{value.dtype.kind}{size}")


def is_known(module: nn.Module) -> bool:
    """Whether a module has nothing that `torch.nn` or this library does not have: no
    code of its own, in classes, hooks or attributes.
    """
    return all(_has_no_code(each) for each in module.modules())


def _has_no_code(module: nn.Module) -> bool:
    kind = type(module)
    if not kind.__module__.startswith(KNOWN):
        return False
    if getattr(importlib.import_module(kind.__module__), kind.__name__, None) != kind:
        return False
    own = vars(module)
    hooks = any(own[name] for name in own if name.endswith("_hooks"))
    extra = (own[name] for name in own.keys() - EVERY)
    plain = all(map(_is_plain_parameter, module.parameters(recurse=False)))
    return not hooks and plain and all(map(_is_plain, extra))


def _is_plain_parameter(value: Tensor) -> bool:
    hooks = value._backward_hooks or value._post_accumulate_grad_hooks
    return type(value) is nn.Parameter and not hooks


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list, set):
        return all(map(_is_plain, value))
    return type(value) in PLAIN


def _is_ours(value: Any) -> bool:
    """Whether it is what messages are made with: see `_DataUnpickler`."""
    if isinstance(value, type) and issubclass(value, nn.Module):
        return value.__module__.startswith(KNOWN)
    return value is OrderedDict or any(value is globals()[name] for name in OURS)


class _DataUnpickler(pickle.Unpickler):
    """It finds what `_DataPickler` writes, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class or function by its name, if it is one of those."""
        if module == __name__ and name in OURS:
            return globals()[name]
        if (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if module.startswith(KNOWN):
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, nn.Module):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no data")


def _same(value: Any) -> Any:
    return value


def _made(dtype: str, shape: Sequence[int], data: bytes, needs: bool) -> Tensor:
    """A tensor of its own, made of bytes."""
    kind: torch.dtype = getattr(torch, dtype)
    if data:
        made = torch.frombuffer(bytearray(data), dtype=kind).reshape(tuple(shape))
    else:
        made = torch.empty(tuple(shape), dtype=kind)
    return made.requires_grad_(needs)


def _parameter(
    dtype: str, shape: Sequence[int], data: bytes, needs: bool, grad: Tensor | None
) -> nn.Parameter:
    made = nn.Parameter(_made(dtype, shape, data, False), requires_grad=needs)
    made.grad = grad
    return made


def send(stream: BinaryIO, header: dict[str, Any], data: bytes = b"") -> None:
    """Write a message."""
    text = json.dumps(header).encode()
    stream.write(HEAD.pack(len(text), len(data)) + text + data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read a message; None if there is none, nor will be."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    lengths = HEAD.unpack(head)
    text, data = (stream.read(length) for length in lengths)
    return (json.loads(text), data) if len(data) == lengths[1] else None
