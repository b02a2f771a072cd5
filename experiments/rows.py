"""Rows that were measured, in a table of text: what experiments, benchmarks, proofs and
the gate write down, each under its keys and with what it came from.
"""

from __future__ import annotations

import csv
import datetime
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from course_lib import runtime

ROOT = Path(__file__).parents[1]

#: Where chapters look for tables: `course_lib.recorded`.
RESULTS = ROOT / "book/results"

#: A row: column -> what is written there.
Row = dict[str, str]


@dataclass(frozen=True)
class CsvTable:
    """Rows in the CSV file `path`; those with the same `keys` are the same measurement.
    An `ordered` table is sorted by them, another keeps its rows as they came.
    """

    path: Path
    keys: tuple[str, ...]
    ordered: bool = False

    def rows(self) -> list[Row]:
        """All rows; none if there is no such file yet."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def find(self, wanted: Row) -> Row | None:
        """The first row with these entries, if there is one."""
        return next((r for r in self.rows() if wanted.items() <= r.items()), None)

    def add(self, *new: Row) -> None:
        """Write rows in the place of those with their keys, or at the end, at once;
        several processes may.
        """
        with self._lock():
            rows = {self._key(row): row for row in (*self.rows(), *new)}
            self._save([rows[key] for key in (sorted(rows) if self.ordered else rows)])

    def forget(self, wanted: Row, code: str) -> None:
        """Remove the rows with these entries that were measured with other code."""
        with self._lock():
            rows = self.rows()
            old = [r for r in rows if wanted.items() <= r.items() and r["code"] != code]
            self._save([row for row in rows if row not in old])

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.keys)

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self.path}.lock")

    def _save(self, rows: list[Row]) -> None:
        """Write all rows in one move: the table is whole whenever one looks."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)


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


def today() -> Row:
    """The date, as a column."""
    return {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
