"""What a kernel runs first to have a GPU that is not there.

    PYTHONSTARTUP=proofs/pretend.py

PyTorch says that there is one. Tensors that are moved to it, and what comes of them,
say that they are there, and are computed on the processor all the same. Whoever mixes
both places, or makes an array of what is on the GPU, gets the error that a GPU would
give. So a notebook can be tried for what goes wrong on a GPU because of where things
are; rounding and memory are not in it.

Where a tensor is, its storage knows, so that views, gradients and what autograd has
saved need no care. Two modes see to it: `Asked` sees what Python says, such as `to` and
`numpy`; `Done` sees each operator, also those of a backward pass, and notes in `WAITS`
whatever makes the processor wait for the GPU. `Graph` stands for a CUDA graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

CARD = torch.device("cuda", 0)

#: The names of all that has waited for the card, or copied between it and the
#: processor, which waits as well.
WAITS: list[str] = []

#: What `torch.cuda.set_sync_debug_mode` was told.
_debug = ["default"]

_aten = torch.ops.aten
_MOVES = (Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type_as)
_PLAIN = (torch.device, torch._C._nn._parse_to)

#: Operators whose result has a size, or is a number, that the card has to tell.
_WAITING = {
    _aten._local_scalar_dense,  # item, bool, float, int
    _aten.nonzero,
    _aten.masked_select,
    _aten.equal,
    _aten._unique2,
    _aten.unique_consecutive,
    _aten.unique_dim,
    _aten.bincount,
    _aten.repeat_interleave,
}
#: Besides pointwise ones, operators that take a number from the processor.
_SCALARS = {_aten.fill, _aten.fill_, _aten.masked_fill, _aten.masked_fill_}
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}


def on_card(x: Any) -> bool:
    """Whether `x` is a tensor on the card."""
    return isinstance(x, Tensor) and getattr(_storage(x), "on_card", False)


def put(x: Any, card: bool) -> Any:
    """`x` itself; if it is a tensor, it says from now on where it is."""
    if isinstance(x, Tensor) and not (card and x.is_meta):
        _storage(x).on_card = card  # type: ignore[attr-defined]
    return x


def _storage(x: Tensor) -> object:
    """The storage of `x`; of the innermost, if it is one of a transform."""
    with torch._C.DisableTorchFunction():
        while is_functorch_wrapped_tensor(x):
            x = get_unwrapped(x)
        return x.untyped_storage() if x.layout == torch.strided else x


def is_card(place: Any) -> bool:
    """Whether an argument names the card."""
    if isinstance(place, str):
        return place.partition(":")[0] == "cuda"
    return isinstance(place, torch.device) and place.type == "cuda"


class Asked(TorchFunctionMode):
    """Sees every function of PyTorch that Python calls."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if func in _ANSWERS and (func in _MOVES or on_card(first)):
            return _ANSWERS[func](func, first, args[1:], kwargs)
        if func == Tensor.pin_memory:
            return _pinned(first)
        if func == Tensor.is_pinned:
            return getattr(_storage(first), "pinned", False)
        if func in _PLAIN:
            return func(*args, **kwargs)
        if kwargs.get("device") is None:
            return func(*map(_real, args), **kwargs)
        card = is_card(kwargs["device"])
        if card:
            _check_generator(kwargs.values())
            if func in (torch.tensor, torch.as_tensor, torch.asarray):
                _wait(func.__name__)
        return _settled(_computed(func, args, kwargs), (*args, *kwargs.values()), card)


class Done(TorchDispatchMode):
    """Sees every operator that is carried out."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        card = any(map(on_card, tensors))
        if func.overloadpacket == _aten.copy_:
            if on_card(args[0]) is not on_card(args[1]):
                _wait("copy_")
        elif card:
            _check(func, args, tensors)
            _check_generator((*args, *kwargs.values()))
        if Graph.recording:
            Graph.recording.keep(func, args)
        made = func(*args, **kwargs)
        if card and func.overloadpacket != _aten.copy_:
            for x in _tensors([made]):
                put(x, True)
        if Graph.recording:
            Graph.recording.done.append((func, args, kwargs, made))
        return made


def _check(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Note if the card is waited for.

    Raises: RuntimeError if what `func` is to work on is in both places.
    """
    packet = func.overloadpacket
    if packet in _WAITING:
        _wait(packet.__name__)
    if packet in _INDEXED and on_card(args[0]):
        indices = [*_tensors([args[1]])]
        if any(i.dtype in (torch.bool, torch.uint8) for i in indices):
            _wait("nonzero")
        if not all(map(on_card, indices)):
            _wait("an index on the processor")
        tensors = [x for x in tensors if not any(x is i for i in indices)]
    first = func._schema.arguments[0].alias_info if func._schema.arguments else None
    written = bool(first and first.is_write and isinstance(args[0], Tensor))
    number = packet in _SCALARS | _INDEXED or torch.Tag.pointwise in func.tags
    if (written and not on_card(args[0])) or any(
        not (on_card(x) or x.is_meta or (number and x.dim() == 0)) for x in tensors
    ):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but got both cuda:0 and"
            f" cpu, in {packet.__name__}"
        )


def _wait(name: str) -> None:
    if _debug == ["error"]:
        raise RuntimeError(f"called a synchronizing CUDA operation, {name}")
    if Graph.recording:
        raise RuntimeError(
            "CUDA error: operation not permitted when stream is capturing, in " + name
        )
    WAITS.append(name)


def _check_generator(values: Iterable[Any]) -> None:
    """A generator of the processor gives the card no numbers."""
    for value in values:
        if isinstance(value, torch.Generator) and not is_card(value.device):
            raise RuntimeError(
                "Expected a 'cuda' device type for generator but found 'cpu'"
            )


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


def _settled(made: Any, sources: Iterable[Any], card: bool) -> Any:
    """`made`, in this place; another tensor if one of `sources` is in the other."""
    if not isinstance(made, Tensor) or made.is_meta:
        return made
    if on_card(made) is not card and any(
        _storage(made) is _storage(x) for x in _tensors(sources)
    ):
        made = made.clone()
    return put(made, card)


def _moved(func: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor:
    """`x` in another place, which is then another tensor."""
    places = [y for y in (*args, *kwargs.values()) if isinstance(y, str | torch.device)]
    if func == Tensor.cpu:
        card = False
    elif func == Tensor.cuda:
        func, args, card = Tensor.cpu, (), True
    elif places:
        card = is_card(places[0])
    else:  # as another tensor, or only of another type
        card = on_card(next(_tensors((*args, *kwargs.values())), x))
    if on_card(x) is not card:
        quick = kwargs.get("non_blocking") and getattr(_storage(x), "pinned", False)
        if not quick:
            _wait("to")
    return _settled(_computed(func, (x, *args), kwargs), [x], card)


def _pinned(x: Tensor) -> Tensor:
    """A copy of `x` in memory that the card can read by itself."""
    if on_card(x):
        raise RuntimeError(
            "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"
        )
    copied = x.clone()
    _storage(copied).pinned = True  # type: ignore[attr-defined]
    return copied


def _array(func: Any, x: Tensor, _: Any, kwargs: Any) -> Any:
    if func == Tensor.numpy and kwargs.get("force"):
        return put(x.detach().clone(), False).numpy()
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the"
        " tensor to host memory first."
    )


def _listed(func: Any, x: Tensor, *_: Any) -> Any:
    _wait("tolist")
    return func(x)


def _grouped(lists: Any, with_indices: bool = False) -> Any:
    """What an optimizer works on together, which C++ finds by the real device."""
    found = _group_tensors_by_device_and_dtype(lists, with_indices)
    return {(made[0][0][0].device, kind): made for (_, kind), made in found.items()}


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


#: What is answered otherwise than by the processor: for all tensors, or for those on
#: the card.
_ANSWERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_MOVES, _moved),
    **dict.fromkeys((Tensor.numpy, Tensor.__array__, Tensor.__dlpack__), _array),
    Tensor.device.__get__: _always(CARD),  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: _always(True),  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: _always(False),  # type: ignore[attr-defined]
    Tensor.get_device: _always(0),
    Tensor.tolist: _listed,
    Tensor.__deepcopy__: lambda func, x, args, _: put(func(x, *args), True),
    Tensor.__repr__: lambda func, x, _, kwargs: (
        func(x, **kwargs)[:-1] + ", device='cuda:0')"
    ),
}


class Graph:
    """A CUDA graph: operators that are noted, and then replayed on the same memory,
    whatever Python has been told since. What noting them has written is taken back,
    since a GPU would not have carried them out.
    """

    recording: Graph | None = None

    def __init__(self) -> None:
        self.done: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(self, func: Any, args: Any) -> None:
        """Keep what an operator is about to write into."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            alias = argument.alias_info
            # What batch norm says of itself leaves out that it writes these.
            if argument.name.startswith("running_") or (alias and alias.is_write):
                for x in _tensors([value]):
                    if id(x) not in self.before:
                        self.before[id(x)] = x, x.detach().clone()

    def replay(self) -> None:
        """Carry all of it out, into the tensors that there were."""
        with _unseen():
            for func, args, kwargs, made in self.done:
                again = _tensors([func(*args, **kwargs)])
                for old, new in zip(_tensors([made]), again, strict=True):
                    if _storage(old) is not _storage(new):
                        old.copy_(new)


@contextlib.contextmanager
def capture(graph: Graph, **_: Any) -> Iterator[None]:
    """In place of `torch.cuda.graph`."""
    state, Graph.recording = torch.get_rng_state(), graph
    try:
        yield
    finally:
        Graph.recording = None
        with _unseen():
            for x, value in reversed(graph.before.values()):
                x.copy_(value)
        torch.set_rng_state(state)


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


class Stream:
    """A queue of the card, of which there is only one here."""

    def wait_stream(self, _: Stream) -> None:
        """Nothing is late here."""

    def is_capturing(self) -> bool:
        """Whether a graph is being recorded, which Adam asks."""
        return Graph.recording is not None


#: What stands for the names in `torch.cuda` that have to do with CUDA graphs.
GRAPHS: dict[str, Any] = {
    "CUDAGraph": Graph,
    "graph": capture,
    "graph_pool_handle": _always((0, 0)),
    "Stream": Stream,
    "current_stream": _always(Stream()),
    "stream": lambda _: contextlib.nullcontext(),
}


def pretend() -> None:
    """From now on, until Python ends, there is a GPU; it has no bfloat16."""
    cuda: Any = torch.cuda
    cuda.is_available = _always(True)
    cuda.device_count = _always(1)
    cuda.current_device = _always(0)
    cuda.get_device_name = _always("a pretended card")
    cuda.get_device_capability = _always((7, 5))
    cuda.synchronize = lambda *_: _wait("synchronize")
    cuda.manual_seed_all = _always(None)
    # A generator of the card draws the same numbers as that of the processor.
    cuda.get_rng_state = lambda *_: torch.get_rng_state()
    cuda.set_rng_state = lambda state, *_: torch.set_rng_state(state)
    cuda.is_current_stream_capturing = lambda: Graph.recording is not None
    cuda.set_sync_debug_mode = lambda mode: _debug.__setitem__(0, mode)
    for name, stand_in in GRAPHS.items():
        setattr(cuda, name, stand_in)
    accelerator: Any = torch.accelerator
    accelerator.current_stream = GRAPHS["current_stream"]
    accelerator.current_device_index = _always(0)
    accelerator.synchronize = cuda.synchronize
    grouped: Any = staticmethod(_grouped)
    torch.optim.Optimizer._group_tensors_by_device_and_dtype = grouped
    asked = Asked()
    engine = torch.autograd._engine_run_backward

    def watched(*args: Any, **kwargs: Any) -> Any:
        """Hooks of a backward pass are seen, too."""
        seen = asked in _get_current_function_mode_stack()
        with contextlib.nullcontext() if seen else asked:
            return engine(*args, **kwargs)

    torch.autograd._engine_run_backward = watched
    asked.__enter__()
    Done().__enter__()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    pretend()
