"""Modules that an answer made and that have code of its own: they run where the answer
does, and the judge handles them like any other.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from course_lib.checks.wire import Held


class Asks(Protocol):
    """The way to the process of an answer."""

    def ask(self, verb: str, *data: Any) -> Any:
        """What came of it there."""


class Remote(nn.Module):
    """A module that is elsewhere, with parameters and buffers that are here: they go
    there with each input, and gradients come back.
    """

    def __init__(self, asks: Asks, held: Held, path: str = "") -> None:
        super().__init__()
        self._asks = asks
        self._held = held
        self._path = path
        self._root: list[Remote] = [self]  # in a list: it is no part of itself

    @classmethod
    def of(cls, asks: Asks, held: Held) -> Remote:
        """The modules of a message, with their parameters and buffers."""
        (*_, training), *inside = held.modules
        root = cls(asks, held).train(training)
        for path, first, _, mode in inside:
            parent, _, name = path.rpartition(".")
            child: Any = (
                cls(asks, held, path) if path == first else root.get_submodule(first)
            )
            child.training = mode
            child._root = [root]
            root.get_submodule(parent).add_module(name, child)
        for path, value in held.parameters:
            parent, _, name = path.rpartition(".")
            if isinstance(value, nn.Parameter):
                root.get_submodule(parent).register_parameter(name, value)
        for path, value, saved in held.buffers:
            parent, _, name = path.rpartition(".")
            if isinstance(value, Tensor):
                owner = root.get_submodule(parent)
                owner.register_buffer(name, value, persistent=saved)
        return root

    @property
    def kind(self) -> str:
        """The name of its class."""
        return next(each[2] for each in self._held.modules if each[0] == self._path)

    def settled(self, *inputs: Any) -> nn.Module:
        """It, once it has seen inputs if its parameters have no shapes before."""
        if not self._held.lazy:
            return self
        made: nn.Module = self._asks.ask("settle", self._held.number, inputs)
        return made

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> nn.Module:
        return list(self.children())[index]

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        root = self._root[0]
        asks = root._asks
        number = asks.ask("copy", root._held.number)
        made = Remote.of(asks, copy.deepcopy(replace(root._held, number=number)))
        _copy_state(root, made)
        return made.get_submodule(self._path)

    def forward(self, *inputs: Any) -> Any:
        """What it returns there."""
        root = self._root[0]
        parameters = dict(root.named_parameters(remove_duplicate=False))
        buffers = dict(root.named_buffers(remove_duplicate=False))
        state = {
            "parameters": parameters,
            "buffers": buffers,
            "modes": {path: each.training for path, each in root.named_modules()},
        }
        grad = torch.is_grad_enabled()
        here = tuple(_leaf(x) for x in inputs)
        output, ticket, changed, drawn = root._asks.ask(
            "run",
            root._held.number,
            self._path,
            state,
            here,
            torch.get_rng_state(),
            grad,
        )
        torch.set_rng_state(drawn)
        with torch.no_grad():
            for name, value in changed.items():
                buffers[name].data = value.detach()
                buffers[name].requires_grad_(value.requires_grad)
        if not (isinstance(output, Tensor) and output.requires_grad):
            return output
        leaves = [*inputs, *dict(root.named_parameters()).values()]
        wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        made: Tensor = _There.apply(root._asks, ticket, output.detach(), *wanted)
        return made


def _leaf(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    return value


def _copy_state(source: nn.Module, target: nn.Module) -> None:
    """Values, flags and modes."""
    pairs = zip(source.parameters(), target.parameters(), strict=True)
    for theirs, ours in pairs:
        ours.data = theirs.data.clone()
        ours.requires_grad_(theirs.requires_grad)
    for before, after in zip(source.buffers(), target.buffers(), strict=True):
        after.data = before.data.clone()
    for here, there in zip(source.modules(), target.modules(), strict=True):
        there.training = here.training


class _There(torch.autograd.Function):
    """An output that was computed elsewhere, where its backward pass is, too."""

    @staticmethod
    def forward(
        ctx: Any, asks: Asks, ticket: int, output: Tensor, *_: Tensor
    ) -> Tensor:
        """The output as it came."""
        ctx.asks = asks
        ctx.ticket = ticket
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """What the other process says."""
        found = ctx.asks.ask("backward", ctx.ticket, gradients[0])
        return None, None, None, *found
