"""What a forward pass may change outside its module, restored afterwards."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dis import opmap
from functools import cache
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks
from torch.utils._python_dispatch import _disable_current_modes

from course_lib.tracing.record import modules_in

#: What a function may write into.
CONTAINERS = (dict, list, set, deque, OrderedDict, defaultdict)
STORE_GLOBAL = opmap["STORE_GLOBAL"]
#: Of a class that is written in Python, its flags have this one.
IN_PYTHON = 1 << 9


@contextmanager
def isolated(net: nn.Module) -> Iterator[None]:
    """Restore all random states afterwards, and what the classes and functions of `net`
    keep for all modules, and follow what is behind shortcuts:
    PyTorch's fused transformer layers, and functions that were compiled. Hooks of all
    modules that there are, and modes that see all operations, are not those of `net`
    and see nothing. Meanwhile no garbage is collected: it is all in use, and looking
    through it takes longer than the run.
    """
    devices = {p.device.index for p in net.parameters() if p.is_cuda}
    states = random.getstate(), np.random.get_state()
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(_disable_current_modes())
        for hooks in (_global_forward_hooks, _global_forward_pre_hooks):
            stack.callback(_refill, hooks, copy.copy(hooks))
            hooks.clear()
        _restore_afterwards(net, stack)
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        torch.backends.mha.set_fastpath_enabled(False)
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()
            torch.backends.mha.set_fastpath_enabled(fused)
            random.setstate(states[0])
            np.random.set_state(states[1])


def random_states() -> tuple[Any, ...]:
    """The states of the random generators that a forward pass may draw from."""
    return (
        random.getstate(),
        pickle.dumps(np.random.get_state()),
        torch.get_rng_state().numpy().tobytes(),
    )


def written(function: FunctionType) -> tuple[list[str], list[str]]:
    """The module-level names that a function sees: of what it may write into, and
    those that it may give other values, or perhaps only sees.
    """
    given, (names, writes) = function.__globals__, _names(function.__code__)
    kept = [name for name in names if given.get(name).__class__ in CONTAINERS]
    return kept, [name for name in names if name in given] if writes else []


@cache
def _names(code: CodeType) -> tuple[set[str], bool]:
    """The names in a function and in those within, and whether it gives any a value."""
    codes, names, writes = [code], set[str](), False
    for each in codes:
        codes += [part for part in each.co_consts if isinstance(part, CodeType)]
        names.update(each.co_names)
        writes = writes or STORE_GLOBAL in each.co_code[::2]
    return names, writes


def _restore_afterwards(net: nn.Module, stack: ExitStack) -> None:
    """Let `stack` restore what the code of `net` keeps outside of modules: attributes
    of classes, names of the files that they and their functions are in, and what is in
    objects with such names.
    """
    kinds, found = set[type](), list[FunctionType]()
    for _, module in modules_in(net):
        kinds.add(type(module))
        if module._forward_hooks or module._forward_pre_hooks:
            hooks = *module._forward_hooks.values(), *module._forward_pre_hooks.values()
            found += [hook for hook in hooks if type(hook) is FunctionType]
    for kind in {base for each in kinds for base in each.__mro__[:-1]}:
        if not _is_theirs(kind):
            continue
        attributes = dict(vars(kind))
        stack.callback(_restore_class, kind, attributes)
        for value in attributes.values():
            if value.__class__ in CONTAINERS:
                stack.callback(_refill, value, copy.copy(value))
            elif type(function := getattr(value, "__func__", value)) is FunctionType:
                found.append(function)
    known = {*found}
    for function in found:  # and those that it calls, which become more on the way
        kept, others = written(function)
        given = function.__globals__
        for name in kept:
            stack.callback(_refill, given[name], copy.copy(given[name]))
        for name in others:
            stack.callback(given.__setitem__, name, given[name])
        for value in _seen(function):
            if type(value) is not FunctionType:
                stack.callback(_refill, vars(value), dict(vars(value)))
            elif value not in known:
                known.add(value)
                found.append(value)


def _is_theirs(code: Any) -> bool:
    """Whether a class or a function is none of PyTorch's."""
    return (code.__module__ or "").partition(".")[0] != "torch"


def _seen(function: FunctionType) -> Iterator[Any]:
    """The functions and the plain objects of others that a function knows by name."""
    given = function.__globals__
    for name in _names(function.__code__)[0]:
        value = given.get(name)
        kind = type(value)
        is_plain = (
            kind.__flags__ & IN_PYTHON
            and not isinstance(value, type)
            and isinstance(getattr(value, "__dict__", None), dict)
        )
        if (kind is FunctionType and _is_theirs(value)) or (
            is_plain and _is_theirs(kind)
        ):
            yield value


def _restore_class(kind: type, attributes: dict[str, Any]) -> None:
    for name, value in dict(vars(kind)).items():
        if name not in attributes:
            delattr(kind, name)
        elif value is not attributes[name]:
            setattr(kind, name, attributes[name])


def _refill(container: Any, contents: Any) -> None:
    """Give a container the contents that it had."""
    container.clear()
    (container.extend if isinstance(container, list | deque) else container.update)(
        contents
    )
