"""On a GPU, d2l beside `fit`: images per second of d2l's loop with its loader, of `fit`
step by step, and of `fit` with a CUDA graph, all with d2l's network on its input; and
which fraction of the device's matrix products each of ours reaches.

    python -m benchmarks.gpu            about three minutes on a GPU; not run on one yet
    python -m benchmarks.gpu --quick    in seconds, on whatever there is

How long d2l's published accuracy takes there, `benchmarks.time_to_accuracy` measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import d2l_here
from benchmarks.d2l_here import FAMILIES, Family, Stretch
from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from benchmarks.training import BATCH, LR, Effort, few
from course_lib import Settings, fashion_mnist, fit, runtime

#: Pixels -> effort. Before a stretch is timed, all that the loader's workers have made
#: in advance, eight batches, is used up.
EFFORTS = {28: Effort(20, 300, 3), 96: Effort(12, 60, 3), 224: Effort(12, 30, 3)}
PRODUCT, PRODUCTS = 8192, 10  # rows of a square product, and how often


class Case(NamedTuple):
    """What all sides train: the network, from the same weights, in batches."""

    family: Family
    net: nn.Module
    batch_size: int
    effort: Effort


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Train for some steps in each way, in turns; then compare ours with the peak."""
    family = FAMILIES[case]
    effort = Effort(0, 6, 1) if quick else EFFORTS[family.size]
    torch.manual_seed(0)
    here = Case(family, family.build(), 4 if quick else BATCH, effort)
    ours = {"fit": train(here)}
    if runtime().device.type == "cuda":
        ours["a CUDA graph"] = train(here, captured=True)
    turns = take_turns(effort.rounds, d2l_loop(here), *ours.values(), warm_up=not quick)
    theirs, *mine = turns
    amount = here.effort.steps * here.batch_size
    work = amount * flops_per_image(here)
    best = peak(64 if quick else PRODUCT)
    for name, seconds in zip(ours, mine, strict=True):
        note = f"{name}, {family.size} pixels, {runtime()}"
        yield side_by_side(
            seconds,
            theirs,
            against=f"d2l, by {name}",
            unit="images/s",
            amount=amount,
            note=note,
        )
        yield side_by_side(
            [each / work for each in seconds],
            [1 / best] * effort.rounds,
            against=f"the peak, by {name}",
            unit="GFLOP/s",
            amount=1e-9,
            note=note,
        )


def train(case: Case, *, captured: bool = False) -> Callable[[], float]:
    """`fit`, as a side: its second epoch, since a graph is recorded in the first."""
    data = few(fashion_mnist(), case.effort.steps * case.batch_size)
    size = None if case.family.size == 28 else case.family.size
    settings = Settings(epochs=2, lr=LR, batch_size=case.batch_size, size=size)
    net = deepcopy(case.net)

    def side() -> float:
        history = fit(net, data, settings, captured=captured, progress=False)
        first, second = (epoch.seconds for epoch in history.epochs)
        return second - first

    return side


def d2l_loop(case: Case) -> Callable[[], float]:
    """d2l's loop with its loader, as a side."""
    loader, _ = d2l_here.load(case.batch_size, case.family.size)
    net, effort, device = deepcopy(case.net), case.effort, runtime().device
    return lambda: d2l_here.train(
        net, Stretch(loader, effort.warm_up, effort.steps), LR, device
    )


def flops_per_image(case: Case) -> float:
    """What a step multiplies and adds for an image, forward and backward."""
    net = deepcopy(case.net)
    x = torch.zeros(2, 1, case.family.size, case.family.size)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(x), torch.zeros(2, dtype=torch.long)).backward()
    return counter.get_total_flops() / len(x)


def peak(size: int) -> float:
    """The best rate of large products in the runtime's precision, in FLOP/s."""
    here = runtime()
    square = torch.randn(size, size).to(here.device, here.precision)

    def products() -> None:
        for _ in range(PRODUCTS):
            square @ square
        square[0, 0].item()  # waits until all is done

    seconds = take_turns(3, timed(products))[0]
    return PRODUCTS * 2 * size**3 / min(seconds)


if __name__ == "__main__":
    if runtime().device.type != "cuda" and "--quick" not in sys.argv:
        sys.exit("there is no GPU here; --quick tries it on what there is")
    main("gpu", FAMILIES, measure)
