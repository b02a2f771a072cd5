"""What a kernel runs first to have a GPU that is not there.

    PYTHONSTARTUP=proofs/pretend.py

PyTorch says that there is one. Tensors that are moved to it, and what comes of them,
say that they are there, and are computed on the processor all the same. Whoever mixes
both places, or makes an array of what is on the GPU, gets the error that a GPU would
give. So a notebook can be tried for what goes wrong on a GPU because of where things
are; rounding and memory are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode

CARD = torch.device("cuda", 0)

_MOVES = (Tensor.to, Tensor.cpu, Tensor.cuda)
_ARRAYS = (Tensor.numpy, Tensor.__array__)
_HOOKS = (Tensor.register_hook, Tensor.register_post_accumulate_grad_hook)
_INDEXED = (Tensor.__getitem__, Tensor.__setitem__)
_PLAIN = (
    torch.device,
    torch._C._nn._parse_to,
    torch._has_compatible_shallow_copy_type,
)


def on_card(x: Any) -> bool:
    """Whether `x` is a tensor on the card."""
    return isinstance(x, Tensor) and any(
        getattr(level, "_on_card", False) for level in _levels(x)
    )


def put(x: Any, card: bool) -> Any:
    """`x` itself; if it is a tensor, it says from now on where it is."""
    if isinstance(x, Tensor) and card is not on_card(x):
        for level in _levels(x):
            level._on_card = card
    return x


def _levels(x: Tensor) -> Iterator[Tensor]:
    """`x`, and the tensors in it if it is one of a transform of `torch.func`."""
    yield x
    while is_functorch_wrapped_tensor(x):
        yield (x := get_unwrapped(x))


def is_card(place: Any) -> bool:
    """Whether an argument names the card."""
    if isinstance(place, str):
        return place.partition(":")[0] == "cuda"
    return isinstance(place, torch.device) and place.type == "cuda"


class Pretend(TorchFunctionMode):
    """Sees every function of PyTorch that is called."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if func == Tensor.device.__get__:
            return CARD if on_card(first) else func(first)
        if func == Tensor.is_cuda.__get__:
            return on_card(first)
        if func in _MOVES:
            return _moved(func, first, args[1:], kwargs)
        if func in _ARRAYS and on_card(first):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to"
                " copy the tensor to host memory first."
            )
        if func in _HOOKS:
            return func(first, self._watched(args[1], on_card(first)))
        if func in _PLAIN:
            return func(*args, **kwargs)
        if func == Tensor.__repr__ and on_card(first):
            return func(first, **kwargs)[:-1] + ", device='cuda:0')"
        card = _place(func, args, kwargs)
        if kwargs.get("device") is not None:
            card = is_card(kwargs["device"])
        made = _computed(func, args, kwargs)
        if func == Tensor.data.__set__:
            put(first, on_card(args[1]))
        for x in _tensors([made]) if card else ():
            put(x, True)
        return made

    def _watched(self, hook: Any, card: bool) -> Any:
        """`hook`, seen too: what runs within a function of PyTorch, such as `backward`,
        is not seen otherwise.
        """

        def run(x: Tensor) -> Any:
            with self:
                return hook(put(x, card or on_card(x)))

        return run


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among `values`, and in their lists."""
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """What `func` makes of these on the processor, whichever place they name."""
    kwargs = {key: _real(value) for key, value in kwargs.items()}
    return func(*map(_real, args), **kwargs)


def _real(x: Any) -> Any:
    return "cpu" if is_card(x) else x


def _place(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether what is done is done on the card.

    Raises: RuntimeError if its tensors are in both places.
    """
    if func in (Tensor.data.__set__, Tensor.copy_):
        return on_card(args[0])
    if func in _INDEXED and on_card(args[0]):
        return True  # an index may be anywhere
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    here = [x for x in tensors if not on_card(x) and x.dim() and not x.is_meta]
    there = [x for x in tensors if on_card(x)]
    if here and there:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but got both cuda:0 and"
            f" cpu, in {func.__name__}"
        )
    return bool(there)


def _moved(func: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor:
    """`x` in another place, which is then another tensor."""
    places = [y for y in (*args, *kwargs.values()) if isinstance(y, str | torch.device)]
    if func == Tensor.cpu:
        card = False
    elif func == Tensor.cuda:
        func, card = Tensor.cpu, True
    elif places:
        card = is_card(places[0])
    else:
        card = any(on_card(y) for y in (x, *args))
    made = _computed(func, (x, *args), kwargs)
    if made is x and card is not on_card(x):
        made = x.clone()
    return put(made, card)


def _parameter(make: Any) -> Any:
    def made(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        return put(make(cls, data, requires_grad), on_card(data))

    return made


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def pretend() -> None:
    """From now on, until Python ends, there is a GPU; it has no bfloat16."""
    torch.cuda.is_available = _always(True)
    torch.cuda.device_count = _always(1)
    torch.cuda.current_device = _always(0)
    torch.cuda.get_device_name = _always("a pretended card")
    torch.cuda.get_device_capability = _always((7, 5))
    torch.cuda.synchronize = _always(None)
    torch.cuda.manual_seed_all = _always(None)
    nn.Parameter.__new__ = _parameter(nn.Parameter.__new__)
    Pretend().__enter__()


if __name__ == "__main__":
    pretend()
