"""What ``fit(compiled=True)`` brings to a step of training, and what it costs before
the first one: the same network with torch's compiler and without.

    python -m benchmarks.compiled
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from benchmarks.formats import NETS, Step
from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from course_lib import runtime

CASES = ("LeNet modern", "VGG small", "ResNet small")
ROUNDS = 15


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Compile, then take steps in turns."""
    plain, compiled = (Step(NETS[case], runtime()) for _ in range(2))
    if not quick:
        compiled.net = torch.compile(compiled.net)
    start = time.perf_counter()
    compiled()
    first = time.perf_counter() - start
    turns = take_turns(1 if quick else ROUNDS, timed(compiled), timed(plain))
    note = f"{first:.0f} seconds before the first step"
    yield side_by_side(*turns, against="the same without", note=note)


if __name__ == "__main__":
    main("compiled", CASES, measure)
