"""The X-ray without Python: plans of networks, for a page that computes with them.

A plan says what each stage does, as short lists that fit into JSON: ``["conv", 64, 7,
2, 3, 1, 1]``. ``book/_static/explorer.js`` traces it for any size of image and any
width. Chapter: Comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import groupby
from typing import Any

import torch
from torch import nn

from course_lib import lenet
from course_lib.blocks import Network
from course_lib.catalog import NETWORKS
from course_lib.convnext import ConvNeXtBlock
from course_lib.densenet import Concatenated
from course_lib.googlenet import Inception
from course_lib.mobilenet import InvertedResidual
from course_lib.resnet import Residual, SqueezeExcitation, ZeroPad
from course_lib.summary import Summary, summarize

#: What a layer or a block does: its kind, and its sizes or the plans of its parts.
Step = list[Any]


#: The networks that readers choose from.
EXPLORED = {name: entry for name, entry in NETWORKS.items() if entry.explored}


class Explorer:
    """The networks of the explorer as a table, which the script of the book turns into
    one that readers can change.
    """

    def __init__(self) -> None:
        with torch.device("meta"):
            self.summaries = {
                name: summarize(entry.build(), entry.input_size)
                for name, entry in EXPLORED.items()
            }

    def __repr__(self) -> str:
        return f"Explorer of {len(self.summaries)} networks"

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col">{title}</th>' for title in ("network", *COLUMNS)
        )
        body = "\n".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f"<td>{column(summary)}</td>" for column in COLUMNS.values())
            + "</tr>"
            for name, summary in self.summaries.items()
        )
        return (
            '<div class="explorer">\n<table>\n<caption>For one image</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
            "</div>"
        )


#: The columns of the table of all networks.
COLUMNS: dict[str, Callable[[Summary], str]] = {
    "image": lambda summary: "\N{MULTIPLICATION SIGN}".join(
        map(str, summary.input_size)
    ),
    "parameters": lambda summary: f"{summary.parameters:,}",
    "MACs": lambda summary: f"{summary.macs:,}",
    "saved for backward, bytes": lambda summary: f"{summary.saved_bytes:,}",
}


def plan(module: nn.Module) -> list[Step]:
    """What `module` does, step by step; equal blocks in a row are one step.

    Raises: ValueError for a module that no step is known for.
    """
    if isinstance(module, nn.Sequential):
        children = [plan(child) for child in module]
        return [
            step
            for steps, group in groupby(children)
            for step in _times(len([*group]), steps)
        ]
    if isinstance(module, Residual):
        return [["sum", plan(module.body), plan(module.shortcut)], ["relu!"]]
    if isinstance(module, ConvNeXtBlock):
        return [["sum", _convnext(module), []]]
    if isinstance(module, InvertedResidual):
        return [["sum", plan(module.body), []]]
    if isinstance(module, SqueezeExcitation):
        return [["scale", plan(module.scales)]]
    if isinstance(module, Concatenated):
        return [["cat", [], plan(module.body)]]
    if isinstance(module, Inception):
        return [["cat", *map(plan, module.children())]]
    for kind, step in STEPS.items():
        if isinstance(module, kind):
            return [step(module)]
    if isinstance(module, nn.Identity):
        return []
    raise ValueError(
        f"no plan is known for {module!r}: add what it computes to `plan` in"
        " course_lib/summary/explorer.py, or write explored=False in its entry of the"
        " catalog"
    )


def stages(net: Network) -> dict[str, list[Step]]:
    """The plan of each stage of `net`, by its name."""
    return {name: plan(stage) for name, stage in net.named_children()}


def _convnext(block: ConvNeXtBlock) -> list[Step]:
    """Its branch. What is fully connected at each position is a 1x1 convolution."""
    norm, wide, activation, narrow = block.pointwise
    return [
        *plan(block.depthwise),
        *plan(norm),
        *(["conv", wide.out_features, 1, 1, 0, 1, 1], *plan(activation)),
        *(["conv", narrow.out_features, 1, 1, 0, 1, 1], ["factor"]),
    ]


def _times(count: int, steps: list[Step]) -> list[Step]:
    """`steps` once, or as one step that repeats them where that is shorter."""
    return [["times", count, steps]] if count > 1 and len(steps) > 1 else steps * count


def _conv(layer: nn.Conv2d) -> Step:
    sizes = (layer.kernel_size, layer.stride, layer.padding)
    return [
        "conv",
        layer.out_channels,
        *map(_one, sizes),
        0 if 1 < layer.groups == layer.in_channels else layer.groups,
        int(layer.bias is not None),
    ]


def _pool(kind: str) -> Callable[[Any], Step]:
    def step(layer: Any) -> Step:
        sizes = (layer.kernel_size, layer.stride, layer.padding)
        return [kind, *map(_one, sizes), int(layer.ceil_mode)]

    return step


def _one(pair: Any) -> int:
    return pair if isinstance(pair, int) else pair[0]


#: Class -> its step. Behind "conv" stand channels, kernel size, stride, padding,
#: groups (0 if each channel is one), bias; behind "max" and "avg" kernel size, stride,
#: padding, rounding up; behind "linear" outputs and inputs.
STEPS: dict[type[nn.Module], Callable[[Any], Step]] = {
    nn.Conv2d: _conv,
    nn.Linear: lambda layer: ["linear", layer.out_features, layer.in_features],
    nn.MaxPool2d: _pool("max"),
    nn.AvgPool2d: _pool("avg"),
    nn.AdaptiveAvgPool2d: lambda layer: ["adaptive_avg", _one(layer.output_size)],
    nn.BatchNorm2d: lambda _: ["bn"],
    nn.LocalResponseNorm: lambda layer: ["lrn", layer.size],
    nn.LayerNorm: lambda _: ["ln"],
    nn.ReLU: lambda layer: ["relu!"] if layer.inplace else ["relu"],
    nn.ReLU6: lambda _: ["relu6"],
    nn.GELU: lambda _: ["gelu"],
    nn.Sigmoid: lambda _: ["sigmoid"],
    nn.Dropout: lambda _: ["dropout"],
    nn.Flatten: lambda _: ["flatten"],
    lenet.ScaledTanh: lambda _: ["tanh"],
    lenet.Subsampling: lambda _: ["subsample"],
    lenet.PartialConv2d: lambda layer: [
        *("partial", layer.out_channels, layer.weight.shape[-1], len(layer.weight))
    ],
    lenet.RBF: lambda layer: ["rbf", len(layer.codes)],
    ZeroPad: lambda layer: ["pad", layer.new_channels, layer.stride],
}
