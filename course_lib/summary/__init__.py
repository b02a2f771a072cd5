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

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.blocks import Network
from course_lib.summary.receptive_field import Field
from course_lib.summary.table import Summary, SummaryRow
from course_lib.summary.tracer import DataDependentError, ModuleStats, Tracer

__all__ = ["Field", "Summary", "SummaryRow", "count_parameters", "summarize"]


def summarize(net: nn.Module, input_size: Sequence[int] | Tensor) -> Summary:
    """Trace one input of `input_size` (C, H, W) through `net`, in evaluation mode for
    what is computed and in training mode for what is saved for backward.

    It happens on the meta device, wherever `net` is: shapes are computed, values are
    not, and `net` is left unchanged. A network whose path depends on values needs an
    image (C, H, W) instead of the size, and is traced on the path that this one takes.

    Raises: ValueError for a size that is not one, and if `net` cannot take such an
        input, or cannot be traced without values.
    """
    with _preserved(net):
        x, empty = _input(net, input_size), _state(net, meta=True)
        name, size = type(net).__name__, " x ".join(map(str, x.shape[1:]))
        tracer, notes = Tracer(net), []
        try:
            net.eval()
            tracer.evaluate(x, empty if x.is_meta else _state(net, meta=False))
        except DataDependentError as error:
            raise ValueError(
                f"{name} cannot be traced without values: {error}; give an image"
                " (C, H, W) instead of the size, to trace the path that it takes"
            ) from error
        except Exception as error:
            if isinstance(net, Network) and isinstance(error, ValueError):
                raise  # a network of the course has said it better
            raise ValueError(
                f"{name} cannot take an input of size {size}: {error}"
            ) from error
        used = set(tracer.used)
        try:
            net.train()
            tracer.train(x, empty)
        except Exception as error:
            tracer.used = used  # by half a run, which does not count
            notes.append(f"memory: unknown, in training mode: {error}")
    return _summary(net, tracer, tuple(x.shape[1:]), notes)


def count_parameters(net: nn.Module) -> int:
    """The trainable parameters of `net`, shared ones counted once."""
    return sum(
        parameter.numel() for parameter in net.parameters() if parameter.requires_grad
    )


def _input(net: nn.Module, input_size: Sequence[int] | Tensor) -> Tensor:
    """A mini-batch of one, of the type that the network computes with."""
    if isinstance(input_size, Tensor):
        return input_size[None].clone()
    if not isinstance(input_size, Sequence) or not all(
        isinstance(size, int) and size > 0 for size in input_size
    ):
        raise ValueError(
            "input_size must be (C, H, W), integers of at least 1, or an image of"
            f" that shape; got {input_size!r}"
        )
    kinds = (p.dtype for p in net.parameters() if p.is_floating_point())
    dtype = next(kinds, torch.get_default_dtype())
    return torch.empty((1, *input_size), device="meta", dtype=dtype)


def _state(net: nn.Module, *, meta: bool) -> dict[str, Tensor]:
    """Parameters and buffers to use instead of those of the network: without values if
    `meta`, otherwise with buffers that may be written to.
    """
    if not meta:
        parameters = {name: value.detach() for name, value in net.named_parameters()}
        return parameters | {name: value.clone() for name, value in net.named_buffers()}
    state = dict(net.named_parameters()) | dict(net.named_buffers())
    return {
        name: torch.empty_like(value, device="meta", requires_grad=value.requires_grad)
        for name, value in state.items()
    }


@contextmanager
def _preserved(net: nn.Module) -> Iterator[None]:
    """Restore the modes of the network and the random state afterwards; its tensors,
    too, as `functional_call` leaves its own in a module that is used twice.
    """
    modes = {module: module.training for module in net.modules()}
    held: list[dict[str, Any]] = [
        tensors for m in modes for tensors in (m._parameters, m._buffers)
    ]
    before = [dict(each) for each in held]
    devices = {p.device.index for p in net.parameters() if p.is_cuda}
    try:
        with torch.random.fork_rng(devices), torch.inference_mode(mode=False):
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for each, tensors in zip(held, before, strict=True):
            each.update(tensors)


def _summary(
    net: nn.Module, tracer: Tracer, size: tuple[int, ...], notes: list[str]
) -> Summary:
    """The rows of what the tracer has recorded, and what is missing in them. If there
    are `notes` already, the run in training failed.
    """
    name, trained = type(net).__name__, not notes
    layers = tracer.layers | {"": tracer.root.layer}
    stages = tracer.stages | {"": tracer.root.stage}
    unused = _give_parameters(net, tracer, layers, stages)

    def rows(table: dict[str, ModuleStats]) -> tuple[SummaryRow, ...]:
        known = {} if trained else {"saved_bytes": None}
        return tuple(
            SummaryRow(**{**vars(stats), "name": stats.name or name, **known})
            for stats in table.values()
            if stats.calls or stats.parameters or (stats.saved_bytes and trained)
        )

    notes += _notes(name, tracer, stages.values(), unused)
    return Summary(
        name=name,
        input_size=size,
        stages=rows(stages),
        layers=rows(layers),
        parameters=count_parameters(net),
        notes=tuple(notes),
    )


def _give_parameters(
    net: nn.Module, tracer: Tracer, *tables: dict[str, ModuleStats]
) -> dict[str, int]:
    """Count each trainable parameter for the rows that hold it. Returns the largest
    parts of `net` that nothing used, with how many parameters they have.
    """
    unused: dict[str, int] = {}
    for name, parameter in net.named_parameters():
        if name not in tracer.used:
            top = _unused_part(name, tracer.used)
            unused[top] = unused.get(top, 0) + parameter.numel()
        elif parameter.requires_grad:
            for table in tables:
                table[_holder(name, table)].parameters += parameter.numel()
    return unused


def _notes(
    name: str, tracer: Tracer, stages: Iterable[ModuleStats], unused: dict[str, int]
) -> Iterator[str]:
    """What could not be counted of the network called `name`."""
    for title, found in {
        "receptive field: unknown after": tracer.lost,
        "MACs: not counted for": tracer.uncounted,
    }.items():
        if found:
            parts = (f"{what} in {layer or name}" for what, layer in found.items())
            yield f"{title} {', '.join(parts)}"
    late = [stage.name for stage in stages if stage.parameters and not stage.calls]
    if late:
        yield f"in training only, without MACs: {', '.join(late)}"
    if unused:
        parts = (f"{part} ({count:,} parameters)" for part, count in unused.items())
        yield f"never used: {', '.join(parts)}"


def _holder(name: str, table: Container[str]) -> str:
    """The innermost module around a parameter that has a row."""
    path = name.rpartition(".")[0]
    while path not in table:
        path = path.rpartition(".")[0]
    return path


def _unused_part(name: str, used: set[str]) -> str:
    """The largest module around a parameter of which nothing is used."""
    parts = name.split(".")
    paths = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next(
        (path for path in paths if not any(u.startswith(path + ".") for u in used)),
        name,
    )
