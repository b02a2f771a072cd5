"""Tables of chapters: HTML on a page, which the book makes sortable, and aligned text
wherever text is printed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_lib.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

Cell = str | int | float


@dataclass(frozen=True, repr=False)
class Table:
    """A table with a title for each column, which a cell shows as its value.

    An int is shown with commas between thousands, a float with two decimals, and text
    as it is. A column in which every cell begins with a digit or a sign has its cells
    on the right, any other on the left.

    Raises: ValueError if a row does not have as many cells as there are columns.
    """

    #: The titles of the columns.
    columns: Sequence[str]
    #: The rows, each with a cell for each column.
    rows: Sequence[Sequence[Cell]]
    #: What it shows; the text above it on a page.
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{len(self.columns)} columns need as many cells in a row, got"
                    f" {row!r}"
                )

    def __repr__(self) -> str:
        lines = [list(self.columns), *self._texts()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(
                f"{cell:{'>' if right else '<'}{width}}"
                for cell, width, right in zip(line, widths, self._right(), strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.caption, *text] if self.caption else text)

    def _repr_html_(self) -> str:
        caption = f"<caption>{escape(self.caption)}</caption>" * bool(self.caption)
        return "\n".join(
            [
                f"<table>{caption}",
                f"<thead>{self._line('th', self.columns)}</thead>",
                "<tbody>",
                *(self._line("td", cells) for cells in self._texts()),
                "</tbody>",
                "</table>",
            ]
        )

    def _line(self, tag: str, cells: Sequence[str]) -> str:
        sides = ("right" if right else "left" for right in self._right())
        marked = (
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>"

    def _right(self) -> list[bool]:
        columns = zip(*self._texts(), strict=True) if self.rows else self.columns
        return [
            all(not cell or cell[0] in "0123456789+-\u2212." for cell in column)
            for column in columns
        ]

    def _texts(self) -> list[list[str]]:
        return [[_text(cell) for cell in row] for row in self.rows]


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.2f}"


def layer_table(net: nn.Module, input_size: tuple[int, int, int]) -> Table:
    """The layers of `net` that have parameters or pool, as courses print them: for one
    image of `input_size` (C, H, W) its sizes, and what each layer costs. The memory is
    what autograd saves for backward, in kilobytes, as `summarize` counts it, that of
    activation functions and the like after the layer included.

    Raises: ValueError as `summarize` does.
    """
    summary = summarize(net, input_size)
    modules = dict(net.named_modules())
    shapes = _input_shapes(net, input_size)
    rows: list[list[Cell]] = []
    memory = 0
    for row in reversed(summary.layers):
        memory += row.saved_bytes or 0
        pools = hasattr(modules.get(row.name), "kernel_size")
        if row.name in shapes and (row.parameters or pools):
            sizes = _by(shapes[row.name]), *_window(modules[row.name]), _by(row.shape)
            costs = row.parameters, row.macs, f"{memory / 1000:,.1f}"
            rows.insert(0, [row.name, *sizes, *costs])
            memory = 0
    columns = ["layer", "input", "kernel", "stride", "padding"]
    columns += ["output", "parameters", "MACs", "memory, kB"]
    return Table(columns, rows, f"{summary.name}, layer by layer")


def _input_shapes(net: nn.Module, input_size: tuple[int, ...]) -> dict[str, Any]:
    """Name -> the shape of the last input of each module, without the batch."""
    shapes: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            shapes[name] = tuple(inputs[0].shape[1:])

        return before

    copied = copy.deepcopy(net).to("meta").eval()
    for name, module in copied.named_modules():
        module.register_forward_pre_hook(watch(name))
    dtype = next((p.dtype for p in copied.parameters()), torch.get_default_dtype())
    copied(torch.empty(1, *input_size, device="meta", dtype=dtype))
    return shapes


def _window(module: nn.Module) -> list[str]:
    """Kernel size, stride and padding, or nothing where there is no window."""
    if not hasattr(module, "kernel_size"):
        return ["", "", ""]
    sizes: list[Any] = [module.kernel_size, module.stride, module.padding]
    pairs = [size if isinstance(size, tuple) else (size, size) for size in sizes]
    kernel, *others = pairs
    one = [str(pair[0]) if len({*pair}) == 1 else _by(pair) for pair in others]
    return [_by(kernel), *one]


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
