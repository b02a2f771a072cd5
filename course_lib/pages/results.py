"""Recorded results: what the experiments measured, for chapters to plot.

Scripts in ``experiments/`` write the tables, each row with where and when it was
measured; they come along when the package is installed.
"""

from __future__ import annotations

import csv
from pathlib import Path

from course_lib.arguments import check_one_of

#: Where the tables are: in an installed package, and in the repository.
FOLDERS = (
    Path(__file__).parents[1] / "_results",
    Path(__file__).parents[2] / "book" / "results",
)


def recorded(table: str, **wanted: str) -> list[dict[str, str]]:
    """The rows of a recorded table whose columns have the `wanted` values, as text.

    Raises: ValueError if there is no such table, no such column, or no row in it that
        is wanted.
    """
    tables = {path.stem: path for folder in FOLDERS for path in folder.glob("*.csv")}
    check_one_of(tuple(sorted(tables)), table=table)
    with tables[table].open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    found = [row for row in rows if wanted.items() <= row.items()]
    if not found:
        for column, value in wanted.items():
            check_one_of(tuple(reader.fieldnames or ()), column=column)
            check_one_of(tuple({row[column]: None for row in rows}), **{column: value})
        raise ValueError(f"the table {table!r} has no row with {wanted}")
    return found
