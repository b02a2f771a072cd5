"""Which fraction of the machine's matrix products a training step of each small network
reaches.

The peak is the best rate of large square products in the runtime's precision, measured
in the same rounds. Counted is what a step multiplies, forward and backward.

    python -m benchmarks.peak
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.formats import NETS, Step
from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from course_lib import runtime

SIZES, ROUNDS = (1024, 2048, 3072), 15


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Steps and products in turns."""
    here = runtime()
    sizes, rounds = ((64,), 1) if quick else (SIZES, ROUNDS)
    squares = [
        torch.randn(size, size).to(here.device, here.precision) for size in sizes
    ]
    step = Step(NETS[case], here)
    with FlopCounterMode(display=False) as counter:
        step()
    products = (timed(lambda square=square: square @ square) for square in squares)
    mine, *theirs = take_turns(rounds, timed(step), *products)
    rates = (
        2 * size**3 / min(seconds) for size, seconds in zip(sizes, theirs, strict=True)
    )
    peak = max(rates)
    yield side_by_side(
        [seconds / counter.get_total_flops() for seconds in mine],
        [1 / peak] * rounds,
        against="the peak",
        unit="GFLOP/s",
        amount=1e-9,
        note=f"{counter.get_total_flops() / 1e9:.1f} GFLOP a step",
    )


if __name__ == "__main__":
    main("peak", NETS, measure)
