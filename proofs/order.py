"""Independence of the tests: they pass in any order.

    python -m proofs.order          five random orders, those that were not tried yet
    python -m proofs.order SEED ... these

The files of tests are shuffled, and the tests within each; a process more than there
are cores takes them, as in `make test`. What the runs of one order share, such as a
cache, a random generator, or a folder, shows in another. A row for each order.
"""

from __future__ import annotations

import os
import sys

from proofs.common import ROOT, Table, fingerprint, pytest

TABLE = Table("order", ("order",))
ORDERS = range(1, 6)

#: What the tests import or run.
CODE = ("course_lib", "tests", "benchmarks/*.py", "experiments", "tools")


def attempt(order: int) -> dict[str, str]:
    """The row of an order, measured unless it is known to pass."""
    code = (path for part in CODE for path in sorted(ROOT.glob(part)))
    key = {"order": str(order), "code": fingerprint(*code)}
    if row := TABLE.find(key | {"result": "passes"}):
        return row
    outcome = pytest(
        ROOT,
        *("--random-order-bucket=module", f"--random-order-seed={order}"),
        *("--numprocesses", str(min(os.cpu_count() or 1, 8) + 1)),
        *("--dist", "worksteal"),
        env={"OMP_NUM_THREADS": "1"},
    )
    row = key | outcome.columns()
    TABLE.add(row)
    return row


def main() -> int:
    """Try what was not tried, and print the table."""
    asked = sys.argv[1:] or [*map(str, ORDERS)]
    if unknown := [each for each in asked if not each.isdecimal()]:
        sys.exit(f"an order is a whole number, its seed, not {unknown[0]!r}")
    results = set()
    for order in asked:
        row = attempt(int(order))
        results.add(row["result"])
        print(f"order {order}: {row['result']}, {row['seconds']} s", flush=True)
        if row["noticed"]:
            print(f"       {row['noticed']}", flush=True)
    return int(results != {"passes"})


if __name__ == "__main__":
    sys.exit(main())
