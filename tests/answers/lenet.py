"""Answers to the exercises on LeNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib import LeNet
from course_lib.lenet import C3_TABLE


def pooled(x, coefficient, bias, pool=F.avg_pool2d, **options):
    sums = 4 * pool(x, 2, **options)
    return coefficient[:, None, None] * sums + bias[:, None, None]


def lenet(channels, side, classes, *, padding=2, activation=nn.ReLU, end=()):
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * side * side, 120), nn.ReLU()),
        *(nn.Linear(120, 84), activation(), nn.Linear(84, classes), *end),
    )


def side_of(pixels):
    return (pixels // 2 - 4) // 2


def rounded_up(channels, pixels, classes):
    return lenet(channels, -(-(pixels - 8) // 4), classes)


def masked(x, weight, bias, table, keep=lambda c, row: c in row):
    weight = weight.clone()
    for d, row in enumerate(table):
        for c in range(weight.shape[1]):
            weight[d, c] *= keep(c, row)
    return F.conv2d(x, weight, bias)


def packed(x, weight, bias, table):
    """Takes the first kernels, not those of the channels that are connected."""
    return torch.cat(
        [
            F.conv2d(x[:, list(row)], weight[d : d + 1, : len(row)], bias[d : d + 1])
            for d, row in enumerate(table)
        ],
        dim=1,
    )


def biased(x, weight, bias, table):
    """Adds the bias with every kernel."""
    return torch.stack(
        [
            sum(
                F.conv2d(x[:, c : c + 1], weight[d, c][None, None], bias[d : d + 1])
                for c in row
            )[:, 0]
            for d, row in enumerate(table)
        ],
        dim=1,
    )


def turned(x, weight, bias, table):
    """Reads the table the other way round."""
    if len(table) != weight.shape[1]:
        return masked(x, weight, bias, table)
    mask = torch.tensor([[d in row for row in table] for d in range(len(table))])
    return F.conv2d(x, weight * mask[:, :, None, None], bias)


def squared_norm(codes):
    return codes.square().sum(1)


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "lenet.third_stage": [
        (lambda: (60 * 25, 60 * 25 * 100), "has one bias, too"),
        (lambda: (16 * 151, 16 * 151 * 100), "connected to all six"),
        (lambda: (60 * 26, 60 * 26 * 100), "however many input maps"),
        (lambda: (16 * 26, 16 * 26 * 100), "kernel of its own"),
        (lambda: (1516, 1516), "once for every unit"),
        (lambda: (1516, 1516 * 1600), "belongs to one map"),
        (lambda: (1516, 150_000), "bias, too"),
        (lambda: 1516, "a tuple is wanted"),
    ],
    "lenet.subsample": [
        (lambda x, a, b: pooled(x, a / 4, b), "not averaged"),
        (lambda x, a, b: pooled(x, a, a * b), "bias comes last"),
        (lambda x, a, b: pooled(x, a / 4, b, F.max_pool2d), "not only the largest"),
        (lambda x, a, b: pooled(x, a, b, stride=1), "do not overlap"),
        (lambda x, a, b: pooled(x, a, 0 * b), "Where is the bias"),
        (lambda x, a, b: a * 4 * F.avg_pool2d(x, 2) + b, "broadcasting aligns"),
    ],
    "lenet.loss_of": [
        (lambda s, y: F.cross_entropy(s.softmax(1), y), "before it takes a logarithm"),
        (lambda s, y: F.nll_loss(s.softmax(1), y), "takes no logarithm"),
        (lambda s, y: F.nll_loss(s.softmax(1).log(), y), "infinite"),
        (lambda s, y: F.nll_loss(s, y), "not log-probabilities"),
        (lambda s, y: F.cross_entropy(s, y, reduction="sum"), "the mean over"),
        (lambda s, y: F.cross_entropy(s, y, reduction="none"), "single value"),
        (lambda s, y: F.cross_entropy(s, y).item(), "a tensor is wanted"),
    ],
    "lenet.lenet_for": [
        (lambda c, n, k: lenet(c, 5, k), "28 pixels only"),
        (lambda c, n, k: lenet(c, ((n - 4) // 2 - 4) // 2, k, padding=0), "pads"),
        (rounded_up, "rounds down"),
        (lambda c, n, k: lenet(1, side_of(n), k), "channels does the input"),
        (lambda c, n, k: lenet(c, side_of(n), 10), "classes are there"),
        (
            lambda c, n, k: lenet(c, side_of(n), k, end=[nn.ReLU()]),
            "nothing follows",
        ),
        (
            lambda c, n, k: lenet(c, side_of(n), k, activation=nn.Identity),
            "but the last has a ReLU",
        ),
        (lambda c, n, k: LeNet("modern", activation=nn.Tanh), "tanh"),
        (lambda c, n, k: LeNet("modern", pool=nn.AvgPool2d), "max pooling"),
    ],
    "lenet.partial_convolution": [
        (lambda x, w, b, table: F.conv2d(x, w, b), "channels of its row"),
        (biased, "once per output"),
        (lambda x, w, b, table: masked(x, w, None, table), "Where is the bias"),
        (packed, "when others are left out"),
        (
            lambda x, w, b, table: masked(x, w, b, table, lambda c, row: c not in row),
            "that are connected",
        ),
        (turned, "Row d of the table"),
    ],
    "lenet.equivalent_linear": [
        (lambda c: (c, torch.zeros(len(c))), "different norms"),
        (lambda c: (c, squared_norm(c) / 2), "large norm is far"),
        (lambda c: (2 * c, -squared_norm(c)), "half of"),
        (lambda c: (-c, -squared_norm(c) / 2), "smaller distance"),
        (lambda c: (c.T, -squared_norm(c) / 2), "For each class"),
        (lambda c: c, "it should return a weight and a bias"),
    ],
}


def counted():
    layers = [nn.Conv2d(len(row), 1, 5) for row in C3_TABLE]
    parameters = sum(p.numel() for layer in layers for p in layer.parameters())
    return parameters, parameters * 100


def strided(x, coefficient, bias):
    channels = len(coefficient)
    weight = coefficient[:, None, None, None].expand(-1, 1, 2, 2)
    return F.conv2d(x, weight, bias, stride=2, groups=channels)


def by_hand(scores, labels):
    high = scores.max(dim=1, keepdim=True).values
    logs = scores - high - (scores - high).exp().sum(1, keepdim=True).log()
    return -logs[torch.arange(len(labels)), labels].mean()


class Backwards(nn.Module):
    """Its layers have other names and another order."""

    def __init__(self, channels, pixels, classes):
        super().__init__()
        self.classes = nn.Linear(84, classes)
        self.codes = nn.Linear(120, 84)
        self.convs = nn.ModuleList(
            [nn.Conv2d(6, 16, 5), nn.Conv2d(channels, 6, 5, padding="same")]
        )
        features = self.features(torch.zeros(1, channels, pixels, pixels))
        self.first = nn.Linear(features.shape[1], 120)

    def features(self, x):
        for conv in reversed(self.convs):
            x = F.max_pool2d(conv(x), 2).relu()
        return x.flatten(1)

    def forward(self, x):
        return self.classes(self.codes(self.first(self.features(x)).relu()).relu())


def one_by_one(x, weight, bias, table):
    outputs = [
        F.conv2d(x[:, list(row)], weight[d, list(row)][None], bias[d : d + 1])
        for d, row in enumerate(table)
    ]
    return torch.cat(outputs, dim=1)


def centered(codes):
    """The same softmax, from other scores."""
    mean = codes.mean(0)
    return codes - mean, -0.5 * squared_norm(codes) + 7


#: Exercise -> right answers that look different.
RIGHT = {
    "lenet.third_stage": [counted],
    "lenet.subsample": [pooled, strided],
    "lenet.loss_of": [
        by_hand,
        lambda s, y: F.nll_loss(s.log_softmax(1), y),
        nn.CrossEntropyLoss(),
    ],
    "lenet.lenet_for": [Backwards],
    "lenet.partial_convolution": [one_by_one],
    "lenet.equivalent_linear": [centered],
}
