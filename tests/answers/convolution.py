"""Answers to the exercises on convolution: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import torch
import torch.nn.functional as F
from torch import nn

#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "convolution.parameters_of_one_layer": [
        (lambda: (16 * 75, 9216 * 2352), "bias, too"),
        (lambda: (16 * 25 + 16, 9216 * 2353), "all three input channels"),
        (lambda: (16 * 76, 16 * 784 * 2353), "smaller than the input"),
        (lambda: 16 * 76, "a tuple is wanted"),
    ],
    "convolution.output_size": [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "add one"),
        (lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
        (lambda n, k, s, p: (n - k) // s + 1, "padding"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "whole"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "stride"),
    ],
    "convolution.receptive_field": [
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "several pixels apart"),
        (lambda layers: sum(k for k, _ in layers), "adds k - 1"),
        (
            lambda layers: (
                1
                + sum(
                    (k - 1)
                    * torch.tensor([s for _, s in layers[: i + 1]]).prod().item()
                    for i, (k, _) in enumerate(layers)
                )
            ),
            "own stride",
        ),
    ],
    "convolution.convolve": [
        (lambda x, w: F.conv2d(x, w.flip(2, 3)), "flip the kernel"),
        (
            lambda x, w: F.conv2d(F.pad(x, (0, w.shape[3] - 1, 0, w.shape[2] - 1)), w),
            "no padding",
        ),
        (lambda x, w: F.conv2d(x, w[:1]).expand(len(w), -1, -1), "kernel of its own"),
        (lambda x, w: F.conv2d(x[:1], w[:, :1]), "sum over all"),
    ],
    "convolution.keeps_its_size": [
        (lambda c, k: block(c, k, 0), "smaller"),
        (lambda c, k: block(c, k, 1), "kernel of 3x3"),
        (lambda c, k: block(c, k, k // 2, nn.Identity), "Keep the ReLU"),
        (lambda c, k: block(c, k, k // 2 - 1) if k > 1 else block(c, k, 0), "smaller"),
    ],
}


def block(channels, kernel_size, padding, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size, padding=padding),
        activation(),
        nn.Conv2d(channels, channels, kernel_size, padding=padding),
    )


def counted():
    layers = nn.Conv2d(3, 16, 5), nn.Linear(2352, 9216)
    return [sum(p.numel() for p in layer.parameters()) for layer in layers]


def backwards(layers):
    field = 1
    for kernel_size, stride in reversed(layers):
        field = (field - 1) * stride + kernel_size
    return field


def unfolded(x, weight):
    height, width = weight.shape[2:]
    columns = x.unfold(1, height, 1).unfold(2, width, 1)
    return torch.einsum("cijhw,dchw->dij", columns, weight)


class Same(nn.Module):
    def __init__(self, channels, kernel_size):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, kernel_size, padding="same")
        self.first = nn.Conv2d(channels, channels, kernel_size, padding="same")

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


#: Exercise -> right answers that look different.
RIGHT = {
    "convolution.parameters_of_one_layer": [counted],
    "convolution.output_size": [
        lambda n, k, s, p: len(range(0, n + 2 * p - k + 1, s)),
        lambda n, k, s, p: F.conv1d(
            torch.ones(1, 1, n), torch.ones(1, 1, k), stride=s, padding=p
        ).shape[-1],
    ],
    "convolution.receptive_field": [backwards],
    "convolution.convolve": [unfolded],
    "convolution.keeps_its_size": [Same],
}
