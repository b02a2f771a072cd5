"""Answers to the exercises on AlexNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

FIRST, SIXTH = 96 * 363, 4096 * 9216
MACS = FIRST * 55 * 55


def share(net, x, y):
    return (net(x).argmax(1) == y).float().mean().item()


def left_in_evaluation(net, x, y):
    return share(net.eval(), x, y)


def left_in_training(net, x, y):
    net.eval()
    result = share(net, x, y)
    net.train()
    return result


def number(net, x, y):
    training = net.training
    result = share(net.eval(), x, y) * len(y)
    net.train(training)
    return result


def errors(net, x, y):
    return 1 - share(copy.deepcopy(net).eval(), x, y)


def divided(x, alpha, beta, k, ahead, behind, power=2):
    """Local response normalization with a sum that need not be centered."""
    sums = torch.stack(
        [
            x[:, max(i - behind, 0) : i + ahead + 1].pow(power).sum(1)
            for i in range(x.shape[1])
        ],
        dim=1,
    )
    return x / (k + alpha * sums).abs() ** beta


def pixels(x, n, alpha, beta, k):
    return x / (k + alpha * 9 * F.avg_pool2d(x.square(), 3, 1, 1)) ** beta


def across_images(x, n, alpha, beta, k):
    sums = x / divided(x, 1.0, 1.0, 0.0, n // 2, n // 2)
    return x / (k + alpha * sums.sum(0)) ** beta


def without_beta(x, n, alpha, beta, k):
    return divided(x, alpha, 1.0, k, n // 2, n // 2)


def kept(x, p):
    return torch.rand_like(x) >= p


def interleaved(weight, groups):
    inputs, outputs = weight.shape[1], len(weight) // groups
    ungrouped = torch.zeros(len(weight), inputs * groups, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        ungrouped[rows, group::groups] = weight[rows]
    return ungrouped


def first_group(weight, groups):
    zeros = torch.zeros_like(weight).repeat(1, groups - 1, 1, 1)
    return torch.cat([weight, zeros], dim=1)


def blocks(weight, groups):
    """Block matrices, one for each pixel of the kernel."""
    height, width = weight.shape[2:]
    rows = [
        torch.stack(
            [torch.block_diag(*weight[:, :, i, j].chunk(groups)) for j in range(width)],
            dim=-1,
        )
        for i in range(height)
    ]
    return torch.stack(rows, dim=-2)


def other_group(weight, groups):
    return blocks(weight, groups).roll(weight.shape[1], 1)


def figure_2(
    channels,
    groups=(1, 2, 1, 2, 2),
    padding=(0, 2, 1, 1, 1),
    pooled=(0, 1, 4),
    pool_size=3,
    last=nn.ReLU,
):
    layers, wide = [], 3
    for i, size in enumerate((11, 5, 3, 3, 3)):
        layers += [
            nn.Conv2d(
                wide,
                channels[i],
                size,
                stride=1 if i else 4,
                padding=padding[i],
                groups=groups[i],
            ),
            nn.ReLU() if i < 4 else last(),
        ]
        if i in pooled:
            layers.append(nn.MaxPool2d(pool_size, stride=2))
        wide = channels[i]
    return nn.Sequential(*layers)


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "alexnet.weights_and_macs": [
        (lambda: (FIRST, MACS, SIXTH, SIXTH), "biases, too"),
        (
            lambda: (FIRST + 96, MACS + 96 * 3025, SIXTH + 4096, SIXTH + 4096),
            "multiplied by nothing",
        ),
        (lambda: (FIRST + 96, FIRST, SIXTH + 4096, SIXTH), "at many positions"),
        (
            lambda: (FIRST + 96, FIRST * 227 * 227, SIXTH + 4096, SIXTH),
            "skips most positions",
        ),
        (
            lambda: (FIRST // 3 + 96, MACS // 3, SIXTH + 4096, SIXTH),
            "all three colors",
        ),
        (
            lambda: (FIRST + 96, MACS, 4096 * 256 * 169 + 4096, 4096 * 256 * 169),
            "followed by pooling",
        ),
        (lambda: (FIRST + 96, MACS, SIXTH + 4096, SIXTH - 1), "is not right"),
    ],
    "alexnet.accuracy": [
        (share, "at random"),
        (torch.no_grad()(share), "in training mode"),
        (left_in_evaluation, "evaluation mode after"),
        (left_in_training, "training mode after"),
        (number, "not their number"),
        (errors, "Count what is right"),
    ],
    "alexnet.compete": [
        (across_images, "of the values are not"),
        (
            lambda x, n, a, b, k: F.local_response_norm(x, n, a, b, k),
            "the paper their sum",
        ),
        (
            lambda x, n, a, b, k: F.local_response_norm(x, n, a / n, b, k),
            "smaller than a sum",
        ),
        (
            lambda x, n, a, b, k: F.local_response_norm(x, n, a * n * n, b, k),
            "Over how many channels",
        ),
        (pixels, "not over positions"),
        (lambda x, n, a, b, k: divided(x, a, b, k, 0, n - 1), "centered"),
        (lambda x, n, a, b, k: divided(x, a, b, k, n - 1, 0), "centered"),
        (lambda x, n, a, b, k: divided(x, a, b, k, 8, 8), "neighboring channels"),
        (lambda x, n, a, b, k: divided(x, a, b, k, n // 2, n // 2, 1), "squares"),
        (without_beta, "beta?"),
    ],
    "alexnet.drop": [
        (lambda x, p, training: kept(x, p) * x / (1 - p), "Dropout is off"),
        (
            lambda x, p, training: kept(x, p) * x if training else (1 - p) * x,
            "The paper scales outputs down",
        ),
        (lambda x, p, training: kept(x, p) * x if training else x, "A fifth"),
        (lambda x, p, training: kept(x, 1 - p) * x if training else x, "not the one"),
        (lambda x, p, training: kept(x, p) * x / p if training else x, "sum is left"),
        (
            lambda x, p, training: kept(x, p) * x * (1 - p) if training else x,
            "larger, not smaller",
        ),
        (
            lambda x, p, training: kept(x[:1], p) * x / (1 - p) if training else x,
            "for all images",
        ),
        (
            lambda x, p, training: kept(x[:, :1], p) * x / (1 - p) if training else x,
            "all units of an image",
        ),
        (
            lambda x, p, training: (
                torch.manual_seed(0),
                F.dropout(x, p, training),
            )[1],
            "do not set the seed",
        ),
        (lambda x, p, training: x, "nothing is dropped"),
        (lambda x, p, training: x[:1] if training else x, "expected shape"),
    ],
    "alexnet.merge": [
        (lambda w, groups: w.repeat(1, groups, 1, 1), "its own alone"),
        (interleaved, "adjacent"),
        (first_group, "the first group"),
        (other_group, "the first inputs"),
        (lambda w, groups: w, "expected shape"),
    ],
    "alexnet.front": [
        (lambda c: figure_2(c, groups=(1, 1, 1, 1, 1)), "two groups?"),
        (lambda c: figure_2(c, groups=(1, 2, 2, 2, 2)), "is not in groups"),
        (lambda c: figure_2(c, groups=(1, 2, 1, 1, 1)), "are in two groups"),
        (lambda c: figure_2(c, pool_size=2), "overlap"),
        (lambda c: figure_2(c, padding=(2, 2, 1, 1, 1)), "conv1 needs no"),
        (lambda c: figure_2(c, padding=(0, 1, 1, 1, 1)), "keep the size"),
        (lambda c: figure_2(c, padding=(0, 2, 0, 0, 0)), "keep the size"),
        (lambda c: figure_2(c, padding=(0, 0, 0, 0, 0)), "keep the size"),
        (lambda c: figure_2(c, pooled=(0, 1)), "by pooling, too"),
        (lambda c: figure_2(c, last=nn.Identity), "five convolutions has a ReLU"),
    ],
}


def counted():
    with torch.device("meta"):
        conv, linear = nn.Conv2d(3, 96, 11), nn.Linear(9216, 4096)
    conv_size, linear_size = (
        sum(p.numel() for p in layer.parameters()) for layer in (conv, linear)
    )
    return conv_size, 96 * 55**2 * 3 * 11**2, linear_size, 4096 * 6 * 6 * 256


def on_a_copy(net, x, y):
    with torch.no_grad():
        return copy.deepcopy(net).eval()(x).argmax(1).eq(y).sum() / len(y)


def put_back(net, x, y):
    training = net.training
    try:
        return share(net.eval(), x, y)
    finally:
        net.train(training)


def band_sum(x, n):
    return F.conv3d(
        x.square()[:, None], torch.ones(1, 1, n, 1, 1), padding=(n // 2, 0, 0)
    )[:, 0]


def by_mask(x, p, training):
    return x.masked_fill(torch.rand(x.shape) < p, 0) / (1 - p) if training else x


class OtherOrder(nn.Module):
    """The layers in another order, and a ReLU behind the pooling."""

    def __init__(self, channels):
        super().__init__()
        a, b, c, d, e = channels
        self.fifth = nn.Conv2d(d, e, 3, padding=1, groups=2)
        self.third = nn.Conv2d(b, c, 3, padding="same")
        self.fourth = nn.Conv2d(c, d, 3, padding="same", groups=2)
        self.second = nn.Conv2d(a, b, 5, padding="same", groups=2)
        self.first = nn.Conv2d(3, a, 11, 4)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x):
        x = self.pool(self.second(self.pool(self.first(x)).relu())).relu()
        return self.pool(F.relu(self.fifth(self.fourth(self.third(x).relu()).relu())))


#: Exercise -> right answers that look different.
RIGHT = {
    "alexnet.weights_and_macs": [counted],
    "alexnet.accuracy": [on_a_copy, put_back],
    "alexnet.compete": [
        lambda x, n, a, b, k: divided(x, a, b, k, n // 2, n // 2),
        lambda x, n, a, b, k: x / ((k + a * band_sum(x, n)).log() * b).exp(),
    ],
    "alexnet.drop": [by_mask, F.dropout],
    "alexnet.merge": [blocks],
    "alexnet.front": [OtherOrder],
}
