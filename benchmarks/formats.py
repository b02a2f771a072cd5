"""What a training step costs in each memory format and precision: the measurement that
`course_lib.runtime` rests on.

Steps of all combinations take turns, so that whatever else the machine does falls on
all alike. Printed are the median milliseconds of the first combination, and how many
times faster than that each of the others is.

    python -m benchmarks.formats
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from tqdm import tqdm

from course_lib import Runtime, runtime
from course_lib.catalog import NETWORKS

#: The networks for Fashion-MNIST.
NETS = {
    name: entry.build for name, entry in NETWORKS.items() if entry.data == "fashion"
}
FORMATS = {"contiguous": torch.contiguous_format, "last": torch.channels_last}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BATCH, ROUNDS = 128, 15


class Step:
    """One training step of one network on one runtime, timed."""

    def __init__(self, build, runtime: Runtime) -> None:
        torch.manual_seed(0)
        self.net, self.runtime = runtime.prepare(build()), runtime
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.01, fused=True)
        self.x = runtime.to_device(torch.randn(BATCH, 1, 28, 28))
        self.y = torch.randint(0, 10, (BATCH,)).to(runtime.device)
        self.times: list[float] = []

    def __call__(self) -> None:
        """Take the step."""
        start = time.perf_counter()
        with self.runtime.autocast():
            loss = F.cross_entropy(self.net(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()
        self.times.append(time.perf_counter() - start)


def main() -> None:
    """Measure, and print a table."""
    device = runtime().device
    combinations = {
        f"{precision}, {layout}": Runtime(
            device, PRECISIONS[precision], FORMATS[layout]
        )
        for precision, layout in itertools.product(PRECISIONS, FORMATS)
    }
    if runtime().precision == torch.float32:  # emulated, it would take minutes
        combinations = {k: v for k, v in combinations.items() if "bfloat16" not in k}
    first, *others = combinations
    print(f"{'':22} {first} (ms)", *(f"{name:>16}" for name in others), sep="  ")
    for name, build in tqdm(NETS.items(), leave=False, file=sys.stderr):
        steps = {key: Step(build, each) for key, each in combinations.items()}
        for _ in range(ROUNDS):
            for step in steps.values():
                step()
        median = {key: statistics.median(step.times[2:]) for key, step in steps.items()}
        ratios = (f"{median[first] / median[key]:.2f}" for key in others)
        print(
            f"{name:22}  {1e3 * median[first]:23.1f}  "
            + "  ".join(f"{ratio:>16}" for ratio in ratios)
        )


if __name__ == "__main__":
    main()
