"""Images per second in training, the same network on the same input: d2l's loop with
its loader, a plain loop as in torchvision's references, and `fit`.

    python -m benchmarks.training
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks import d2l_here
from benchmarks.d2l_here import FAMILIES, Batch, Stretch
from benchmarks.measure import Result, main, side_by_side, take_turns
from course_lib import FashionMNIST, Settings, Split, fashion_mnist, fit
from course_lib.data import MEAN, STD

BATCH, LR = 128, 0.01


class Effort(NamedTuple):
    """Steps of theirs that are not timed, steps that are, and rounds."""

    warm_up: int
    steps: int
    rounds: int


#: Pixels -> effort. A step at 224 pixels takes seconds, and the loaders' workers have
#: filled their queues within one.
EFFORTS = {28: Effort(20, 150, 5), 96: Effort(1, 4, 3), 224: Effort(1, 3, 3)}


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Train for some steps in each of the three ways."""
    family = FAMILIES[case]
    effort = Effort(0, 1, 1) if quick else EFFORTS[family.size]
    batch = 4 if quick else BATCH
    torch.manual_seed(0)
    net = family.build()
    nets = [net, deepcopy(net), deepcopy(net)]  # `fit` changes the memory format
    data = few(fashion_mnist(), effort.steps * batch)
    resize = None if family.size == 28 else family.size
    settings = Settings(epochs=1, lr=LR, batch_size=batch, size=resize)
    theirs, _ = d2l_here.load(batch, family.size)
    usual = usual_loader(batch, family.size)

    def stretch(loader: Iterable[Batch]) -> Stretch:
        return Stretch(loader, effort.warm_up, effort.steps)

    def ours() -> float:
        return fit(nets[0], data, settings, progress=False).seconds

    def d2l_loop() -> float:
        return d2l_here.train(nets[1], stretch(theirs), LR)

    def usual_loop() -> float:
        part = stretch(usual)
        train(nets[2], part)
        return part.seconds

    turns = take_turns(effort.rounds, ours, d2l_loop, usual_loop, warm_up=not quick)
    for against, seconds in zip(("d2l", "a plain loop"), turns[1:], strict=True):
        yield side_by_side(
            turns[0],
            seconds,
            against=against,
            unit="images/s",
            amount=effort.steps * batch,
            note=f"{family.size} pixels",
        )


def few(data: FashionMNIST, images: int) -> FashionMNIST:
    """The first of the training images, and one to score."""

    def first(split: Split, number: int) -> Split:
        return Split(split.images[:number], split.labels[:number])

    return FashionMNIST(
        first(data.train, images), first(data.validation, 1), first(data.test, 1), ""
    )


def usual_loader(batch_size: int, size: int) -> Iterable[Batch]:
    """What torchvision's references do, with a worker for each core."""
    steps = [
        *([] if size == 28 else [transforms.Resize(size)]),
        *(transforms.ToTensor(), transforms.Normalize(MEAN, STD)),
    ]
    images = datasets.FashionMNIST(
        f"{d2l_here.root().name}/data", transform=transforms.Compose(steps)
    )
    workers = torch.get_num_threads()
    return DataLoader(images, batch_size, shuffle=True, num_workers=workers)


def train(net: nn.Module, batches: Iterable[Batch]) -> None:
    """The loop of most tutorials."""
    optimizer = torch.optim.SGD(net.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    net.train()
    total = 0.0
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()


if __name__ == "__main__":
    main("training", FAMILIES, measure)
