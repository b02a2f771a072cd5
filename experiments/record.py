"""Experiments that cost more than a chapter may: one row at a time, each written down
as soon as it is measured, with what it came from.

A script in this folder defines an `Experiment` and runs it. It may be stopped at any
moment and goes on where it was. A row is measured again when something that it rests on
has changed: `experiments.reach` finds what that is.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tqdm import tqdm

from experiments import commits
from experiments.reach import Code
from experiments.rows import RESULTS, ROOT, CsvTable, Row, today, where

__all__ = ["Experiment", "Row", "every", "main", "stale_lines"]

#: What is written beside each row's own columns. The code of a row is at `commit`, and
#: `code` is the fingerprint of that, or of code that was confirmed to do the same.
PROVENANCE = (
    "seconds",
    "runs_on",
    "processor",
    "threads",
    "python",
    "torch",
    "date",
    "code",
    "commit",
)


@dataclass(frozen=True)
class Experiment:
    """A table of measurements: its name, the keys of its rows, and what measures one.

    The script has the same name as the table, and in it `measure` is called so.
    """

    table: str
    keys: list[Row]
    measure: Callable[[Row], Row]

    @property
    def file(self) -> CsvTable:
        """Where the rows are."""
        keys = (*self.keys[0], "processor")
        return CsvTable(RESULTS / f"{self.table}.csv", keys, ordered=True)

    def rows(self) -> list[Row]:
        """The rows that have been measured."""
        return self.file.rows()

    def key(self, row: Row) -> Row:
        """What names a row, but for the machine."""
        return {name: row[name] for name in self.keys[0]}

    def reached(self, row: Row, code: Code) -> dict[str, set[str]]:
        """What a row rests on in `code`: `Code.reached`."""
        module = f"experiments.{self.table}"
        return code.reached(module, "measure", self.key(row).values())

    def fingerprint(self, row: Row, code: Code) -> str:
        """Twelve digits that change with what a row rests on."""
        module = f"experiments.{self.table}"
        return code.fingerprint(module, "measure", self.key(row).values())

    def stale(self, code: Code | None = None) -> list[Row]:
        """The rows that rest on other code than there is now."""
        code = code or Code(ROOT)
        rows = self.rows()
        return [row for row in rows if row["code"] != self.fingerprint(row, code)]

    def run(self, values: Iterable[str] = ()) -> None:
        """Measure what is missing or stale of the rows whose keys have all `values`."""
        code, here = Code(ROOT), where()
        stale = self.stale(code)
        have = [
            self.key(row) | {name: row[name] for name in here}
            for row in self.rows()
            if row not in stale
        ]
        wanted = [key for key in self.keys if {*values} <= {*key.values()}]
        todo = [key for key in wanted if key | here not in have]
        # Now, and not after hours in which someone may have changed a file.
        stamps = [self.fingerprint(key, code) for key in todo]
        at = [*self._commits(todo, stamps)]
        bar = tqdm(todo, desc=f"{self.table}, {here['processor']}", unit="row")
        for key, stamp, commit in zip(bar, stamps, at, strict=True):
            start = time.perf_counter()
            result = self.measure(key)
            seconds = {"seconds": f"{time.perf_counter() - start:.1f}"}
            about = seconds | here | today() | {"code": stamp, "commit": commit}
            self.file.add(key | result | about)

    def _commits(self, keys: list[Row], stamps: list[str]) -> Iterator[str]:
        """For each of `keys` the commit that is checked out, if that has the code with
        which its row is measured; whatever else may have changed since.
        """
        head = commits.head(ROOT)
        if head == commits.UNKNOWN or not commits.changed(ROOT):
            yield from [head] * len(keys)
            return
        with commits.tree(ROOT, head) as folder:
            committed = Code(folder)
            for key, stamp in zip(keys, stamps, strict=True):
                try:
                    there = self.fingerprint(key, committed) == stamp
                except ValueError:  # the script is new, or what it imports
                    there = False
                yield head if there else commits.UNKNOWN


def every() -> dict[str, Experiment]:
    """The experiments by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    modules = [importlib.import_module(f"experiments.{name}") for name in names]
    found = [vars(module).get("EXPERIMENT") for module in modules]
    return {each.table: each for each in found if each is not None}


def stale_lines(experiment: Experiment) -> Iterator[str]:
    """A line for each row that is stale: which it is, and what has changed since it was
    measured, if git has that.
    """
    now = Code(ROOT)
    with ExitStack() as trees:

        @cache
        def at(commit: str) -> Code:
            return Code(trees.enter_context(commits.tree(ROOT, commit)))

        for row in experiment.stale(now):
            key = ", ".join(
                f"{name} {value}" for name, value in experiment.key(row).items()
            )
            try:
                commit = measured_at(experiment, row)
                before = experiment.reached(row, at(commit))
            except (commits.CommitError, ValueError) as error:
                changes = f"what has changed is not known: {error}"
            else:
                changes = _changes(before, experiment.reached(row, now))
                changes = f"since {commit}: {changes}"
            yield f"{experiment.table}: {key}: {changes}"


def _changes(before: dict[str, set[str]], after: dict[str, set[str]]) -> str:
    """What differs in what a row rested on before, and rests on after."""
    both = before.keys() & after
    kinds = {
        "changed": [name for name in both if before[name] != after[name]],
        "gone": before.keys() - after,
        "new": after.keys() - before,
    }
    said = [
        f"{kind} {', '.join(sorted(names))}" for kind, names in kinds.items() if names
    ]
    return "; ".join(said) or "nothing but the fingerprint itself"


def measured_at(experiment: Experiment, row: Row) -> str:
    """The commit at which the code of a row is: what it says, or else the one that
    brought the row.

    Raises: CommitError if there is none.
    """
    named = row.get("commit") or commits.UNKNOWN
    if named != commits.UNKNOWN:
        return named
    return commits.first_with(ROOT, row["code"], experiment.file.path)


def main(experiment: Experiment) -> None:
    """Run `experiment`, or those of its rows that are named; with ``--stale``, only say
    which of its rows are stale.
    """
    table = experiment.table
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{table}",
        description=f"Measure what is missing or stale in book/results/{table}.csv.",
    )
    parser.add_argument(
        "values", nargs="*", metavar="VALUE", help='of a key, such as "ResNet small"'
    )
    parser.add_argument("--stale", action="store_true", help="only list stale rows")
    arguments = parser.parse_args()
    if arguments.stale:
        print("\n".join(stale_lines(experiment)) or "nothing is stale")
        return
    known = {value for key in experiment.keys for value in key.values()}
    if unknown := sorted({*arguments.values} - known):
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    experiment.run(arguments.values)
