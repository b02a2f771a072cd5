"""What an import costs, in processes of its own: `course_lib` against `d2l.torch`.

python -m benchmarks.imports
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.measure import Result, main, side_by_side, take_turns

#: Case -> what has been imported before, and does not count.
CASES = {"with torch": "time", "beyond torch": "torch"}
ROUNDS = 5


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Import the one and the other, in turns."""
    sides = [fresh(CASES[case], name) for name in ("course_lib", "d2l.torch")]
    seconds = take_turns(1 if quick else ROUNDS, *sides, warm_up=not quick)
    yield side_by_side(*seconds, against="d2l")


def fresh(before: str, name: str) -> Callable[[], float]:
    """Import `name` in a new process, after `before`; what counts is its own clock."""
    code = (
        f"import {before}, time; start = time.perf_counter(); import {name};"
        "print(time.perf_counter() - start)"
    )

    def side() -> float:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout)

    return side


if __name__ == "__main__":
    main("import", CASES, measure)
