"""How a module runs, for whoever wants to know: `trace` runs a copy of it, which needs
no values, and returns a record of the modules and functions that were called and of the
operations that were carried out for them. The X-ray and the drawings read it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from course_lib.blocks import Network
from course_lib.tracing.ghost import DataDependentError
from course_lib.tracing.inputs import Inputs, inputs_of_data, inputs_of_size
from course_lib.tracing.isolation import isolated, random_states
from course_lib.tracing.record import (
    FunctionCall,
    ModuleCall,
    Operation,
    Saved,
    Trace,
    Value,
    View,
)
from course_lib.tracing.replica import replica, unwrapped
from course_lib.tracing.tracer import Tracer

__all__ = [
    "FunctionCall",
    "Inputs",
    "ModuleCall",
    "Operation",
    "Saved",
    "Trace",
    "TracingError",
    "Value",
    "View",
    "inputs_of_data",
    "inputs_of_size",
    "isolated",
    "refusal",
    "trace",
    "unwrapped",
]


class TracingError(ValueError):
    """What a module raised, in its words, and where. Its cause is the exception itself.

    `needs_values` says that its path depends on values which it was not given.
    """

    def __init__(self, words: str, *, needs_values: bool) -> None:
        super().__init__(words)
        self.needs_values = needs_values


def trace(
    net: nn.Module,
    inputs: Inputs,
    batch: int = 1,
    *,
    training: bool | None = None,
    grad: bool = False,
    functions: bool = False,
    values: bool = False,
) -> Trace:
    """Run a copy of `net` on a mini-batch of `inputs`, and record what it does.

    `training` is the mode, by default that of each module. With `grad`, autograd
    records, and what it saves for the backward pass is in the trace; with `functions`,
    the calls of functions are. With `values`, tensors have values, otherwise only
    shapes. `net`, and all that it refers to, is left unchanged, as are modes and random
    states.

    Raises: TracingError, a ValueError, for whatever `net` raises; ValueError for a
        module that cannot be followed.
    """
    asked: Any = {"training": training, "functions": functions, "values": values}
    try:
        return _trace(net, inputs, batch, grad=grad, **asked)
    except TracingError as error:
        if grad or "does not require grad" not in str(error):
            raise
    return _trace(net, inputs, batch, grad=True, **asked)  # gradients are its output


def _trace(
    net: nn.Module,
    inputs: Inputs,
    batch: int,
    *,
    training: bool | None,
    grad: bool,
    functions: bool,
    values: bool,
) -> Trace:
    """As `trace`, in one run."""
    if values:  # which a network on the meta device has not
        tensors = (*net.parameters(), *net.buffers())
        values = not any(each.is_meta for each in tensors)
    with isolated(net):
        copy = replica(net, values=values)
        tracer, states = Tracer(copy), random_states()
        args, kwargs = inputs.values(batch) if values else inputs.ghosts(batch)
        try:
            if training is not None:
                copy.train(training)
            tracer.run(args, kwargs, grad=grad, functions=functions)
        except Exception as error:
            raise _in_words(error, tracer, copy) from error
        tracer.trace.values, tracer.trace.chance = values, states != random_states()
    return tracer.trace


def refusal(net: nn.Module, inputs: Inputs, error: TracingError) -> ValueError:
    """What to say of a network that cannot be traced: what it says itself, if it is one
    of the course's.
    """
    name = type(net).__name__
    if error.needs_values:
        return ValueError(
            f"{name} cannot be traced without values: {error}; give a tensor"
            " of that size in its place, to trace the path that it takes"
        )
    cause = error.__cause__
    if isinstance(net, Network) and isinstance(cause, ValueError):
        return ValueError(*cause.args)
    taken = f" ({inputs.batch} were taken for the batch)" if inputs.batch > 1 else ""
    return ValueError(f"{name} cannot take an input of size {inputs}{taken}: {error}")


def _in_words(error: Exception, tracer: Tracer, net: nn.Module) -> TracingError:
    """What was raised, with the module that raised it."""
    path, kind = tracer.where.path, tracer.where.kind
    if isinstance(error, DataDependentError):
        words = f"{path or type(net).__name__} calls {error}"
        return TracingError(words, needs_values=True)
    try:
        words = str(error)
    except Exception:  # it fails in its own words
        words = ""
    if not isinstance(error, RuntimeError | ValueError) or not words:
        words = f"{type(error).__name__}: {words}".removesuffix(": ")
    where = f"in {path} ({kind}): " if path else ""
    return TracingError(where + words, needs_values=False)
