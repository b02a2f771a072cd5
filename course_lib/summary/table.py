"""What is known of the layers of a network, as tables and as bars."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from course_lib.arguments import check_one_of, whole
from course_lib.summary.receptive_field import Field
from course_lib.summary.row import SummaryRow
from course_lib.summary.tree import lines as tree_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Summary:
    """The stages and the layers of a network, which are a table when printed."""

    #: The name of its class.
    name: str
    #: The shape of the image that was traced: (C, H, W), in pixels; or of several
    #: inputs.
    input_size: tuple[Any, ...]
    #: The children of the network, in the order in which they run.
    stages: tuple[SummaryRow, ...]
    #: Its modules that call no other, in the order in which they run.
    layers: tuple[SummaryRow, ...]
    #: Trainable parameters, shared ones counted once.
    parameters: int
    #: What could not be counted.
    notes: tuple[str, ...] = ()
    #: Parameters that are not trained, shared ones counted once.
    frozen_parameters: int = 0
    #: Whether all multiply-accumulates were counted; if not, there are at least these.
    complete: bool = True
    #: All modules, each before those in it, with what is in them.
    modules: tuple[SummaryRow, ...] = ()
    #: The memory of all parameters, in bytes.
    parameter_bytes: int = 0
    #: That of their gradients: of those that are trained.
    gradient_bytes: int = 0

    def training_bytes(self, batch: int = 1, optimizer: str = "adam") -> int | None:
        """The memory that a step of training needs for a mini-batch, in bytes:
        parameters, gradients, the state of an `optimizer` ("sgd", "momentum" or
        "adam"), and what is saved for backward; None if that is unknown.

        Raises: ValueError for another optimizer.
        """
        check_one_of(tuple(STATES), optimizer=optimizer)
        if self.saved_bytes is None:
            return None
        weights = self.parameter_bytes + self.gradient_bytes * (1 + STATES[optimizer])
        return weights + batch * self.saved_bytes

    @property
    def macs(self) -> int:
        """The multiply-accumulates for one image."""
        return sum(row.macs for row in self.stages)

    @property
    def activations(self) -> int:
        """The bytes of the outputs of all layers, for one image."""
        return sum(row.activations for row in self.stages)

    @property
    def saved_bytes(self) -> int | None:
        """The bytes that autograd saves for backward, of one image; None if unknown."""
        saved = [row.saved_bytes for row in self.stages if row.saved_bytes is not None]
        return sum(saved) if len(saved) == len(self.stages) else None

    def __getitem__(self, name: str) -> SummaryRow:
        """The stage or the layer called `name`. Raises: ValueError if there is none."""
        for row in self.stages + self.layers:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in self.stages)
        raise ValueError(f"no row has the name {name!r}; the stages are {names}")

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return self.html()

    def table(
        self,
        rows: str = "stages",
        *,
        columns: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> str:
        """The "stages", the "layers", or all modules as a "tree", down to a `depth` if
        one is given, aligned, and the notes. `columns` are some of `CELLS`.

        Raises: ValueError for other `rows` or `columns`.
        """
        left, lines = self._cells(rows, columns, depth)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(
                f"{cell:{'<' if index < left else '>'}{width}}"
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        notes = [line for note in self.notes for line in textwrap.wrap(note, 88)]
        return "\n".join([self.name, *text, *notes])

    def html(
        self,
        rows: str = "stages",
        *,
        columns: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> str:
        """The same table for a notebook, which is plain HTML.

        Raises: ValueError as `table`.
        """
        left, (header, *body) = self._cells(rows, columns, depth)

        def line(tag: str, cells: list[str]) -> str:
            sides = ["left"] * left + ["right"] * (len(cells) - left)
            return "<tr>{}</tr>".format(
                "".join(
                    f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
                    for side, cell in zip(sides, cells, strict=True)
                )
            )

        return "\n".join(
            [
                "<table>",
                f"<caption>{escape(self.name)}</caption>",
                f"<thead>{line('th', header)}</thead>",
                "<tbody>",
                *(line("td", cells) for cells in body),
                "</tbody>",
                "</table>",
                *(f"<p>{escape(note)}</p>" for note in self.notes),
            ]
        )

    def to_pandas(self, rows: str = "layers") -> Any:
        """The "layers" or the "stages" as a `pandas.DataFrame`, a column for each part
        of the receptive field.

        Raises: ValueError for other `rows`; ImportError if there is no pandas.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        records = [
            {
                **{
                    key: value for key, value in row._asdict().items() if key != "field"
                },
                **(row.field._asdict() if row.field else dict.fromkeys(Field._fields)),
            }
            for row in self._rows(rows)
        ]
        return pandas.DataFrame(records)

    def plot(self, axes: Axes, what: str, rows: str = "layers") -> None:
        """Draw a bar for each of the "layers" that has anything, or for each of the
        "stages": `what` is "parameters", "macs", "activations" or "saved_bytes".

        Raises: ValueError for another `what` or other `rows`.
        """
        from matplotlib.ticker import EngFormatter

        check_one_of(tuple(LABELS), what=what)
        bars = [row for row in self._rows(rows) if any(row[3:7])]
        names = [row.name.replace("$", r"\$") for row in bars]  # which is no formula
        axes.barh(names, [getattr(row, what) or 0 for row in bars])
        axes.set(xlabel=LABELS[what], ylim=(len(bars) - 0.5, -0.5))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_axisbelow(True)
        axes.grid(axis="y", visible=False)

    def _rows(self, rows: str) -> tuple[SummaryRow, ...]:
        check_one_of(("stages", "layers", "tree"), rows=rows)
        return {"stages": self.stages, "layers": self.layers, "tree": self.modules}[
            rows
        ]

    def _cells(
        self, rows: str, columns: Sequence[str] | None, depth: int | None
    ) -> tuple[int, list[list[str]]]:
        """How many columns are text, and the lines of a table."""
        chosen: list[tuple[str, SummaryRow]] = [(r.name, r) for r in self._rows(rows)]
        if depth is not None:
            depth = whole("depth", depth, 0)
        if rows == "tree" or depth is not None:
            chosen = [*tree_lines(self.modules, depth)]
            rows = "tree"
        names = list(
            columns or (COLUMNS[rows] if self.input_size else PARAMETERS[rows])
        )
        for name in names:
            check_one_of(tuple(CELLS), columns=name)
        header = [TITLES[rows], *names]
        left = 1 + sum(1 for _ in takewhile(TEXTS.__contains__, names))
        shapes = self.input_size
        several = bool(shapes) and isinstance(shapes[0], tuple)
        size = ", ".join(map(_times, shapes)) if several else _times(shapes)
        inputs = [size if name == "output shape" else "" for name in names]
        lines = [header, ["input", *inputs]] if self.input_size else [header]
        total = self._total()
        for name, row in [*chosen, ("total", total)]:
            cells = [CELLS[each](row, self) for each in names]
            lines.append([name, *cells])
        if not self.complete and self.input_size and "MACs" in names:
            column = names.index("MACs") + 1
            lines[-1][column] = f"at least {lines[-1][column]}"
        return left, lines

    def _total(self) -> SummaryRow:
        return SummaryRow(
            name="total",
            kind="",
            shape=(),
            parameters=self.parameters,
            macs=self.macs,
            activations=self.activations,
            saved_bytes=self.saved_bytes,
            field=NO_FIELD,
            calls=0,
            frozen=self.frozen_parameters,
        )


NO_FIELD = Field((), (), ())

#: What `Summary.plot` can draw.
LABELS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "activations": "bytes of the output",
    "saved_bytes": "bytes saved for backward",
}


def _times(values: Sequence[object]) -> str:
    """(64, 56, 56) -> "64 x 56 x 56", as the papers print shapes."""
    return " x ".join(map(str, values))


def _size(size: int | None) -> str:
    """1500 -> "1.5 kB"."""
    if size is None:
        return "?"
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} B"


def _sides(row: SummaryRow, part: str) -> str:
    """One number if it is the same along all axes."""
    if row.field is None:
        return "?"
    values = ["varies" if v is None else f"{v:g}" for v in getattr(row.field, part)]
    return _times(values if len(set(values)) > 1 else values[:1])


def _receptive_field(row: SummaryRow, summary: Summary) -> str:
    """Its size, "all" where each element depends on the whole image."""
    shapes = summary.input_size
    image = shapes[0] if shapes and isinstance(shapes[0], tuple) else shapes
    if row.field and row.field.size and row.field.covers(image[1:]):
        return "all"
    return _sides(row, "size")


def _percent(row: SummaryRow, summary: Summary) -> str:
    """Its share of all parameters."""
    every = summary.parameters + summary.frozen_parameters
    return f"{100 * (row.parameters + row.frozen) / every:.1f}%" if every else ""


def _trainable(row: SummaryRow, _summary: Summary) -> str:
    """Whether its parameters are trained, all or some of them."""
    if row.parameters and row.frozen:
        return "partly"
    return "yes" if row.parameters else "no" if row.frozen else ""


#: Title of a column -> what is in it.
CELLS: dict[str, Callable[[SummaryRow, Summary], str]] = {
    "type": lambda row, _: row.kind,
    "kernel": lambda row, _: _times(row.kernel),
    "input shape": lambda row, _: _times(row.input_shape),
    "output shape": lambda row, _: _times(row.shape),
    "parameters": lambda row, _: f"{row.parameters:,}",
    "frozen": lambda row, _: f"{row.frozen:,}",
    "trainable": _trainable,
    "percent": _percent,
    "MACs": lambda row, _: f"{row.macs:,}",
    "activations": lambda row, _: _size(row.activations),
    "memory": lambda row, _: _size(row.saved_bytes),
    "receptive field": _receptive_field,
    "stride": lambda row, _: _sides(row, "stride"),
    "center": lambda row, _: _sides(row, "center"),
    "calls": lambda row, _: f"{row.calls or ''}",
}

#: Those that are text, and stand left.
TEXTS = ("type", "kernel", "input shape", "output shape")

#: What the first column is called.
TITLES = {"stages": "stage", "layers": "layer", "tree": "module"}

#: The columns that are shown.
COLUMNS = {
    "stages": ("output shape", "parameters", "MACs", "memory", "receptive field"),
    "layers": (
        *("type", "output shape", "parameters", "MACs", "activations", "memory"),
        *("receptive field", "stride", "center"),
    ),
    "tree": ("type", "output shape", "parameters", "MACs", "memory"),
}

#: And those without an input.
PARAMETERS = {
    "stages": ("parameters", "percent"),
    "layers": ("type", "parameters", "percent"),
    "tree": ("type", "parameters", "percent"),
}

#: Numbers that an optimizer keeps for each that it trains.
STATES = {"sgd": 0, "momentum": 1, "adam": 2}
