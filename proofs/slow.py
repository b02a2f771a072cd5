"""Once more: the tests that `make test` leaves out, as each has a quick sibling there.

    python -m proofs.slow           those that were not run with this code
    python -m proofs.slow NAME ...  these files, such as train

They go through what the siblings replace: torchrun, torch's compiler, the kernel of a
notebook, every place to be killed at, every case of every benchmark. A row for each
file of tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

from proofs.common import ROOT, Table, fingerprint, pytest, together

TABLE = Table("slow", ("tests",))
MARK = "pytest.mark.slow"

#: What the tests import or run.
CODE = ("course_lib", "tests", "benchmarks", "experiments", "proofs/seeds.py")


def chosen(names: list[str]) -> list[Path]:
    """The files of tests that have slow ones, or those of these `names`."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    known = {
        path.stem.removeprefix("test_"): path
        for path in paths
        if MARK in path.read_text(encoding="utf-8")
    }
    if unknown := set(names) - known.keys():
        sys.exit(
            f"no such slow tests: {', '.join(sorted(unknown))}; there are"
            f" {', '.join(known)}"
        )
    return [known[name] for name in names or known]


def attempt(path: Path) -> dict[str, str]:
    """The row of a file, measured unless it is known to pass."""
    key = {"tests": path.relative_to(ROOT).as_posix()}
    key["code"] = fingerprint(*(ROOT / name for name in CODE))
    if row := TABLE.find(key | {"result": "passes"}):
        return row
    outcome = pytest(ROOT, "-m", "slow", key["tests"], env={"OMP_NUM_THREADS": "1"})
    row = key | outcome.columns()
    TABLE.add(row)
    return row


def main() -> int:
    """Run what was not run, and print the table."""
    results = set()
    for row in together(attempt, chosen(sys.argv[1:])):
        results.add(row["result"])
        print(f"{row['result']:6} {row['seconds']:>4} s  {row['tests']}", flush=True)
        if row["noticed"]:
            print(f"       {row['noticed']}", flush=True)
    if "FAILS" in results:
        return 1
    return 0 if results == {"passes"} else 2


if __name__ == "__main__":
    sys.exit(main())
