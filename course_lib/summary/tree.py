"""The modules of a network as a tree: what is in a module counts for it as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from course_lib.summary.reader import ModuleStats
from course_lib.summary.row import SummaryRow


def tree(
    name: str,
    kinds: Mapping[str, str],
    modules: Mapping[str, ModuleStats],
    layers: Mapping[str, ModuleStats],
) -> dict[str, ModuleStats]:
    """All modules by their names, each before those in it, with what `layers` have done
    in each; what the network called `name` has done is in the first. `kinds` are the
    names of their classes.
    """
    found: dict[str, ModuleStats] = {}
    for path, layer in layers.items():
        for part in _around(path):
            if part not in found:
                known = modules.get(part) or layers.get(part)
                stats = ModuleStats(part, kinds.get(part, ""))
                if known:
                    stats.shape, stats.input_shape = known.shape, known.input_shape
                    stats.field, stats.kernel = known.field, known.kernel
                    stats.calls = known.calls
                found[part] = stats
            stats = found[part]
            stats.parameters += layer.parameters
            stats.frozen += layer.frozen
            stats.macs += layer.macs
            stats.activations += layer.activations
            stats.saved_bytes += layer.saved_bytes
    found[""].name = name
    places = {path: place for place, path in enumerate(found)}
    return {
        path: found[path]
        for path in sorted(found, key=lambda path: [places[p] for p in _around(path)])
    }


def _around(path: str) -> list[str]:
    """A module and those around it, the outermost first."""
    parts = path.split(".") if path else []
    return [".".join(parts[:end]) for end in range(len(parts) + 1)]


def lines(
    rows: Sequence[SummaryRow], depth: int | None
) -> Iterator[tuple[str, SummaryRow]]:
    """The rows of a tree down to a `depth`, each with what stands in its first column;
    equal modules one after the other are one line, with what is in the first of them.
    """
    root, *rest = rows
    yield root.name, root
    yield from _below(rest, "", 1, depth)


def _below(
    rows: Sequence[SummaryRow], path: str, level: int, depth: int | None
) -> Iterator[tuple[str, SummaryRow]]:
    """The lines of the modules in the one called `path`."""
    if depth is not None and level > depth:
        return
    start = f"{path}." if path else ""
    inside = [row for row in rows if row.name.startswith(start)]
    children = [row for row in inside if "." not in row.name[len(start) :]]

    def shape(row: SummaryRow) -> tuple[object, ...]:
        """What it looks like, with all that is in it."""
        below = [r for r in inside if r.name.startswith(f"{row.name}.")]
        return tuple(
            (r.name[len(row.name) :], *(r[1:7] + r[8:])) for r in (row, *below)
        )

    for _, group in groupby(children, key=shape):
        first, *more = group
        name = first.name[len(start) :]
        if more:
            last = more[-1].name[len(start) :]
            name = f"{name} to {last}, {len(more) + 1} times"
        yield "  " * level + name, first
        yield from _below(inside, first.name, level + 1, depth)
