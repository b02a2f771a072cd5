"""What is known of the layers of a network, as tables and as bars."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.arguments import check_one_of
from course_lib.summary.receptive_field import Field

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SummaryRow(NamedTuple):
    """One layer or one stage, for one image."""

    #: Its name in the network.
    name: str
    #: The name of its class, or of the operations that a module does itself.
    kind: str
    #: Shape of its output, without the batch.
    shape: tuple[int, ...]
    #: Trainable parameters; those that are shared only where they come first.
    parameters: int
    #: Multiply-accumulates; each is two FLOPs.
    macs: int
    #: Memory of its output, in bytes; 0 if that is a view or its changed input.
    activations: int
    #: What autograd saves of it for backward, in bytes; None if unknown.
    saved_bytes: int | None
    #: Receptive field of its output, in pixels; None if unknown.
    field: Field | None
    #: How many times it runs.
    calls: int


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

    def table(self, rows: str = "stages") -> str:
        """The "stages" or the "layers", aligned, and the notes.

        Raises: ValueError for other `rows`.
        """
        left, lines = self._cells(rows)
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

    def html(self, rows: str = "stages") -> str:
        """The same table for a notebook, which is plain HTML.

        Raises: ValueError for other `rows`.
        """
        left, (header, *body) = self._cells(rows)

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
        check_one_of(("stages", "layers"), rows=rows)
        return self.stages if rows == "stages" else self.layers

    def _cells(self, rows: str) -> tuple[int, list[list[str]]]:
        """How many columns are text, and the lines of a table."""
        chosen, columns = self._rows(rows), COLUMNS[rows]
        left = list(columns).index("parameters")
        total = SummaryRow(
            name="total",
            kind="",
            shape=(),
            parameters=self.parameters,
            macs=self.macs,
            activations=self.activations,
            saved_bytes=self.saved_bytes,
            field=NO_FIELD,
            calls=0,
        )
        sizes = self.input_size
        several = bool(sizes) and isinstance(sizes[0], tuple)
        image = sizes[0] if several else sizes
        shapes = ", ".join(map(_times, sizes)) if several else _times(sizes)
        first = ["input", *[""] * (left - 2), shapes]
        lines = [
            list(columns),
            first + [""] * (len(columns) - left),
            *(
                [cell(row, image) for cell in columns.values()]
                for row in (*chosen, total)
            ),
        ]
        if not self.complete:
            column = list(columns).index("MACs")
            lines[-1][column] = f"at least {lines[-1][column]}"
        return left, lines


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


def _receptive_field(row: SummaryRow, input_size: Sequence[int]) -> str:
    """Its size, "all" where each element depends on the whole image."""
    if row.field and row.field.size and row.field.covers(input_size[1:]):
        return "all"
    return _sides(row, "size")


COLUMNS: dict[str, dict[str, Callable[[SummaryRow, Sequence[int]], str]]] = {
    "stages": {
        "stage": lambda row, _: row.name,
        "output shape": lambda row, _: _times(row.shape),
        "parameters": lambda row, _: f"{row.parameters:,}",
        "MACs": lambda row, _: f"{row.macs:,}",
        "memory": lambda row, _: _size(row.saved_bytes),
        "receptive field": _receptive_field,
    },
    "layers": {
        "layer": lambda row, _: row.name,
        "type": lambda row, _: row.kind,
        "output shape": lambda row, _: _times(row.shape),
        "parameters": lambda row, _: f"{row.parameters:,}",
        "MACs": lambda row, _: f"{row.macs:,}",
        "activations": lambda row, _: _size(row.activations),
        "memory": lambda row, _: _size(row.saved_bytes),
        "receptive field": _receptive_field,
        "stride": lambda row, _: _sides(row, "stride"),
        "center": lambda row, _: _sides(row, "center"),
    },
}
