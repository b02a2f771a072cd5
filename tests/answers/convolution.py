"""Answers to the exercises on convolution: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import copy
import math
from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.convolution import corr2d, cross_correlate, output_size
from course_lib.convolution import receptive_field as by_the_library


def size_by_the_library(n, k, s, p):
    return output_size(n, k, s, p)


def field(
    layers, start=1, each=lambda k: k - 1, step=lambda jump, stride: jump * stride
):
    """The receptive field; mistakes change a part."""
    width, jump = start, 1
    for kernel_size, stride in layers:
        width += each(kernel_size) * jump
        jump = step(jump, stride)
    return width


def at_once(layers):
    """Multiplies the layer's own stride in before it adds."""
    width, jump = 1, 1
    for kernel_size, stride in layers:
        jump *= stride
        width += (kernel_size - 1) * jump
    return width


def added_strides(layers):
    width, jump = 1, 0
    for kernel_size, stride in layers:
        width += (kernel_size - 1) * max(jump, 1)
        jump += stride
    return width


def backwards(layers):
    width = 1
    for kernel_size, stride in reversed(layers):
        width = (width - 1) * stride + kernel_size
    return width


def correlated(x, weight):
    """What is wanted, by a sum over shifted images."""
    (_, height, width), (out, _, h, w) = x.shape, weight.shape
    rows, columns = height - h + 1, width - w + 1
    y = torch.zeros(out, rows, columns)
    for i in range(h):
        for j in range(w):
            part = x[:, i : i + rows, j : j + columns]
            y += torch.tensordot(weight[:, :, i, j], part, 1)
    return y


def framed(x, weight):
    return correlated(
        F.pad(x, (0, weight.shape[3] - 1, 0, weight.shape[2] - 1)), weight
    )


def framed_all_around(x, weight):
    h, w = weight.shape[2] // 2, weight.shape[3] // 2
    return correlated(F.pad(x, (w, w, h, h)), weight)


def too_few_positions(x, weight):
    rows, columns = x.shape[1] - weight.shape[2], x.shape[2] - weight.shape[3]
    return correlated(x, weight)[:, :rows, :columns]


def last_ones_left_zero(x, weight):
    y = correlated(x, weight)
    y[:, -1] = 0
    y[:, :, -1] = 0
    return y


def not_summed(x, weight):
    """A feature map for each pair of channels."""
    channels = range(len(x))
    return torch.stack([correlated(x[[c]], weight[:, [c]]) for c in channels])


def square_kernels(x, weight):
    h = weight.shape[2]
    return correlated(x, weight[..., :h])


def transposed_kernels(x, weight):
    return correlated(x, weight.mT)


def in_place(x, weight):
    y = correlated(x, weight)
    weight *= 2
    return y


def module_of_pytorch(x, weight):
    conv = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:], bias=False)
    conv.weight.data = weight
    return conv(x)


def channel_by_channel(x, weight):
    return torch.stack([sum(map(corr2d, x, kernels)) for kernels in weight])


def block(channels, kernel_size, padding, activation=nn.ReLU, second=None, **options):
    conv = partial(nn.Conv2d, channels, channels, kernel_size, **options)
    return nn.Sequential(
        conv(padding=padding),
        activation(),
        conv(padding=padding if second is None else second),
    )


def frozen(c, k):
    net = block(c, k, k // 2)
    net[0].requires_grad_(False)
    return net


def twice_the_same(c, k):
    net = block(c, k, k // 2)
    return nn.Sequential(net[0], nn.ReLU(), net[0])


class Detached(nn.Module):
    def __init__(self, c, k):
        super().__init__()
        self.net = block(c, k, k // 2)

    def forward(self, x):
        return self.net[2](self.net[1](self.net[0](x)).detach())


class Unused(nn.Module):
    """Has two convolutions, and applies one twice."""

    def __init__(self, c, k):
        super().__init__()
        self.first = nn.Conv2d(c, c, k, padding="same")
        self.second = nn.Conv2d(c, c, k, padding="same")

    def forward(self, x):
        return self.first(self.first(x).relu())


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "convolution.parameters_of_one_layer": [
        (lambda: (16 * 75, 9216 * 2352), "Each output has a bias, too"),
        (lambda: (16 * 75, 9216 * 2353), "the convolution has a bias"),
        (lambda: (16 * 76, 9216 * 2352), "fully connected layer has a bias"),
        (lambda: (16 * 25 + 16, 9216 * 2353), "all three input channels"),
        (lambda: (76, 9216 * 2353), "kernel of its own"),
        (lambda: (16 * 76, 16 * 784 * 2353), "smaller than the input"),
        (lambda: (16 * 76, 16 * 2353), "in all sixteen feature maps"),
        (lambda: (16 * 76, 9216 * 785), "in all three channels"),
        (lambda: (16 * 75 + 1, 9216 * 2352 + 1), "not one for all"),
        (lambda: (16 * 76, 9216 * 2353 + 1), "the second value"),
        (lambda: (9216 * 2353, 16 * 76), "in another order"),
        (lambda: 16 * 76, "a tuple is wanted"),
    ],
    "convolution.output_size": [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "add one"),
        (lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
        (lambda n, k, s, p: (n - k) // s + 1, "What does the padding do"),
        (lambda n, k, s, p: (n - 2 * p - k) // s + 1, "not smaller"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "whole"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "With a stride"),
        (lambda n, k, s, p: (n + 2 * p - k + 1) // s, "divide first"),
        (lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, "round down"),
        (lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "round down"),
        (lambda n, k, s, p: n + 2 * p - k // s + 1, "All of it"),
        (lambda n, k, s, p: ((n + 2 * p - k) // s + 1) ** 2, "along one side"),
        (lambda n, k, s, p: (n + 2 * p) // s + 1, "has to fit"),
        (size_by_the_library, "does it for you"),
    ],
    "convolution.receptive_field": [
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "several pixels apart"),
        (lambda layers: sum(k for k, _ in layers), "adds k - 1"),
        (at_once, "own stride"),
        (lambda layers: 1 + sum((k - 1) * s for k, s in layers), "own stride"),
        (lambda layers: field(layers, step=lambda jump, s: s), "distances multiply"),
        (added_strides, "distances multiply"),
        (lambda layers: field(layers, each=lambda k: k), "adds k - 1"),
        (lambda layers: field(layers, start=0), "Begin with one pixel"),
        (lambda layers: backwards(layers[::-1]), "from the last layer"),
        (lambda layers: math.prod(k for k, _ in layers), "not multiplied"),
        (lambda layers: field(layers) ** 2, "not the area"),
        (lambda layers: math.prod(s for _, s in layers), "how much one sees"),
        (lambda layers: field(layers) if layers else 0, "a unit is a pixel"),
        (lambda layers: by_the_library(layers)[0], "does it for you"),
    ],
    "convolution.convolve": [
        (lambda x, w: F.conv2d(x, w), "does it for you"),
        (module_of_pytorch, "does it for you"),
        (lambda x, w: cross_correlate(x[None], w)[0], "does it for you"),
        (channel_by_channel, "does it for you"),
        (lambda x, w: correlated(x, w.flip(2, 3)), "flip the kernel"),
        (framed, "no padding"),
        (framed_all_around, "no padding"),
        (lambda x, w: correlated(x, w[:1]).expand(len(w), -1, -1), "kernel of its own"),
        (lambda x, w: correlated(x[:1], w[:, :1]), "sum over all"),
        (lambda x, w: correlated(x[-1:], w[:, -1:]), "sum over all"),
        (not_summed, "sum over all"),
        (lambda x, w: correlated(x, w) / w[0].numel(), "not averaged"),
        (lambda x, w: correlated(x, w)[None], "three dimensions"),
        (too_few_positions, "H - h + 1"),
        (last_ones_left_zero, "H - h + 1"),
        (square_kernels, "need not be square"),
        (transposed_kernels, "counts rows"),
        (lambda x, w: correlated(x, w).sum(0), "do not add"),
        (in_place, "work on a copy"),
    ],
    "convolution.keeps_its_size": [
        (lambda c, k: block(c, k, 0), "smaller"),
        (lambda c, k: block(c, k, 1), "kernel of 3x3"),
        (lambda c, k: block(c, k, k // 2, nn.Identity), "Keep the ReLU"),
        (lambda c, k: block(c, k, max(k // 2 - 1, 0)), "smaller"),
        (lambda c, k: block(c, k, k - 1), "half of the kernel"),
        (lambda c, k: block(c, k, k // 2, second=0), "each of the two"),
        (lambda c, k: block(c, k, k - 1, second=0), "each of the two"),
        (lambda c, k: block(c, k, k // 2, padding_mode="circular"), "made of zeros"),
        (lambda c, k: block(c, k, k // 2, bias=False), "Keep the biases"),
        (lambda c, k: block(c, k, k // 2).append(nn.ReLU()), "only that one"),
        (twice_the_same, "apply each once"),
        (Unused, "apply each once"),
        (frozen, "frozen"),
        (Detached, "detached"),
        (lambda c, k: block(c, k, k // 2)(torch.zeros(1, c, 9, 8)), "a module"),
        (lambda c, k: None, "end with `return`"),
    ],
}


def counted():
    layers = nn.Conv2d(3, 16, 5), nn.Linear(2352, 9216)
    return [sum(p.numel() for p in layer.parameters()) for layer in layers]


def by_product():
    """Arrays of NumPy."""
    shapes = np.array([[16, 3 * 5 * 5 + 1], [16 * 24**2, 3 * 28**2 + 1]])
    return shapes.prod(axis=1)


def one_after_the_other():
    yield Fraction(16 * 3 * 25) + 16
    yield torch.tensor([9216 * 2352 + 9216])


def counted_positions(n, k, s, p):
    return np.arange(-p, n + p - k + 1, s).size


class Formula:
    """Can be called."""

    def __call__(self, n, k, s, p):
        return torch.tensor([math.floor(Fraction(n + 2 * p - k, s) + 1)])


def unfolded(x, weight):
    height, width = weight.shape[2:]
    columns = x.unfold(1, height, 1).unfold(2, width, 1)
    return torch.einsum("cijhw,dchw->dij", columns, weight)


def as_matrix(x, weight):
    """In float64."""
    h, w = weight.shape[2:]
    columns = F.unfold(x[None].double(), (h, w))[0]
    sizes = x.shape[1] - h + 1, x.shape[2] - w + 1
    return (weight.double().flatten(1) @ columns).view(-1, *sizes)


def with_numpy(x, weight):
    view = np.lib.stride_tricks.sliding_window_view(x.numpy(), weight.shape[2:], (1, 2))
    return np.tensordot(weight.numpy(), view, axes=([1, 2, 3], [0, 3, 4]))


def nested_lists(x, weight):
    h, w = weight.shape[2:]
    return [
        [
            [
                (kernel * x[:, i : i + h, j : j + w]).sum().item()
                for j in range(x.shape[2] - w + 1)
            ]
            for i in range(x.shape[1] - h + 1)
        ]
        for kernel in weight
    ]


class Same(nn.Module):
    def __init__(self, channels, kernel_size):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, kernel_size, padding="same")
        self.first = nn.Conv2d(channels, channels, kernel_size, padding="same")

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


def lazy(channels, kernel_size):
    conv = partial(nn.LazyConv2d, channels, kernel_size, padding=(kernel_size - 1) // 2)
    return nn.Sequential(conv(), nn.Threshold(0, 0), conv())


def padded_before(channels, kernel_size):
    """In float64, with other names."""
    layers = nn.Sequential()
    for name in ("one", "two"):
        layers.add_module(f"pad_{name}", nn.ZeroPad2d(kernel_size // 2))
        layers.add_module(name, nn.Conv2d(channels, channels, kernel_size))
        layers.add_module(f"relu_{name}", nn.ReLU(inplace=True))
    return layers[:-1].double()


#: Exercise -> right answers that look different.
RIGHT = {
    "convolution.parameters_of_one_layer": [counted, by_product, one_after_the_other],
    "convolution.output_size": [
        lambda n, k, s, p: len(range(0, n + 2 * p - k + 1, s)),
        lambda n, k, s, p: F.conv1d(
            torch.ones(1, 1, n), torch.ones(1, 1, k), stride=s, padding=p
        ).shape[-1],
        lambda n, k, s, p: (n + 2 * p - k + s) // s,
        lambda n, k, s, p: float((n + 2 * p - k) // s + 1),
        counted_positions,
        Formula(),
    ],
    "convolution.receptive_field": [
        backwards,
        lambda layers: np.int64(field(copy.deepcopy(layers))),
        lambda layers: (
            1
            + sum(
                (k - 1) * math.prod(s for _, s in layers[:i])
                for i, (k, _) in enumerate(layers)
            )
        ),
        lambda layers: torch.tensor([float(backwards(layers))]),
    ],
    "convolution.convolve": [
        unfolded,
        correlated,
        as_matrix,
        with_numpy,
        nested_lists,
    ],
    "convolution.keeps_its_size": [Same, lazy, padded_before],
}
