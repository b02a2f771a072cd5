"""What `make test` does: run the parts of the gate, and say how long each took.

    python -m tools.gate lint unit book     these targets of make, in this order
    python -m tools.gate --record           put its times into benchmarks/gate.csv

Each part is a target of the Makefile. What an earlier part has made is not made again.
The first part that fails ends the run, and the table says which it was. The standard
library is enough to run the parts: the first of them installs everything else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LAST = ROOT / "_build/gate.json"
TABLE = ROOT / "benchmarks/gate.csv"


class Part(NamedTuple):
    """How a part ended: its target, seconds by the clock, seconds of the processor in
    all of its processes, and make's exit code.
    """

    name: str
    seconds: float
    cpu: float
    code: int


def run(name: str, done: list[str]) -> Part:
    """Make the target `name`, but none of those that are `done`."""
    finished = [word for target in done for word in ("--old-file", target)]
    start, before = time.perf_counter(), _cpu()
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", *finished, name]
    code = subprocess.run(command, cwd=ROOT).returncode
    return Part(name, time.perf_counter() - start, _cpu() - before, code)


def _cpu() -> float:
    """Seconds of the processor in the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(parts: list[Part]) -> str:
    """The times of all parts, and their sum."""
    lines = [f"{'part':12} {'seconds':>8} {'CPU seconds':>12}"]
    total = Part(
        "all",
        sum(part.seconds for part in parts),
        sum(part.cpu for part in parts),
        max((part.code for part in parts), default=0),
    )
    for part in (*parts, total):
        failed = "  FAILED" if part.code else ""
        name = part.name.removeprefix(".venv/")
        lines.append(f"{name:12} {part.seconds:8.1f} {part.cpu:12.1f}{failed}")
    return "\n".join(lines)


def record() -> None:
    """Put the times of the last run, with the machine, into the table: in the place of
    the rows of the same part on the same kind of machine.
    """
    from benchmarks.measure import here  # they import torch
    from experiments.rows import CsvTable

    rows = []
    for name, seconds, cpu, code in json.loads(LAST.read_text(encoding="utf-8")):
        if code:
            sys.exit(f"{name} failed in the last run: nothing is recorded")
        row = {"part": name, "seconds": f"{seconds:.1f}", "cpu_seconds": f"{cpu:.1f}"}
        rows.append(row | here())
    CsvTable(TABLE, ("part", "machine", "processor")).add(*rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="targets of make")
    parser.add_argument("--record", action="store_true", help="write the last times")
    arguments = parser.parse_args()
    if arguments.record:
        record()
        return
    if not arguments.parts:
        parser.error("name a part, such as unit")
    parts: list[Part] = []
    for name in arguments.parts:
        parts.append(run(name, [part.name for part in parts]))
        if parts[-1].code:
            break
    LAST.parent.mkdir(exist_ok=True)
    LAST.write_text(json.dumps(parts), encoding="utf-8")
    print(f"\n{table(parts)}")
    sys.exit(parts[-1].code)


if __name__ == "__main__":
    main()
