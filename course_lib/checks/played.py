"""What the page of the chapter Lab counts on its 200 images, counted in PyTorch: for
the exercises that are answered by playing.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.data import Split
from course_lib.lab import network
from course_lib.pages.lab import gallery


class Counts(NamedTuple):
    """What became of the answers of a network."""

    #: How many are right, of `images`.
    right: int
    #: How many right ones were lost.
    lost: int
    #: How many wrong ones became right.
    gained: int
    #: How many images there are.
    images: int = 200

    def deviations(self) -> float:
        """How many of its standard deviations the difference is away from 0."""
        difference = self.gained - self.lost
        variance = self.lost + self.gained - difference**2 / self.images
        return abs(difference) / sqrt(variance) if variance else 0.0


@cache
def counted(
    name: str,
    off: tuple[str, ...] = (),
    passed: tuple[str, ...] = (),
    right: int = 0,
    down: int = 0,
) -> Counts:
    """The counts of a network of the page whose modules `off` return zeros and those
    `passed` return their input, on images that are shifted by so many pixels.
    """
    shown = gallery()
    moved = Split(shifted(shown.images, right, down), shown.labels)
    known = _is_right(network(name), shown)
    net = network(name)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # or what is passed by would be overwritten
    for path in off:
        net.get_submodule(path).register_forward_hook(lambda *call: call[-1] * 0)
    for path in passed:
        net.get_submodule(path).register_forward_hook(lambda *call: call[-2][0])
    now = _is_right(net, moved)
    lost, gained = (int(each.sum()) for each in (known & ~now, now & ~known))
    return Counts(int(now.sum()), lost, gained, len(shown))


def shifted(images: Tensor, right: int = 0, down: int = 0) -> Tensor:
    """Images moved to the right and down by so many pixels; what comes in is black.

    Shape: (N, 1, H, W) -> (N, 1, H, W).
    """
    moved = images.roll((down, right), dims=(2, 3))
    for dim, by in ((2, down), (3, right)):
        size = images.shape[dim]
        edge = slice(0, by) if by >= 0 else slice(size + by, size)
        moved[(slice(None),) * dim + (edge,)] = 0
    return moved


def norms(name: str) -> list[str]:
    """The paths of the batch normalizations of a network of the page."""
    modules = network(name).named_modules()
    return [path for path, module in modules if isinstance(module, nn.BatchNorm2d)]


def _is_right(net: nn.Module, images: Split) -> Tensor:
    x, labels = next(images.batches(len(images)))
    with torch.inference_mode():
        answers: Tensor = net(x).argmax(dim=1)
    return answers == labels
