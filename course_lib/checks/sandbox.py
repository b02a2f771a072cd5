"""Where an answer runs: in a process of its own, which the judge asks, and ends."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.abc
import inspect
import io
import itertools
import os
import random
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn

from course_lib.checks import guard, wire

#: Characters that an answer may print.
PRINTED = 2_000

#: Where the answer keys are, which are closed to answers.
KEYS = "course_lib.checks.keys"

#: Outputs of networks whose graphs are kept for a backward pass.
GRAPHS = 64


@dataclass
class Worker:
    """An answer, the modules it made that stay here, and the graphs of their outputs.
    Each method is one thing that the judge asks for.
    """

    #: What the student wrote.
    answer: Any = None
    #: What it may not call: see `guard.watched`.
    banned: Sequence[str] = ()
    #: Modules that stay here, by their numbers.
    modules: dict[int, nn.Module] = field(default_factory=dict)
    #: Outputs of modules by their numbers, each with the leaves of its graph.
    graphs: dict[int, tuple[Tensor, list[Tensor]]] = field(default_factory=dict)
    #: Numbers that were not given yet.
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def load(self, data: bytes, path: list[str], banned: list[str]) -> list[str]:
        """Take an answer, and say the names of its parameters."""
        self.banned = banned
        if data:  # pragma: no cover, in a process of its own
            sys.path[:] = dict.fromkeys([*sys.path, *path])
            self.answer = cloudpickle.loads(data)
        try:
            return list(inspect.signature(self.answer).parameters)
        except (TypeError, ValueError):
            return []  # some functions of C have none

    def call(self, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """What it returns, and what became of its arguments."""
        self._takes(arguments)
        self.last = self.answer(*arguments), arguments
        return self.last

    def gradients(self) -> list[Tensor | None]:
        """Of the sum of what the last call returned, with respect to its arguments and
        their parameters: those that need gradients. None where nothing leads there.
        """
        got, arguments = self.last
        leaves = [
            leaf
            for each in arguments
            for leaf in (each.parameters() if isinstance(each, nn.Module) else [each])
            if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        if not (isinstance(got, Tensor) and got.requires_grad):
            return [None] * len(leaves)
        return list(torch.autograd.grad(got.sum(), leaves, allow_unused=True))

    def run(
        self,
        number: int,
        path: str,
        state: dict[str, dict[str, Any]],
        inputs: tuple[Any, ...],
        random_state: Tensor,
        grad: bool,
    ) -> tuple[Any, int, dict[str, Tensor], Tensor]:
        """The output of a module in this state, the number of its graph, its buffers,
        and the state of the random numbers.
        """
        module = self.modules[number]
        parameters = dict(module.named_parameters(remove_duplicate=False))
        buffers = dict(module.named_buffers(remove_duplicate=False))
        for name, value in state["parameters"].items():
            parameters[name].data = value.detach().clone()
            parameters[name].requires_grad_(value.requires_grad)
        for name, value in state["buffers"].items():
            buffers[name].data = value.detach().clone()
        _set_modes(module, state["modes"])
        torch.set_rng_state(random_state)
        with torch.set_grad_enabled(grad):
            given = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
            output = module.get_submodule(path)(*given)
        ticket = next(self.numbers)
        if isinstance(output, Tensor) and output.requires_grad:
            leaves = [*inputs, *dict(module.named_parameters()).values()]
            wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
            self.graphs[ticket] = output, wanted
            if len(self.graphs) > GRAPHS:
                del self.graphs[min(self.graphs)]
        changed = dict(module.named_buffers(remove_duplicate=False))
        kept = {k: v for k, v in changed.items() if k in buffers}
        return output, ticket, kept, torch.get_rng_state()

    def backward(self, ticket: int, gradient: Tensor) -> list[Tensor | None]:
        """The gradients of an output with respect to its inputs and parameters."""
        output, leaves = self.graphs[ticket]
        found = torch.autograd.grad(
            output, leaves, gradient, retain_graph=True, allow_unused=True
        )
        return list(found)

    def copy(self, number: int) -> int:
        """Copy a module."""
        return self.hold(copy.deepcopy(self.modules[number])).number

    def settle(self, number: int, inputs: tuple[Any, ...]) -> nn.Module:
        """A module whose parameters have the shapes that these inputs give them."""
        module = self.modules[number]
        modes = {path: each.training for path, each in module.named_modules()}
        with torch.no_grad():
            module.eval()(*inputs)
        _set_modes(module, modes)
        return module

    def hold(self, module: nn.Module) -> wire.Held:
        """Keep a module here, and say what the judge needs to know of it."""
        number = next(self.numbers)
        self.modules[number] = module
        first: dict[nn.Module, str] = {}
        inside = [
            (path, first.setdefault(each, path), type(each).__name__, each.training)
            for path, each in module.named_modules(remove_duplicate=False)
        ]
        saved = module.state_dict(keep_vars=True).keys()
        buffers = module.named_buffers(remove_duplicate=False)
        return wire.Held(
            number,
            inside,
            list(module.named_parameters(remove_duplicate=False)),
            [(path, value, path in saved) for path, value in buffers],
            lazy=any(nn.parameter.is_lazy(each) for each in module.parameters()),
        )

    def _takes(self, arguments: Sequence[Any]) -> None:
        try:
            signature = inspect.signature(self.answer)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(*arguments)
        except TypeError:
            raise _Refused(
                f"it takes {signature}, and the check calls it with {len(arguments)}"
                " arguments",
                "Leave the line with `def` as it was.",
            ) from None


def _set_modes(module: nn.Module, modes: dict[str, bool]) -> None:
    """By its own method, and by hand where the modules in it differ."""
    module.train(modes[""])
    for name, each in module.named_modules():
        if modes.get(name, modes[""]) != modes[""]:
            each.training = modes[name]


class _Refused(Exception):  # noqa: N818, it says what is wrong with an answer
    """A message and a hint for the student."""


def serve(connection: Connection, answer: Any = None, *, alone: bool = True) -> None:
    """Do what the judge asks, until it closes the connection; `alone` if this process
    is there for nothing else.
    """
    worker = Worker(answer)
    printed = _Printed(connection)
    if alone:  # pragma: no cover, in a process of its own
        _close_doors(connection.fileno())
    with contextlib.suppress(OSError):
        connection.send_bytes(wire.dumps(("ready",)))
    while True:
        try:
            verb, *data = wire.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        with contextlib.redirect_stdout(printed):
            reply = _done(worker, verb, data)
        with contextlib.suppress(OSError):  # it has lost interest
            connection.send_bytes(reply)


def _done(worker: Worker, verb: str, data: list[Any]) -> bytes:
    """Run it, and put into bytes what came of it."""
    seen: list[str] = []
    try:
        with guard.watched(worker.banned) as seen:
            got = getattr(worker, verb)(*data)
            stay = bool(guard.FAMILIES.keys() & set(worker.banned))
            reply = wire.dumps(("done", got), worker.hold, stay=stay)
    except (_Refused, wire.TooLarge) as error:
        return wire.dumps(("refused", *error.args))
    except BaseException as error:  # whatever theirs does, we do not
        reply = wire.dumps(("raised", *_described(error)))
    return wire.dumps(("banned", seen[0])) if seen else reply


def _described(error: BaseException) -> tuple[list[str], str, list[tuple[str, int]]]:
    """The classes of an error, the first line of its text, and where it came from."""
    kinds = [each.__name__ for each in type(error).__mro__]
    frames = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    return kinds, wire.first_line(error), frames[-100:]


class _Printed(io.TextIOBase):
    """What an answer prints, on its way to the judge, until it is too much."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.left = PRINTED
        self.lock = threading.Lock()

    def write(self, text: str) -> int:
        """Send it, if there is room."""
        with self.lock:
            if self.left > 0 and text:
                shown = str(text)[: self.left]
                self.left -= len(shown)
                end = "\n... (more was printed)\n" if self.left == 0 else ""
                self.connection.send_bytes(wire.dumps(("printed", shown + end)))
        return len(text)


class _Closed(importlib.abc.MetaPathFinder):
    """Answers cannot import the keys to the exercises."""

    def find_spec(self, name: str, *_: object) -> None:
        """Say so, if it is one of those."""
        if name.startswith(KEYS):
            raise ImportError("an answer cannot use the answer keys")


# Tested in processes of their own.
def _close_doors(way: int) -> None:  # pragma: no cover
    """Leave to the answer nothing of the judge's but the `way` there, a file: no
    terminal, no pipe to other processes, no keys, no group, no random numbers.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    if hasattr(os, "setsid"):
        os.setsid()
        os.closerange(3, way)
        os.closerange(way + 1, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123, to its end
    sys.meta_path.insert(0, _Closed())
    importlib.import_module("course_lib.checks.warm")
    torch.seed()
    random.seed()
    np.random.seed()
