"""Answers to the exercises on what came after ResNet: wrong ones with the hint that
they must get, and right ones, written differently from the solution.
"""

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FULL, GROUPED, DEPTHWISE, BOTH = 589_824, 18_432, 2_304, 67_840


def from_layers():
    def weights(*sizes, **options):
        return nn.Conv2d(*sizes, **options, bias=False).weight.numel()

    with torch.device("meta"):
        groups = [weights(256, 256, 3, groups=groups) for groups in (1, 32, 256)]
        return [*groups, groups[-1] + weights(256, 256, 1)]


def recursive(start, growth, blocks):
    if not blocks:
        return ()
    leaves = start + growth * blocks[0]
    return (leaves, *recursive(leaves // 2, growth, blocks[1:]))


def as_array(start, growth, blocks):
    found = np.zeros(len(blocks), dtype=np.int64)
    for i, layers in enumerate(blocks):
        found[i] = (found[i - 1] // 2 if i else start) + layers * growth
    return found


def as_floats(start, growth, blocks):
    return torch.tensor(recursive(start, growth, blocks), dtype=torch.float64)


def without_halving(start, growth, blocks):
    found = []
    for layers in blocks:
        start += layers * growth
        found.append(start)
    return found


def halved(start, growth, blocks):
    return [each // 2 for each in recursive(start, growth, blocks)]


def only_new(start, growth, blocks):
    return [layers * growth for layers in blocks]


def with_bottlenecks(start, growth, blocks):
    return recursive(start, 4 * growth, blocks)


def last(start, growth, blocks):
    return [recursive(start, growth, blocks)[-1]]


class Excitation(nn.Module):
    """Right as it is; its subclasses compute something else."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.second = nn.Linear(channels // reduction, channels)
        self.first = nn.Linear(channels, channels // reduction)

    def scales(self, means):
        return self.second(self.first(means).relu()).sigmoid()

    def forward(self, x):
        return torch.einsum("nchw,nc->nchw", x, self.scales(x.flatten(2).mean(-1)))


class OfTheBatch(Excitation):
    def forward(self, x):
        return x * self.scales(x.mean((0, 2, 3)))[:, None, None]


class OfTheBatchWithoutReLU(OfTheBatch):
    def scales(self, means):
        return self.second(self.first(means)).sigmoid()


class WithoutReLU(Excitation):
    def scales(self, means):
        return self.second(self.first(means)).sigmoid()


class Competing(Excitation):
    def scales(self, means):
        return self.second(self.first(means).relu()).softmax(-1)


class WithoutGate(Excitation):
    def scales(self, means):
        return self.second(self.first(means).relu())


class NotReduced(Excitation):
    def __init__(self, channels, reduction):
        super().__init__(channels, 1)


class Pointwise(nn.Module):
    """With 1x1 convolutions, as torchvision has it."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // reduction, 1),
            nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.body(x) * x


class Doubled(Excitation):
    """A computation in float64, which changes no digit that counts."""

    def forward(self, x):
        means = x.double().mean((2, 3)).to(x.dtype)
        return x * self.scales(means)[..., None, None]


def mixed(x, y, share, order):
    """By broadcasting and a table of distributions."""
    table = torch.eye(10)
    return torch.lerp(x[order], x, share), torch.lerp(table[y[order]], table[y], share)


def scattered(x, y, share, order):
    probabilities = x.new_zeros(len(y), 10)
    probabilities.scatter_add_(1, y[:, None], torch.full((len(y), 1), share))
    rest = torch.full((len(y), 1), 1 - share)
    probabilities.scatter_add_(1, y[order][:, None], rest)
    return [x * share + x[order] * (1 - share), probabilities]


def in_double(x, y, share, order):
    sure = F.one_hot(y, 10).double()
    images = share * x.double() + (1 - share) * x.double()[order]
    return images, share * sure + (1 - share) * sure[order]


def images_only(x, y, share, order):
    return share * x + (1 - share) * x[order], F.one_hot(y, 10).float()


def labels_averaged(x, y, share, order):
    images, _ = mixed(x, y, share, order)
    return images, share * y.float() + (1 - share) * y[order].float()


def other_share(x, y, share, order):
    return mixed(x, y, 1 - share, order)


def images_other_share(x, y, share, order):
    return mixed(x, y, 1 - share, order)[0], mixed(x, y, share, order)[1]


def labels_other_share(x, y, share, order):
    return mixed(x, y, share, order)[0], mixed(x, y, 1 - share, order)[1]


def halves(x, y, share, order):
    return mixed(x, y, 0.5, order)


def labels_as_they_were(x, y, share, order):
    return mixed(x, y, share, order)[0], y


def joined(x, y, share, order):
    return mixed(x, y, share, order)[0]


def matrices(weight):
    return weight.permute(1, 0, 2, 3).flatten(2)


def shaped(kernels, numbers, weight):
    out, inputs, k, _ = weight.shape
    return kernels.reshape(inputs, 1, k, k), numbers.reshape(inputs, out).T.reshape(
        out, inputs, 1, 1
    )


def one_by_one(weight):
    """A decomposition for each channel, the size in the kernel, the sign turned."""
    kernels, numbers = [], []
    for matrix in matrices(weight):
        u, s, v = torch.linalg.svd(matrix)
        kernels.append(-s[0] * v[0])
        numbers.append(-u[:, 0])
    return shaped(torch.stack(kernels), torch.stack(numbers), weight)


def by_eigenvectors(weight):
    """The kernel is the direction in which the rows have most of their squares."""
    each = matrices(weight)
    kernels = torch.linalg.eigh(each.mT @ each).eigenvectors[..., -1]
    numbers = torch.einsum("cop,cp->co", each, kernels)
    return shaped(kernels, numbers, weight)


def by_turns(weight):
    """Least squares for one of them while the other stays, in turn."""
    each = matrices(weight).double()
    kernels = each[:, 0]
    for _ in range(3000):
        numbers = torch.einsum("cop,cp->co", each, kernels)
        numbers = numbers / kernels.square().sum(1, keepdim=True)
        kernels = torch.einsum("cop,co->cp", each, numbers)
        kernels = kernels / numbers.square().sum(1, keepdim=True)
    return list(shaped(kernels, numbers, weight))


def mean_kernel(weight):
    depthwise = weight.mean(0)[:, None]
    return depthwise, torch.ones(*weight.shape[:2], 1, 1)


def mean_kernel_projected(weight):
    kernel = weight.mean(0, keepdim=True)
    numbers = (weight * kernel).sum((2, 3)) / kernel.square().sum((2, 3))
    return kernel[0][:, None], numbers[..., None, None]


def two_means(weight):
    return weight.mean(0)[:, None], weight.mean((2, 3), keepdim=True)


def without_size(weight):
    u, _, v = torch.linalg.svd(matrices(weight))
    return shaped(v[:, 0], u[:, :, 0], weight)


def size_twice(weight):
    u, s, v = torch.linalg.svd(matrices(weight))
    return shaped(s[:, :1] * v[:, 0], s[:, :1] * u[:, :, 0], weight)


def swapped(weight):
    return one_by_one(weight)[::-1]


def one_tensor(weight):
    return weight


#: Exercise -> wrong answers, each with a part of the hint that it must get.
WRONG = {
    "successors.grouped_weights": [
        (lambda: (FULL // 9, GROUPED, DEPTHWISE, BOTH), "nine weights"),
        (lambda: (FULL, GROUPED // 32, DEPTHWISE, BOTH), "Within one group"),
        (lambda: (FULL, FULL, DEPTHWISE, BOTH), "Within one group"),
        (lambda: (FULL, GROUPED, 9, BOTH), "a kernel of its own"),
        (lambda: (FULL, GROUPED, DEPTHWISE, BOTH - DEPTHWISE), "Both convolutions"),
        (lambda: (FULL, GROUPED, DEPTHWISE, DEPTHWISE + 256), "reads all channels"),
        (lambda: (FULL + 256, GROUPED, DEPTHWISE, BOTH), "no biases"),
    ],
    "successors.dense_channels": [
        (without_halving, "transition"),
        (halved, "before halving"),
        (only_new, "stays in it"),
        (with_bottlenecks, "which ones are appended"),
        (last, "for each block"),
    ],
    "successors.excitation": [
        (OfTheBatchWithoutReLU, "alone and among others"),
        (OfTheBatch, "alone and among others"),
        (WithoutReLU, "two layers are one"),
        (Competing, "which gate"),
        (WithoutGate, "from 0 to 1"),
        (NotReduced, "reduces the channels"),
    ],
    "successors.mixup": [
        (images_only, "part shirt and part bag"),
        (labels_averaged, "third class"),
        (other_share, "as they came"),
        (images_other_share, "as they came"),
        (labels_other_share, "in the shares of the images"),
        (halves, "not always one half"),
        (labels_as_they_were, "ten for each image"),
        (joined, "Return two tensors"),
    ],
    "successors.separated": [
        (mean_kernel, "a number of its own"),
        (mean_kernel_projected, "suits all outputs better"),
        (two_means, "suits all outputs better"),
        (without_size, "Where is the size"),
        (size_twice, "not to both"),
        (swapped, "outputs first"),
        (one_tensor, "that of the 1x1"),
    ],
}

#: Exercise -> right answers that look different.
RIGHT = {
    "successors.grouped_weights": [
        from_layers,
        lambda: np.array([FULL, GROUPED, DEPTHWISE, BOTH], dtype=float),
        lambda: {1: FULL, 2: Fraction(GROUPED), 3: DEPTHWISE, 4: float(BOTH)}.values(),
    ],
    "successors.dense_channels": [recursive, as_array, as_floats],
    "successors.excitation": [Excitation, Pointwise, Doubled],
    "successors.mixup": [mixed, scattered, in_double],
    "successors.separated": [one_by_one, by_eigenvectors, by_turns],
}
