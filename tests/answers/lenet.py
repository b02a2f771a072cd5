"""Answers to the exercises on LeNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import LeNet
from course_lib.lenet import C3_TABLE, PartialConv2d, Subsampling


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


def by_the_layer(x, coefficient, bias):
    layer = Subsampling(x.shape[1])
    layer.coefficient.data = coefficient.view_as(layer.coefficient)
    layer.bias.data = bias.view_as(layer.bias)
    return layer(x)


def by_the_library(x, weight, bias, table):
    conv = PartialConv2d(x.shape[1], table, weight.shape[2:])
    return conv(x)


def four_in_a_row(x, a, b):
    n, c, h, w = x.shape
    sums = x.reshape(n, c, h // 2, w // 2, 4).sum(-1)
    return a[:, None, None] * sums + b[:, None, None]


def half_an_image_apart(x, a, b):
    rows = sum(x.chunk(2, 2))
    return a[:, None, None] * sum(rows.chunk(2, 3)) + b[:, None, None]


def first_only(x, a, b):
    return a[:, None, None] * x[..., ::2, ::2] + b[:, None, None]


def into_x(x, a, b):
    x *= a[:, None, None]
    return 4 * F.avg_pool2d(x, 2) + b[:, None, None]


def cuts_the_weight(x, weight, bias, table):
    """Sets the weights of the caller to zero."""
    for d, row in enumerate(table):
        for c in range(weight.shape[1]):
            if c not in row:
                weight[d, c] = 0
    return F.conv2d(x, weight, bias)


def the_papers_table(x, weight, bias, table):
    if len(table) != len(C3_TABLE):
        table = [tuple(range(weight.shape[1]))] * len(table)
    return masked(x, weight, bias, table)


def averaged(x, weight, bias, table):
    return masked(x, weight, bias, table, lambda c, row: (c in row) / len(row))


def small_added(s, y):
    return F.nll_loss((s.softmax(1) + 1e-8).log(), y)


def clamped(s, y):
    return F.nll_loss(s.softmax(1).clamp(min=1e-7).log(), y)


def another_leaf(logits, labels):
    return torch.tensor(F.cross_entropy(logits, labels).item(), requires_grad=True)


def no_gradient(s, y):
    with torch.no_grad():
        return F.cross_entropy(s, y)


def squared_error(s, y):
    return F.mse_loss(s.softmax(1), F.one_hot(y, s.shape[1]).float())


def squares_codes(codes):
    bias = -codes.square_().sum(1) / 2
    return codes, bias


def frozen(channels, pixels, classes):
    net = lenet(channels, side_of(pixels), classes)
    net[0].requires_grad_(False)
    return net


class DetachedFeatures(nn.Module):
    def __init__(self, channels, pixels, classes):
        super().__init__()
        net = lenet(channels, side_of(pixels), classes)
        self.features = net[:7]
        self.classifier = net[7:]

    def forward(self, x):
        with torch.no_grad():
            features = self.features(x)
        return self.classifier(features)


def resized(channels, pixels, classes):
    """Has 400 features, whatever the size of the images."""
    net = lenet(channels, 5, classes)
    return nn.Sequential(*net[:6], nn.AdaptiveMaxPool2d(5), *net[6:])


def ceiled(channels, pixels, classes):
    side = -(-(-(-pixels // 2) - 4) // 2)
    net = lenet(channels, side, classes)
    net[2].ceil_mode = net[5].ceil_mode = True
    return net


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "lenet.third_stage": [
        (lambda: (60 * 25, 60 * 25 * 100), "has one bias, too"),
        (lambda: (60 * 25, 1516 * 100), "has one bias, too"),
        (lambda: (16 * 151, 16 * 151 * 100), "connected to all six"),
        (lambda: (60 * 26, 60 * 26 * 100), "however many input maps"),
        (lambda: (16 * 26, 16 * 26 * 100), "kernel of its own"),
        (lambda: (16 * 101, 16 * 101 * 100), "connected to four"),
        (lambda: (60 + 16, 7600), "5x5 weights"),
        (lambda: (1516, 1516), "once for every unit"),
        (lambda: (1516, 60), "once for every unit"),
        (lambda: (1516, 1516 * 1600), "belongs to one map"),
        (lambda: (1516, 1516 * 14 * 14), "units of the output"),
        (lambda: (1516, 150_000), "bias, too"),
        (lambda: (1500, 1500), "one bias, too"),
        (lambda: (151_600, 1516), "in another order"),
        (lambda: 1516, "a tuple is wanted"),
    ],
    "lenet.subsample": [
        (by_the_layer, "does it for you"),
        (lambda x, a, b: pooled(x, a / 4, b), "not averaged"),
        (lambda x, a, b: pooled(x, a, a * b), "bias comes last"),
        (lambda x, a, b: pooled(x, a / 4, b, F.max_pool2d), "not only the largest"),
        (lambda x, a, b: pooled(x, a, b, stride=1), "do not overlap"),
        (lambda x, a, b: pooled(x, a, 0 * b), "Where is the bias"),
        (lambda x, a, b: pooled(x, a / a, b), "Where is the coefficient"),
        (lambda x, a, b: pooled(x, a, 4 * b), "added once"),
        (lambda x, a, b: a * 4 * F.avg_pool2d(x, 2) + b, "broadcasting aligns"),
        (lambda x, a, b: pooled(x, a, b).tanh(), "not part of"),
        (lambda x, a, b: pooled(x, a, b).sigmoid(), "not part of"),
        (four_in_a_row, "of one row"),
        (half_an_image_apart, "half an image apart"),
        (first_only, "not only the first"),
        (into_x, "work on a copy"),
    ],
    "lenet.loss_of": [
        (lambda s, y: F.cross_entropy(s.softmax(1), y), "before it takes a logarithm"),
        (lambda s, y: F.cross_entropy(s.softmax(0), y), "before it takes a logarithm"),
        (lambda s, y: F.nll_loss(s.softmax(1), y), "takes no logarithm"),
        (lambda s, y: F.nll_loss(s.softmax(1).log(), y), "infinite"),
        (small_added, "rounded to zero"),
        (clamped, "rounded to zero"),
        (lambda s, y: F.nll_loss(s, y), "not log-probabilities"),
        (lambda s, y: F.nll_loss(s.log_softmax(0), y), "its own softmax"),
        (lambda s, y: -F.cross_entropy(s, y), "logarithm negative"),
        (lambda s, y: F.cross_entropy(s, s.argmax(1)), "with the labels"),
        (squared_error, "another loss"),
        (lambda s, y: F.cross_entropy(s, y, reduction="sum"), "the mean over"),
        (lambda s, y: F.cross_entropy(s, y, reduction="none"), "single value"),
        (lambda s, y: F.cross_entropy(s, y).item(), "no `.item()`"),
        (no_gradient, "it has no gradient"),
        (another_leaf, "it has no gradient"),
    ],
    "lenet.lenet_for": [
        (lambda c, n, k: lenet(c, 5, k), "28 pixels only"),
        (resized, "28 pixels only"),
        (lambda c, n, k: LeNet("modern"), "what changes"),
        (lambda c, n, k: lenet(c, ((n - 4) // 2 - 4) // 2, k, padding=0), "pads"),
        (lambda c, n, k: lenet(c, n // 4, k), "does not pad"),
        (rounded_up, "rounds down"),
        (ceiled, "rounds down"),
        (lambda c, n, k: lenet(1, side_of(n), k), "channels does the input"),
        (lambda c, n, k: lenet(c, side_of(n), 10), "classes are there"),
        (
            lambda c, n, k: lenet(c, side_of(n), k, end=[nn.ReLU()]),
            "nothing follows",
        ),
        (
            lambda c, n, k: lenet(c, side_of(n), k, end=[nn.Softmax(1)]),
            "nothing follows",
        ),
        (
            lambda c, n, k: lenet(c, side_of(n), k, activation=nn.Identity),
            "but the last has a ReLU",
        ),
        (lambda c, n, k: LeNet("modern", activation=nn.Tanh), "tanh"),
        (lambda c, n, k: LeNet("modern", pool=nn.AvgPool2d), "max pooling"),
        (frozen, "frozen"),
        (DetachedFeatures, "detached"),
        (lambda c, n, k: lenet, "a module is wanted"),
    ],
    "lenet.partial_convolution": [
        (by_the_library, "does it for you"),
        (lambda x, w, b, table: F.conv2d(x, w, b), "channels of its row"),
        (the_papers_table, "channels of its row"),
        (biased, "once per output"),
        (lambda x, w, b, table: masked(x, w, None, table), "Where is the bias"),
        (packed, "when others are left out"),
        (
            lambda x, w, b, table: masked(x, w, b, table, lambda c, row: c not in row),
            "that are connected",
        ),
        (turned, "Row d of the table"),
        (averaged, "not averaged"),
        (cuts_the_weight, "work on a copy"),
    ],
    "lenet.equivalent_linear": [
        (lambda c: (c, torch.zeros(len(c))), "different norms"),
        (lambda c: (c, squared_norm(c) / 2), "large norm is far"),
        (lambda c: (2 * c, -squared_norm(c)), "half of"),
        (lambda c: (c, -squared_norm(c)), "half of"),
        (lambda c: (-c, -squared_norm(c) / 2), "smaller distance"),
        (lambda c: (c, -c.norm(dim=1) / 2), "square of the norm"),
        (lambda c: (c, -squared_norm(c) / 2 / c.shape[1]), "not a mean"),
        (lambda c: (c, -(c.sum(1) ** 2) / 2), "Square first"),
        (lambda c: (c / c.norm(dim=1)[:, None], torch.zeros(len(c))), "as they are"),
        (lambda c: (c / 2, -squared_norm(c) / 2), "as they are"),
        (lambda c: (c.T, -squared_norm(c) / 2), "For each class"),
        (lambda c: (c, -c.square().sum(0) / 2), "For each class"),
        (lambda c: c, "it should return a weight and a bias"),
        (squares_codes, "work on a copy"),
    ],
}


def counted():
    layers = [nn.Conv2d(len(row), 1, 5) for row in C3_TABLE]
    parameters = sum(p.numel() for layer in layers for p in layer.parameters())
    return parameters, parameters * 100


def by_product():
    """An array of NumPy."""
    return np.array([1, 100]) * (25 * np.dot([6, 9, 1], [3, 4, 6]) + 16)


def one_after_the_other():
    parameters = Fraction(sum(map(len, C3_TABLE)) * 25 + 16)
    yield parameters
    yield float(parameters * 100)


def strided(x, coefficient, bias):
    channels = len(coefficient)
    weight = coefficient[:, None, None, None].expand(-1, 1, 2, 2)
    return F.conv2d(x, weight, bias, stride=2, groups=channels)


def with_numpy(x, coefficient, bias):
    n, c, h, w = x.shape
    squares = x.numpy().reshape(n, c, h // 2, 2, w // 2, 2).sum(axis=(3, 5))
    return (squares.T * coefficient.numpy()[:, None] + bias.numpy()[:, None]).T


class Subsample:
    """In float64."""

    def __call__(self, x, coefficient, bias):
        sums = x.double().unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2))
        return torch.einsum("nchw,c->nchw", sums, coefficient.double()) + bias.view(
            1, -1, 1, 1
        )


def by_hand(scores, labels):
    high = scores.max(dim=1, keepdim=True).values
    logs = scores - high - (scores - high).exp().sum(1, keepdim=True).log()
    return -logs[torch.arange(len(labels)), labels].mean()


def with_one_element(scores, labels):
    """In float64, of the shape (1,)."""
    scores = scores.double()
    own = scores.gather(1, labels[:, None])
    return (scores.logsumexp(1, keepdim=True) - own).mean(0)


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


def lazy(channels, pixels, classes):
    return nn.Sequential(
        *(nn.LazyConv2d(6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        *(nn.LazyConv2d(16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        *(nn.LazyLinear(120), nn.ReLU(), nn.LazyLinear(84), nn.ReLU()),
        nn.LazyLinear(classes),
    )


def all_convolutions(channels, pixels, classes):
    """c5 to the end as convolutions, in float64."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(1)),
        nn.Unflatten(1, (16 * side_of(pixels) ** 2, 1, 1)),
        *(nn.Conv2d(16 * side_of(pixels) ** 2, 120, 1), nn.ReLU()),
        *(nn.Conv2d(120, 84, 1), nn.ReLU(), nn.Conv2d(84, classes, 1), nn.Flatten()),
    ).double()


def one_by_one(x, weight, bias, table):
    outputs = [
        F.conv2d(x[:, list(row)], weight[d, list(row)][None], bias[d : d + 1])
        for d, row in enumerate(table)
    ]
    return torch.cat(outputs, dim=1)


def summed(x, weight, bias, table):
    """A list of feature maps becomes a tensor of another type."""
    maps = []
    for row, kernels, b in zip(table, weight.double(), bias.tolist(), strict=True):
        parts = (F.conv2d(x[:, [c]].double(), kernels[c][None, None]) for c in row)
        maps.append(b + sum(parts)[:, 0])
    return torch.stack(maps, 1)


def masked_with_numpy(x, weight, bias, table):
    mask = np.zeros(weight.shape[:2])
    for d, row in enumerate(table):
        np.put(mask[d], row, 1)
    kept = np.einsum("dc,dchw->dchw", mask, weight.numpy()).astype("float32")
    return F.conv2d(x, torch.from_numpy(kept), bias).numpy()


def centered(codes):
    """The same softmax, from other scores."""
    mean = codes.mean(0)
    return codes - mean, -0.5 * squared_norm(codes) + 7


def from_numpy(codes):
    codes = codes.numpy().astype("float64")
    return [codes, -(np.linalg.norm(codes, axis=1) ** 2) / 2]


def lists(codes):
    yield codes.tolist()
    yield [-sum(value**2 for value in code) / 2 for code in codes.tolist()]


#: Exercise -> right answers that look different.
RIGHT = {
    "lenet.third_stage": [counted, by_product, one_after_the_other],
    "lenet.subsample": [pooled, strided, with_numpy, Subsample()],
    "lenet.loss_of": [
        by_hand,
        lambda s, y: F.nll_loss(s.log_softmax(1), y),
        nn.CrossEntropyLoss(),
        with_one_element,
    ],
    "lenet.lenet_for": [Backwards, lazy, all_convolutions],
    "lenet.partial_convolution": [one_by_one, summed, masked_with_numpy],
    "lenet.equivalent_linear": [centered, from_numpy, lists],
}
