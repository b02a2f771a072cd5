"""What a network is made of: one row a stage, with the shape that leaves it and the
parameters that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from course_lib.blocks import run_on_meta

if TYPE_CHECKING:
    import torch
    from torch.utils.hooks import RemovableHandle


class Stage(NamedTuple):
    """One child of a network: its name, the shape of its output without the batch, its
    trainable parameters.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """The stages of a network, and a table of them when printed."""

    name: str
    input_size: tuple[int, ...]
    stages: tuple[Stage, ...]
    parameters: int

    def __str__(self) -> str:
        rows = [
            ("stage", "output shape", "parameters"),
            ("input", _times(self.input_size), ""),
        ]
        rows += [
            (stage.name, _times(stage.shape), f"{stage.parameters:,}")
            for stage in self.stages
        ]
        rows += [("total", "", f"{self.parameters:,}")]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {parameters:>{widths[2]}}"
            for name, shape, parameters in rows
        ]
        return "\n".join([self.name, *(line.rstrip() for line in lines)])


def summarize(net: nn.Module, input_size: tuple[int, ...]) -> Summary:
    """Follow one input of `input_size` (C, H, W) through the children of `net`, in the
    order in which they run.

    It happens on the meta device: shapes are computed, numbers are not, and `net` stays
    as it is.

    Raises: ValueError if `net` cannot take such an input.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str) -> RemovableHandle:
        def hook(_child: nn.Module, _input: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return net.get_submodule(name).register_forward_hook(hook)

    handles = [record(name) for name, _ in net.named_children()]
    modes = {module: module.training for module in net.modules()}
    try:
        run_on_meta(net.eval(), (1, *input_size))
    except RuntimeError as error:
        name, size = type(net).__name__, _times(input_size)
        raise ValueError(
            f"{name} cannot take an input of size {size}: {error}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()
    stages = tuple(
        Stage(name, shape, count_parameters(net.get_submodule(name)))
        for name, shape in shapes.items()
    )
    return Summary(type(net).__name__, tuple(input_size), stages, count_parameters(net))


def count_parameters(net: nn.Module) -> int:
    """The trainable parameters of `net`, shared ones counted once."""
    return sum(
        parameter.numel() for parameter in net.parameters() if parameter.requires_grad
    )


def _times(shape: tuple[int, ...]) -> str:
    """(64, 56, 56) -> "64 x 56 x 56", as the papers print shapes."""
    return " x ".join(map(str, shape))
