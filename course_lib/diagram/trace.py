"""What a module does with one input: every call in it, and where its inputs come from.

The module is run, not read, so that whatever Python stands between its layers is
traced as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_lib.blocks import run_on_meta
from course_lib.diagram.ops import TIMES, is_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(eq=False)
class TracedCall:
    """One call, of a module or of a function."""

    #: What was called: a module, or a function by its name.
    target: nn.Module | str
    #: The module's name in the network.
    path: str = ""
    #: The calls by the same caller that made its inputs, or the caller itself for what
    #: that was given.
    sources: list[TracedCall] = field(default_factory=list)
    #: What it returned, without the batch.
    shape: tuple[int, ...] = ()
    #: What a module called.
    calls: list[TracedCall] = field(default_factory=list)
    #: Those among `calls` that made what it returned.
    outputs: list[TracedCall] = field(default_factory=list)
    #: False if data took a path past this record.
    followed: bool = True
    #: Who made a tensor, by its id, and its version then: a tensor that was changed in
    #: place since is another one.
    made: dict[int, tuple[TracedCall, int]] = field(default_factory=dict)


def trace(net: nn.Module, input_size: tuple[int, ...]) -> TracedCall:
    """Run `net` on two inputs of `input_size` on the meta device, in the mode that it
    is in, and record its call. `net` and the random state are left unchanged.

    Raises: ValueError if `net` cannot take such an input.
    """
    recorder = _Recorder(net)
    handles = []
    for module in net.modules():
        enter = module.register_forward_pre_hook(recorder.enter, with_kwargs=True)
        handles += [enter, module.register_forward_hook(recorder.leave)]
    try:
        # Two inputs, because batch normalization in training needs more than one value.
        with torch.random.fork_rng(devices=[]), torch.no_grad(), recorder:
            run_on_meta(net, (2, *input_size))
    except (IndexError, RuntimeError, TypeError) as error:
        name, size = type(net).__name__, TIMES.join(map(str, input_size))
        raise ValueError(
            f"{name} cannot take an input of size {size}: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return recorder.open[0].calls[0]


class _Recorder(TorchFunctionMode):
    """Records functions as torch calls them, and modules by their hooks."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.paths = {module: path for path, module in net.named_modules()}
        self.open = [TracedCall("")]
        self.known: dict[int, Tensor] = {}  # all that was made, so that ids stay unique

    def enter(self, module: nn.Module, args: object, kwargs: object) -> None:
        """A module was called."""
        call = TracedCall(module, self.paths[module], self._sources((args, kwargs)))
        self.open.append(call)
        self._remember(call, (args, kwargs))

    def leave(self, module: nn.Module, args: object, result: object) -> None:
        """It returns, which is worth a record unless it only returned its input."""
        call = self.open[-1]
        given = {id(value) for value in _tensors(args)}
        changed = any(id(value) not in given for value in _tensors(result))
        call.outputs = self._sources(result)
        self.open.pop()
        if is_layer(module) or call.calls or changed or len(self.open) == 1:
            self._add(call, result)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """A function was called; those in a layer are the layer's own business."""
        caller, name = self.open[-1].target, func.__name__
        within = isinstance(caller, nn.Module) and not is_layer(caller)
        if not within or name == "__get__":  # an attribute, like a shape
            return func(*args, **(kwargs or {}))
        call = TracedCall(name.strip("_"), sources=self._sources((args, kwargs)))
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):
            self._add(call, result)
        return result

    def _add(self, call: TracedCall, result: object) -> None:
        """`call` made `result` for the caller."""
        call.shape = next((tuple(value.shape[1:]) for value in _tensors(result)), ())
        self.open[-1].calls.append(call)
        self._remember(call, result)

    def _remember(self, maker: TracedCall, values: object) -> None:
        for value in _tensors(values):
            self.known[id(value)] = value
            self.open[-1].made[id(value)] = maker, value._version

    def _sources(self, values: object) -> list[TracedCall]:
        """Who made `values` for the caller. Parameters and the like have no maker."""
        sources = []
        for value in _tensors(values):
            maker, version = self.open[-1].made.get(id(value), (None, None))
            if maker is not None and version == value._version:
                sources.append(maker)
            elif id(value) in self.known:
                self._past(value)
        return sources

    def _past(self, value: Tensor) -> None:
        """`value` came past the open calls, up to the one that knew it."""
        for call in reversed(self.open):
            call.followed = False
            if id(value) in call.made:
                break


def _tensors(values: object) -> Iterator[Tensor]:
    """The tensors in tuples, lists and dictionaries of any depth."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)
