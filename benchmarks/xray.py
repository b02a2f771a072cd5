"""`summarize` against torchinfo's summary of ResNet-152, which has neither operations
by kernel nor receptive fields; with its weights on the meta device, and on the
processor as torchinfo is often used.

    python -m benchmarks.xray
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torchinfo

from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from course_lib import ResNet, summarize

CASES = {"weights on meta": "meta", "weights on the processor": "cpu"}
SIZE, ROUNDS = (3, 224, 224), 15


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Both describe the same network, in turns."""
    device = CASES[case]
    with torch.device(device):
        net = ResNet(18 if quick else 152)

    def theirs() -> None:
        torchinfo.summary(net, (1, *SIZE), device=device, verbose=0)

    sides = timed(lambda: summarize(net, SIZE)), timed(theirs)
    seconds = take_turns(1 if quick else ROUNDS, *sides, warm_up=not quick)
    yield side_by_side(*seconds, against="torchinfo")


if __name__ == "__main__":
    main("summary", CASES, measure)
