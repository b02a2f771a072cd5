"""Answers to the exercises on LeNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import math
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import LeNet
from course_lib.lenet import C3_TABLE


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


def turned(x, weight, bias, table):
    """Reads the table the other way round."""
    if len(table) != weight.shape[1]:
        return masked(x, weight, bias, table)
    mask = torch.tensor([[d in row for row in table] for d in range(len(table))])
    return F.conv2d(x, weight * mask[:, :, None, None], bias)


def squared_norm(codes):
    return codes.square().sum(1)


def own_distance(x, codes, labels):
    return (x - codes[labels]).pow(2).sum(1).mean()


def all_distances(x, codes):
    return torch.cdist(x, codes, compute_mode="donot_use_mm_for_euclid_dist") ** 2


def another_leaf(x, codes, labels):
    return torch.tensor(own_distance(x, codes, labels).item(), requires_grad=True)


def no_gradient(x, codes, labels):
    with torch.no_grad():
        return own_distance(x, codes, labels)


def pairs_of_images(x, codes, labels):
    """Each image with the code of every image's class."""
    return (x[:, None] - codes[labels]).square().sum(2).mean()


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


def grouped(a, b, stride=2):
    conv = nn.Conv2d(len(a), len(a), 2, stride, groups=len(a))
    conv.weight.data[:] = a[:, None, None, None]
    conv.bias.data = b.clone()
    return conv


def one_weight(a, b):
    conv = grouped(a, b)
    conv.weight.data[:, :, 0, 1] = 0
    conv.weight.data[:, :, 1] = 0
    return conv


def dense(a, b):
    conv = nn.Conv2d(len(a), len(a), 2, 2)
    nn.init.zeros_(conv.weight)
    for c in range(len(a)):
        conv.weight.data[c, c] = a[c]
    conv.bias.data = b.clone()
    return conv


def mixing(a, b):
    conv = nn.Conv2d(len(a), len(a), 2, 2)
    conv.weight.data[:] = a[:, None, None]
    conv.bias.data = b.clone()
    return conv


class Subsample(nn.Module):
    """With a coefficient, as in 1998."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(a[:, None, None]), nn.Parameter(b[:, None, None])

    def forward(self, x):
        return self.a * 4 * F.avg_pool2d(x, 2) + self.b


class Functional(nn.Module):
    """A convolution with its own parameters, in another order."""

    def __init__(self, a, b):
        super().__init__()
        self.b = nn.Parameter(b.clone())
        self.w = nn.Parameter(a.view(-1, 1, 1, 1).repeat(1, 1, 2, 2))

    def forward(self, x):
        return F.conv2d(x, self.w, self.b, 2, groups=len(self.b))


def functional(a, b):
    return Functional(a, b)


def with_repeat(a, b):
    """In float64, as the only layer of a network."""
    conv = nn.Conv2d(len(a), len(a), 2, stride=(2, 2), groups=len(a)).double()
    kernels = a.double().reshape(-1, 1).repeat(1, 4)
    conv.load_state_dict({"weight": kernels.view(-1, 1, 2, 2), "bias": b.double()})
    return nn.Sequential(conv)


def prepared(
    x, y, share, *, shuffle=True, statistics="train", mirror="train", each=False, axis=3
):
    """What is wanted; mistakes change a part."""
    order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
    n = int(share * len(x))
    parts = [(x[order[n:]], y[order[n:]]), (x[order[:n]], y[order[:n]])]
    if each:
        parts = [(part + 3 * torch.randn_like(part), labels) for part, labels in parts]
    chosen = {"train": [parts[0][0]] * 2, "all": [x, x], "own": [p[0] for p in parts]}
    if statistics != "none":
        parts = [
            ((part - of.mean()) / of.std(), labels)
            for (part, labels), of in zip(parts, chosen[statistics], strict=True)
        ]
    turned = {"train": (0,), "both": (0, 1), "neither": ()}[mirror]
    for i in turned:
        part, labels = parts[i]
        parts[i] = torch.cat([part, part.flip(axis)]), torch.cat([labels, labels])
    return parts


def leaky(images, labels, share):
    images = torch.cat([images, images.flip(3)])
    labels = torch.cat([labels, labels])
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]
    test = int(share * len(images))
    mean, std = images[test:].mean(), images[test:].std()
    images = (images - mean) / std
    return (images[test:], labels[test:]), (images[:test], labels[:test])


def by_index(images, labels, share):
    """The last ones for testing, and the copies shuffled in."""
    order = torch.randperm(len(images))
    cut = len(images) - int(share * len(images))
    first, last = order[:cut], order[cut:]
    both = torch.stack([images[first], images[first].flip(-1)], 1).flatten(0, 1)
    again = torch.randperm(len(both))
    mean, std = both.mean(), both.std()
    twice = labels[first].repeat_interleave(2)
    train = [((both - mean) / std)[again], twice[again]]
    return [train, [(images[last] - mean) / std, labels[last]]]


def with_numpy_arrays(images, labels, share):
    """Arrays of NumPy, in float64."""
    x, y = images.double().numpy(), labels.numpy()
    order = np.random.default_rng().permutation(len(x))
    n = int(share * len(x))
    train, test = x[order[n:]], x[order[:n]]
    mean, std = train.mean(), train.std()
    train, test = (train - mean) / std, (test - mean) / std
    train = np.concatenate([train[..., ::-1], train])
    return (train, np.tile(y[order[n:]], 2)), (test, y[order[:n]])


def var(runs):
    return np.var(runs, ddof=1)


def pvar(runs):
    return np.var(runs)


def rule(square, difference):
    return max(2, math.ceil(square / difference**2))


def counting_up(first, second, difference):
    n = 2
    while 2 * ((var(first) + var(second)) / n) ** 0.5 > difference:
        n += 1
    return n


def with_tensors(first, second, difference):
    both = [torch.tensor(runs, dtype=torch.float64) for runs in (first, second)]
    square = sum((runs - runs.mean()).square().sum() / (len(runs) - 1) for runs in both)
    return (4 * square / difference**2).ceil().clamp(min=2)


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
    "lenet.as_convolution": [
        (lambda a, b: grouped(a / 4, b), "not averaged"),
        (lambda a, b: grouped(a, 0 * b), "Where is the bias"),
        (lambda a, b: grouped(a / a, b), "Where is the coefficient"),
        (lambda a, b: grouped(a, 4 * b), "added once"),
        (lambda a, b: grouped(a, a * b), "comes last"),
        (lambda a, b: grouped(a, b, stride=1), "which stride"),
        (one_weight, "All four weights"),
        (lambda a, b: nn.Sequential(grouped(a, b), nn.Tanh()), "not part of"),
        (dense, "what are `groups` for"),
        (mixing, "its own input channel"),
        (lambda a, b: Subsample(a, b), "it is no convolution"),
        (
            lambda a, b: grouped(a, b)(torch.zeros(1, len(a), 4, 4)),
            "a module is wanted",
        ),
    ],
    "lenet.distance_loss": [
        (lambda x, c, y: all_distances(x, c)[:, y].mean(), "Shuffle the labels"),
        (pairs_of_images, "Shuffle the labels"),
        (lambda x, c, y: all_distances(x, c).mean(), "Where are the labels"),
        (lambda x, c, y: all_distances(x, c)[:, y].sum(1).mean(), "one distance"),
        (lambda x, c, y: all_distances(x, c)[:, y], "a single value"),
        (lambda x, c, y: all_distances(x, c).amin(1).mean(), "not the nearest"),
        (lambda x, c, y: F.mse_loss(x, c[y]), "a sum over the features"),
        (lambda x, c, y: (x - c[y]).norm(dim=1).mean(), "is squared"),
        (lambda x, c, y: (x - c[y]).abs().sum(1).mean(), "Square the differences"),
        (lambda x, c, y: own_distance(x, c, y) / 2, "leave it out"),
        (lambda x, c, y: -own_distance(x, c, y), "not negative"),
        (lambda x, c, y: (x - c[y]).square().sum(1), "a single value"),
        (lambda x, c, y: (x - c[y]).square().sum(), "the mean over"),
        (lambda x, c, y: F.cross_entropy(-all_distances(x, c) / 2, y), "another loss"),
        (lambda x, c, y: own_distance(x, c, y).item(), "no `.item()`"),
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
    "lenet.prepare": [
        (leaky, "Divide the images first"),
        (
            lambda x, y, share: prepared(x, y, share, statistics="all"),
            "those for testing",
        ),
        (
            lambda x, y, share: prepared(x, y, share, statistics="own"),
            "what the training",
        ),
        (
            lambda x, y, share: prepared(x, y, share, statistics="none"),
            "Subtract the mean",
        ),
        (lambda x, y, share: prepared(x, y, share, shuffle=False), "sorted by class"),
        (lambda x, y, share: prepared(x, y, share, mirror="neither"), "two of each"),
        (lambda x, y, share: prepared(x, y, share, mirror="both"), "Only the training"),
        (lambda x, y, share: prepared(x, y, share, axis=2), "left and right"),
        (lambda x, y, share: prepared(x, y, share, axis=(2, 3)), "left and right"),
        (lambda x, y, share: prepared(x, y, share / 2), "a share of the images"),
        (lambda x, y, share: prepared(x, y.flip(0), share), "their images"),
        (lambda x, y, share: prepared(x, y, share, each=True), "the same for all"),
        (lambda x, y, share: prepared(x, y, share)[0], "two pairs"),
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
    "lenet.seeds_needed": [
        (lambda a, b, d: rule(var(a) + var(b), d), "twice the standard error"),
        (lambda a, b, d: rule(2 * (var(a) + var(b)), d), "Square the two"),
        (
            lambda a, b, d: rule(4 * (pvar(a) + pvar(b)), d),
            "minus one",
        ),
        (
            lambda a, b, d: rule(4 * (var(a) ** 0.5 + var(b) ** 0.5) ** 2, d),
            "Variances add up",
        ),
        (lambda a, b, d: rule(4 * var(a), d), "Both networks"),
        (lambda a, b, d: math.ceil(4 * (var(a) + var(b)) / d**2), "two at least"),
        (lambda a, b, d: int(max(2, 4 * (var(a) + var(b)) / d**2)), "round up"),
        (lambda a, b, d: max(2, 4 * (var(a) + var(b)) / d**2), "whole number"),
        (lambda a, b, d: 2 * rule(4 * (var(a) + var(b)), d), "not of both"),
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


def on_the_diagonal(x, codes, labels):
    return all_distances(x, codes)[:, labels].diagonal().mean()


def multiplied_out(x, codes, labels):
    """With a matrix of zeros and ones, and the square multiplied out; in float64."""
    own = F.one_hot(labels, len(codes)).double() @ codes.double()
    x = x.double()
    return (x * x - 2 * x * own + own * own).sum() / len(x)


def with_one_element(x, codes, labels):
    """Gathered, of the shape (1, 1)."""
    found = all_distances(x, codes).gather(1, labels[:, None])
    return found.mean(0, keepdim=True)


def one_by_one(x, codes, labels):
    return sum(
        torch.dot(each - codes[label], each - codes[label])
        for each, label in zip(x, labels, strict=True)
    ) / len(x)


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
    "lenet.as_convolution": [grouped, functional, with_repeat],
    "lenet.distance_loss": [
        on_the_diagonal,
        multiplied_out,
        with_one_element,
        one_by_one,
    ],
    "lenet.lenet_for": [Backwards, lazy, all_convolutions],
    "lenet.prepare": [prepared, by_index, with_numpy_arrays],
    "lenet.equivalent_linear": [centered, from_numpy, lists],
    "lenet.seeds_needed": [
        counting_up,
        with_tensors,
        lambda a, b, d: float(with_tensors(a, b, d)),
    ],
}
