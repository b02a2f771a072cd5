"""What an X-ray of ResNet-152 costs beside torchinfo's summary, which has neither
operations by kernel nor receptive fields.

Both take turns, so that whatever else the machine does falls on both alike. Printed are
the median milliseconds with the quartiles, and the ratio of each pair of turns. Weights
are on the meta device for both, and on the processor for torchinfo as it is often used.

    python benchmarks/xray.py
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torchinfo
from tqdm import tqdm

from course_lib import ResNet, summarize

SIZE, ROUNDS = (3, 224, 224), 15


def xray(net) -> None:
    """Ours."""
    assert summarize(net, SIZE).macs == 11_513_626_624


def info(net) -> None:
    """Torchinfo's, on the device of the net, without printing."""
    device = next(net.parameters()).device
    torchinfo.summary(net, (1, *SIZE), device=device, verbose=0)


def main() -> None:
    """Measure, and print a table."""
    cpu = ResNet(152)
    with torch.device("meta"):
        meta = ResNet(152)
    ways = {
        "summarize": lambda: xray(meta),
        "torchinfo, meta": lambda: info(meta),
        "torchinfo, cpu": lambda: info(cpu),
    }
    times = {name: [] for name in ways}
    for _ in tqdm(range(ROUNDS + 1), leave=False, file=sys.stderr):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    ours = times["summarize"][1:]  # the first time imports and warms up
    print(f"{'':16} {'ms':>6} {'quartiles':>13}  times torchinfo's")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values[1:], n=4)
        ratios = (a / b for a, b in zip(ours, values[1:], strict=True))
        ratio = "" if values[1:] == ours else f"{statistics.median(ratios):.2f}"
        print(f"{name:16} {median:6.0f} {low:6.0f}-{high:<6.0f}  {ratio}")
    print(f"ours the first time: {times['summarize'][0]:.0f} ms")


if __name__ == "__main__":
    main()
