"""Experiments that cost more than a chapter may: one row at a time, each written down
as soon as it is measured, with what it came from.

A script in this folder defines an `Experiment` and runs it. It may be stopped at any
moment and goes on where it was. Rows whose code has changed since are measured again:
the fingerprint is of the code of the modules that the experiment names, without its
comments and docstrings.
"""

from __future__ import annotations

import ast
import csv
import datetime
import hashlib
import io
import os
import platform
import sys
import time
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from course_lib import runtime

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "book/results"

#: What is written beside each row's own columns.
PROVENANCE = (
    "seconds",
    "runs_on",
    "processor",
    "threads",
    "python",
    "torch",
    "date",
    "code",
)

Row = dict[str, str]


@dataclass(frozen=True)
class Experiment:
    """A table of measurements: its keys, what measures a row, and what that depends on.

    `modules` are paths in the repository.
    """

    table: str
    keys: list[Row]
    measure: Callable[[Row], Row]
    modules: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the rows are."""
        return RESULTS / f"{self.table}.csv"

    def rows(self) -> list[Row]:
        """The rows that have been measured."""
        return load(self.path)

    def stale(self) -> list[Row]:
        """The rows whose code has changed."""
        code = self.fingerprint()
        return [row for row in self.rows() if row["code"] != code]

    def fingerprint(self) -> str:
        """Twelve digits that change when the code of the modules does."""
        code = (without_words(ROOT / module) for module in self.modules)
        return hashlib.sha256("\n".join(code).encode()).hexdigest()[:12]

    def confirm(self) -> None:
        """Measure a stale row again; if nothing but times has changed, every row of the
        same code is as good as new.

        For changes that cannot change a result: a new argument, another name.
        """
        rows, here = self.rows(), where()
        old = next((r for r in self.stale() if here.items() <= r.items()), None)
        if old is None:
            sys.exit(f"{self.table} has no stale row that was measured as here: {here}")
        new = self.measure({name: old[name] for name in self.keys[0]})
        changed = [
            f"{name}: {old[name]} before, {value} now"
            for name, value in new.items()
            if "seconds" not in name and value != old[name]
        ]
        if changed:
            sys.exit("\n".join([f"{self.table} is stale indeed", *changed]))
        for row in rows:
            if row["code"] == old["code"]:
                row["code"] = self.fingerprint()
        save(self.path, rows)

    def run(self) -> None:
        """Measure what is missing or stale."""
        here = where()
        done = [row for row in self.rows() if row not in self.stale()]
        have = [{name: row[name] for name in self.keys[0] | here} for row in done]
        todo = [key for key in self.keys if key | here not in have]
        for key in tqdm(todo, desc=f"{self.table}, {here['processor']}", unit="row"):
            start = time.perf_counter()
            result = self.measure(key)
            about = {
                "seconds": f"{time.perf_counter() - start:.1f}",
                **here,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "code": self.fingerprint(),
            }
            self._write(key | result | about)

    def _write(self, new: Row) -> None:
        """Put `new` in the place of the stale row with its keys and processor."""

        def key(row: Row) -> Row:
            return {name: row[name] for name in (*self.keys[0], "processor")}

        rows = [row for row in self.rows() if key(row) != key(new)] + [new]
        rows.sort(key=lambda row: list(key(row).values()))
        save(self.path, rows)


def load(path: Path) -> list[Row]:
    """The rows of a table; none if there is no such file yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save(path: Path, rows: list[Row]) -> None:
    """Write a table in one move, so that it is whole whenever one looks."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def where() -> Row:
    """The machine, as far as results depend on it."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "runs_on": str(runtime()),
        "processor": f"{capability}, oneDNN {limit}" if limit else capability,
        "threads": str(torch.get_num_threads()),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__.split("+")[0],
    }


def without_words(path: Path) -> str:
    """The code of a module: no docstrings, comments or empty lines.

    Text, not a syntax tree: every version of Python prints its trees in another way.
    """
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0]
            if isinstance(first.value, ast.Constant) and first.end_lineno:
                lines[first.lineno - 1 : first.end_lineno] = [""] * (
                    first.end_lineno - first.lineno + 1
                )
    return "\n".join(line.rstrip() for line in lines if line.strip())


def main(experiment: Experiment) -> None:
    """Run `experiment`; with ``--stale``, only say which of its rows are stale; with
    ``--confirm``, see if they are.
    """
    if "--confirm" in sys.argv:
        experiment.confirm()
    elif "--stale" in sys.argv:
        print("\n".join(map(str, experiment.stale())) or "nothing is stale")
    else:
        experiment.run()
