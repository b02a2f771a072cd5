"""Expressions over this library, such as ``count_parameters(AlexNet("paper"))``: what
the ledger computes its claims with.

They come from a file, so their syntax and names are restricted. That catches mistakes;
it is no protection against malicious code. Chapter: The ledger.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import summary
from course_lib.blocks import conv_bn, linear_relu_dropout, response_norm
from course_lib.catalog import FAMILIES
from course_lib.convolution import (
    cross_correlate,
    max_pool2d,
    output_size,
    receptive_field,
)
from course_lib.googlenet import (
    AUX_WEIGHT,
    PAPER_TABLE_1,
    TABLE_1,
    Inception,
)
from course_lib.nin import nin_block
from course_lib.normalization import local_response_norm
from course_lib.resnet import basic_block, bottleneck, make_shortcut
from course_lib.summary import count_parameters, summarize

#: (C, H, W); an integer is the side of a color image.
Size = int | tuple[int, ...]


class Cost(NamedTuple):
    """What layers cost together; `activations` is the number of values they output."""

    parameters: int
    macs: int
    activations: int


def layers(net: nn.Module, size: Size) -> list[summary.SummaryRow]:
    """The layers of `net` for an input of `size`, in the order in which they run: the
    rows of `summarize`.
    """
    return [*summarize(net, (3, size, size) if isinstance(size, int) else size).layers]


def cost(net: nn.Module, size: Size, *kinds: str) -> Cost:
    """What those layers of `net` cost whose kind has one of `kinds` in it; without
    `kinds`, all.
    """
    rows = [
        row
        for row in layers(net, size)
        if not kinds or any(kind in row.kind for kind in kinds)
    ]
    return Cost(
        sum(row.parameters for row in rows),
        sum(row.macs for row in rows),
        sum(torch.Size(row.shape).numel() for row in rows),
    )


def kernels(net: nn.Module, kind: str = "") -> list[tuple[int, int]]:
    """Kernel size and stride of each convolution and pooling of `net` that has `kind`
    in the name of its class: the argument of `receptive_field`.
    """
    found = (m for m in net.modules() if hasattr(m, "kernel_size"))
    return [
        (_first(m.kernel_size), _first(m.stride))
        for m in found
        if kind in type(m).__name__
    ]


def _first(pair: Any) -> int:
    return pair if isinstance(pair, int) else pair[0]


def values(*numbers: float) -> Tensor:
    """The numbers as feature maps of 1x1 pixel. Shape: -> (1, len(numbers), 1, 1)."""
    return torch.tensor(numbers, dtype=torch.float, device="cpu")[None, :, None, None]


#: The functions and blocks that an expression may use of this library.
FUNCTIONS: tuple[Any, ...] = (
    *(Inception, basic_block, bottleneck, conv_bn, linear_relu_dropout, nin_block),
    *(make_shortcut, response_norm, local_response_norm, cross_correlate, max_pool2d),
    *(output_size, receptive_field, count_parameters, summarize),
    *(layers, cost, kernels, values),
)

#: What it may use of this library: these, the networks, and tables.
COURSE: dict[str, Any] = {
    **{function.__name__: function for function in FUNCTIONS},
    **{name: family.network for name, family in FAMILIES.items()},
    "TABLE_1": TABLE_1,
    "PAPER_TABLE_1": PAPER_TABLE_1,
    "AUX_WEIGHT": AUX_WEIGHT,
}

#: What it may use of Python.
PYTHON = {
    thing.__name__: thing
    for thing in (all, any, len, list, max, min, range, round, set, sorted, sum, zip)
}

#: The syntax that it may have.
SYNTAX = (
    *(ast.Expression, ast.expr_context, ast.Constant, ast.Name, ast.Attribute),
    *(ast.Call, ast.keyword, ast.Starred, ast.Subscript, ast.Slice),
    *(ast.Tuple, ast.List, ast.Dict, ast.Set, ast.comprehension),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def evaluate_expression(expression: str) -> Any:
    """The value of an expression over `COURSE` and `PYTHON`, its tuples as lists.
    Networks are built on the meta device, without values.

    Raises: ValueError for syntax or a name that it may not have.
    """
    tree = ast.parse(expression.strip(), mode="eval")
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    known = COURSE.keys() | PYTHON.keys() | bound
    for node in nodes:
        if (
            not isinstance(node, SYNTAX)
            or (isinstance(node, ast.Name) and node.id not in known)
            or (isinstance(node, ast.Attribute) and node.attr.startswith("_"))
        ):
            raise ValueError(
                f"{ast.unparse(node)!r} cannot stand in an expression; its names are"
                f" {', '.join(sorted(known))}"
            )
    namespace = {"__builtins__": {}, **PYTHON, **COURSE}
    with torch.device("meta"):
        return _plain(eval(compile(tree, "expression", "eval"), namespace))


def _plain(value: Any) -> Any:
    """Lists instead of tuples, as in YAML."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
