"""An X-ray of a network: for each of its stages and layers the output shape,
parameters, MACs, memory and receptive field.

Conventions. Everything is for one image. One MAC, a multiply-accumulate, is two FLOPs;
counted are those of convolutions and matrix products, as torch's FlopCounterMode does,
and no biases, normalizations or activation functions. Memory is in bytes: that of a
layer's output, unless the layer works in place or returns a view of its input; and what
autograd saves for the backward pass, where that grows with the batch, without the image
itself. A receptive field is the theoretical one, `Field`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.summary.reader import ModuleStats, Reader, UnknownMemory
from course_lib.summary.receptive_field import Field
from course_lib.summary.row import SummaryRow
from course_lib.summary.table import Summary
from course_lib.summary.tree import tree
from course_lib.tracing import (
    Inputs,
    Trace,
    TracingError,
    inputs_of_data,
    inputs_of_size,
    isolated,
    refusal,
    trace,
    unwrapped,
)

__all__ = ["Field", "Summary", "SummaryRow", "count_parameters", "summarize"]


def summarize(
    net: nn.Module,
    input_size: Sequence[int] | Sequence[Sequence[int]] | Tensor | None = None,
    *,
    input_data: object = None,
    dtypes: Sequence[torch.dtype] | None = None,
) -> Summary:
    """Trace one input of `input_size` (C, H, W) through `net`, in evaluation mode for
    what is computed and in training mode for what is saved for backward.

    It happens to a copy without values, wherever `net` is: shapes are computed, and
    `net` is left unchanged. A network whose path depends on values needs an image
    (C, H, W) instead of the size, and is traced on the path that this one takes.

    A network of several inputs is given a sequence of sizes, and `dtypes` if they are
    not of the type that it computes with; or `input_data`, with the batch as first
    dimension: a tensor, a sequence of several, or a mapping of keyword arguments.
    Without either, nothing is traced, and only parameters are counted.

    Raises: ValueError for a size that is not one, for both a size and data, and if
        `net` cannot take such an input, or cannot be traced without values.
    """
    if not isinstance(net, nn.Module):
        raise ValueError(f"only modules can be summarized, got {net!r}")
    if input_size is not None and input_data is not None:
        raise ValueError("either input_size must be given or input_data, not both")
    net = unwrapped(net)
    inputs: Inputs | None = None
    if input_data is not None:
        inputs = inputs_of_data(input_data)
    elif input_size is not None:
        inputs = inputs_of_size(net, input_size, dtypes)
    reader = Reader()
    if inputs is None:
        reader.hold(net)
        return _summary(type(net).__name__, reader, None, [NO_INPUT])
    with isolated(net):
        notes = _read(net, inputs, reader)
    return _summary(type(net).__name__, reader, inputs, notes)


def _read(net: nn.Module, inputs: Inputs, reader: Reader) -> list[str]:
    """Let `reader` read all traces. Returns why it is not known what is saved."""
    run = _evaluate(net, inputs)
    if run.chance:
        others = (_other_run(seed, net, inputs, None) for seed in SEEDS)
        reader.chance = any(_path(other) != _path(run) for other in others)
    one, two, four = reader.evaluate(run), None, None
    notes = []
    try:
        few, many = (_train(net, inputs, batch) for batch in (2, 4))
        two, four = reader.read(few), reader.read(many)
        if few.chance or few.values or len(two.saved) != len(four.saved):
            _check_path(net, inputs, few, many)
        reader.train(two, four)
    except TracingError as error:
        notes.append(f"memory: unknown, in training mode: {error}")
    except UnknownMemory as reason:
        notes.append(f"memory: unknown, as {reason}")
    reader.shape(one, two, four)
    return notes


def _other_run(seed: int, net: nn.Module, inputs: Inputs, batch: int | None) -> Trace:
    """A run that draws other random numbers: of a `batch` in training, or of one image
    in evaluation.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return _evaluate(net, inputs) if batch is None else _train(net, inputs, batch)


def _path(run: Trace) -> list[tuple[str, int]]:
    """Which modules were called, with how many events in each."""
    return [(call.path, len(call.events)) for call in run.calls()]


def _check_path(net: nn.Module, inputs: Inputs, few: Trace, many: Trace) -> None:
    """Raise UnknownMemory if the difference between two and four images is not that of
    four and six, or two images save another amount with other random numbers.
    """
    six = _other_run(SEEDS[0], net, inputs, 6)
    others = [_other_run(seed, net, inputs, 2) for seed in SEEDS[1:] if few.chance]
    two, four = few.saved_bytes, many.saved_bytes
    if six.saved_bytes - four != four - two or any(
        each.saved_bytes != two for each in others
    ):
        raise UnknownMemory("what is saved differs from run to run")


def _evaluate(net: nn.Module, inputs: Inputs) -> Trace:
    """The trace of one image in evaluation mode."""
    try:
        return trace(net, inputs, training=False, values=inputs.has_values)
    except TracingError as error:
        raise refusal(net, inputs, error) from error


def _train(net: nn.Module, inputs: Inputs, batch: int) -> Trace:
    """The trace of some images in training mode; with values only if there is no other
    way.
    """
    try:
        return trace(net, inputs, batch, training=True, grad=True)
    except TracingError as error:
        if not (error.needs_values and inputs.has_values):
            raise
    return trace(net, inputs, batch, training=True, grad=True, values=True)


def count_parameters(net: nn.Module) -> int:
    """The trainable parameters of `net`, shared ones counted once."""
    return sum(
        parameter.numel() for parameter in net.parameters() if parameter.requires_grad
    )


#: What random numbers begin with, where a path may depend on them.
SEEDS = (1, 2, 3)

#: What is said of a summary without an input.
NO_INPUT = "no input was given: only parameters are counted"


def _summary(
    name: str, reader: Reader, inputs: Inputs | None, notes: list[str]
) -> Summary:
    """The rows of what was read, and what is missing in them. If there are `notes`
    already, what is saved is unknown.
    """
    known = not notes
    layers = reader.layers | {"": reader.own[0]}
    stages = reader.stages | {"": reader.own[1]}
    unused = _give_parameters(reader, layers, stages)

    def rows(table: dict[str, ModuleStats]) -> tuple[SummaryRow, ...]:
        saved = {} if known else {"saved_bytes": None}
        return tuple(
            SummaryRow(**{**vars(stats), "name": stats.name or name, **saved})
            for stats in table.values()
            if stats.calls
            or stats.parameters + stats.frozen
            or (stats.saved_bytes and known)
        )

    nested = tree(name, reader.kinds, reader.modules, layers)
    trained = sum(n for n, trained in reader.parameters.values() if trained)
    frozen = sum(n for n, trained in reader.parameters.values() if not trained)
    if inputs:
        notes += _notes(name, reader, stages.values(), unused)
    return Summary(
        name=name,
        input_size=inputs.size if inputs else (),
        modules=rows(nested),
        parameter_bytes=reader.nbytes,
        gradient_bytes=reader.gradient_bytes,
        stages=rows(stages),
        layers=rows(layers),
        parameters=trained,
        frozen_parameters=frozen,
        complete=inputs is not None and not reader.uncounted,
        notes=tuple(notes),
    )


def _give_parameters(reader: Reader, *tables: dict[str, ModuleStats]) -> dict[str, int]:
    """Count each parameter for the rows that hold it. Returns the largest
    parts of the network that nothing used, with how many parameters they have.
    """
    unused: dict[str, int] = {}
    for name, (count, trained) in reader.parameters.items():
        if name not in reader.used:
            top = _unused_part(name, reader.used)
            unused[top] = unused.get(top, 0) + count
        else:
            for table in tables:
                stats = _holder(reader.names[name], table)
                if trained:
                    stats.parameters += count
                else:
                    stats.frozen += count
    return unused


def _notes(
    name: str, reader: Reader, stages: Iterable[ModuleStats], unused: dict[str, int]
) -> Iterator[str]:
    """What could not be counted of the network called `name`."""
    for title, found in {
        "receptive field: unknown after": reader.lost,
        "MACs: not counted for": reader.uncounted,
        "memory: as on a CPU; a GPU's kernels save other amounts for": reader.elsewhere,
    }.items():
        if found:
            parts = (f"{what} in {layer or name}" for what, layer in found.items())
            yield f"{title} {', '.join(parts)}"
    if reader.chance:
        yield "path: by chance; counted is that of one run"
    late = [stage.name for stage in stages if stage.parameters and not stage.calls]
    if late:
        yield f"in training only, without MACs: {', '.join(late)}"
    if unused:
        parts = (f"{part} ({count:,} parameters)" for part, count in unused.items())
        yield f"never used: {', '.join(parts)}"


def _holder(names: Iterable[str], table: dict[str, ModuleStats]) -> ModuleStats:
    """The row of the innermost module around a parameter, by that of its names under
    which a module was called, if there is one.
    """
    rows = []
    for name in names:
        path = name.rpartition(".")[0]
        while path not in table:
            path = path.rpartition(".")[0]
        rows.append(table[path])
    return next((row for row in rows if row.calls), rows[0])


def _unused_part(name: str, used: set[str]) -> str:
    """The largest module around a parameter of which nothing is used."""
    parts = name.split(".")
    paths = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next(
        (path for path in paths if not any(u.startswith(path + ".") for u in used)),
        name,
    )
