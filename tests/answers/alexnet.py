"""Answers to the exercises on AlexNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy
import math
from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import AlexNet

#: What is sent for an image with groups and without, and in a step.
GROUPED, WHOLE = 60_672, 260_448
STEP, IMAGES = 62_128_128, 487_721_792


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


def in_percent(net, x, y):
    return 100 * put_back(net, x, y)


def only_the_root(net, x, y):
    """Sets the mode of the network, and not that of its layers."""
    training = net.training
    net.training = False
    result = share(net, x, y)
    net.training = training
    return result


def only_the_dropout(net, x, y):
    """Leaves the layers in evaluation mode."""
    training = net.training
    result = share(net.eval(), x, y)
    net.training = training
    return result


def turned_off(net, x, y):
    """Changes the layers instead of their mode."""
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return share(net, x, y)


def many_times(net, x, y):
    return sum(share(net, x, y) for _ in range(20)) / 20


def classes(net, x, y):
    return copy.deepcopy(net).eval()(x).argmax(1)


def errors(net, x, y):
    return 1 - share(copy.deepcopy(net).eval(), x, y)


def kept(x, p):
    return torch.rand_like(x) >= p


def seeded(x, p, training):
    torch.manual_seed(0)
    return kept(x, p) * x / (1 - p) if training else x


def some(x, p, training):
    """Drops a certain number of activations."""
    if not training:
        return x
    mask = torch.ones(x.numel())
    mask[torch.randperm(x.numel())[: int(p * x.numel())]] = 0
    return mask.view_as(x) * x / (1 - p)


def some_of_each_image(x, p, training):
    if not training:
        return x
    order = torch.rand_like(x).argsort(dim=1)
    return (order >= int(p * x.shape[1])) * x / (1 - p)


def zeroed(x, p, training):
    """Writes zeros into the caller's x."""
    if training:
        x[~kept(x, p)] = 0
        return x / (1 - p)
    return x


def left_out(x, p, training):
    return x[kept(x, p)] / (1 - p) if training else x


def every_fifth(x, p, training):
    if not training:
        return x
    mask = torch.arange(x.numel()).view_as(x) % round(1 / p) != 0
    return mask * x / (1 - p)


def interleaved(weight, groups):
    inputs, outputs = weight.shape[1], len(weight) // groups
    ungrouped = torch.zeros(len(weight), inputs * groups, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        ungrouped[rows, group::groups] = weight[rows]
    return ungrouped


def interleaved_outputs(weight, groups):
    inputs = weight.shape[1]
    ungrouped = torch.zeros(len(weight), inputs * groups, *weight.shape[2:])
    for group in range(groups):
        columns = slice(group * inputs, (group + 1) * inputs)
        ungrouped[group::groups, columns] = weight[group::groups]
    return ungrouped


def two_groups(weight, groups):
    return blocks(weight, 2)


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
    pool=nn.MaxPool2d,
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
            layers.append(pool(pool_size, stride=2))
        wide = channels[i]
    return nn.Sequential(*layers)


def frozen(channels):
    net = figure_2(channels)
    net[0].requires_grad_(False)
    return net


class Detached(nn.Module):
    """Its last convolution alone learns."""

    def __init__(self, channels):
        super().__init__()
        self.net = figure_2(channels)

    def forward(self, x):
        with torch.no_grad():
            x = self.net[:10](x)
        return self.net[10:](x)


def fewest(level, probability):
    n = 1
    while probability(n) > level:
        n += 1
    return n


def by_chance(ideas):
    return lambda n: 1 - (1 - 2 ** (1 - n)) ** ideas


def penalized(x, y, w, p, factor=None):
    factor = p / (1 - p) if factor is None else factor
    return ((x @ w - y) ** 2 + factor * (x * x) @ (w * w)).mean()


def sampled(x, y, w, p):
    """A few masks instead of all."""
    masks = torch.rand(100, *x.shape) >= p
    return (((masks * x / (1 - p)) @ w - y) ** 2).mean()


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "alexnet.sent": [
        (lambda: (GROUPED // 2, WHOLE // 2, STEP // 2, IMAGES), "half of them each"),
        (lambda: (GROUPED, 2 * WHOLE, STEP, IMAGES), "half of them each"),
        (lambda: (74_088, WHOLE, 1024 * 74_088, IMAGES), "what a layer reads"),
        (lambda: (GROUPED - 4096, WHOLE, STEP, IMAGES), "the three fully connected"),
        (lambda: (43_264, WHOLE, STEP, IMAGES), "The fully connected layers read"),
        (lambda: (GROUPED + 1000, WHOLE + 1000, STEP, IMAGES), "output of fc8"),
        (lambda: (238_080, WHOLE, STEP, IMAGES), "gone through pooling"),
        (lambda: (WHOLE, WHOLE, STEP, IMAGES), "on their own GPU"),
        (lambda: (199_776, WHOLE, STEP, IMAGES), "nothing from the other"),
        (lambda: (GROUPED, 199_776, STEP, IMAGES), "as well"),
        (lambda: (GROUPED, WHOLE - 69_984, STEP, IMAGES), "read without"),
        (lambda: (GROUPED, WHOLE + 154_587, STEP, IMAGES), "have the images"),
        (lambda: (GROUPED, WHOLE, STEP // 2, IMAGES), "its gradient back"),
        (lambda: (GROUPED, WHOLE, STEP // 128, IMAGES), "belong to an image"),
        (lambda: (GROUPED, WHOLE, STEP // 4, IMAGES // 4), "has four bytes"),
        (lambda: (GROUPED, WHOLE, STEP, IMAGES // 2), "to the other"),
        (lambda: (GROUPED, WHOLE, STEP, IMAGES * 64), "however many images"),
        (lambda: (GROUPED, WHOLE, STEP / 1e6, IMAGES / 1e6), "the third value"),
        (lambda: (GROUPED, WHOLE, IMAGES, STEP), "in another order"),
        (lambda: (GROUPED, WHOLE), "4 are wanted"),
    ],
    "alexnet.accuracy": [
        (share, "at random"),
        (torch.no_grad()(share), "in training mode"),
        (many_times, "in training mode"),
        (turned_off, "in training mode"),
        (left_in_evaluation, "evaluation mode after"),
        (left_in_training, "training mode after"),
        (only_the_root, "layers have modes of their own"),
        (only_the_dropout, "a part of it is in evaluation mode"),
        (number, "not their number"),
        (in_percent, "between 0 and 1"),
        (errors, "Count what is right"),
        (classes, "where a number is wanted"),
    ],
    "alexnet.seeds_for": [
        (lambda ideas, level: fewest(level, lambda n: 2 ** (1 - n)), "How many ideas"),
        (
            lambda ideas, level: fewest(level, lambda n: 1 - (1 - 2**-n) ** ideas),
            "or all minus",
        ),
        (
            lambda ideas, level: fewest(level, lambda n: 2 ** (ideas * (1 - n))),
            "not all of them",
        ),
        (
            lambda ideas, level: fewest(level, lambda n: ideas * 2 ** (1 - n)),
            "counts two findings twice",
        ),
        (lambda ideas, level: fewest(level - 1e-9, by_chance(ideas)), "good enough"),
        (lambda ideas, level: fewest(level, by_chance(ideas)) + 1, "enough already"),
    ],
    "alexnet.drop": [
        (F.dropout, "does it for you"),
        (lambda x, p, training: nn.Dropout(p).train(training)(x), "does it for you"),
        (lambda x, p, training: torch.dropout(x, p, training), "does it for you"),
        (lambda x, p, training: kept(x, p) * x / (1 - p), "Dropout is off"),
        (
            lambda x, p, training: kept(x, p) * x if training else (1 - p) * x,
            "The paper scales outputs down",
        ),
        (lambda x, p, training: kept(x, p) * x if training else x, "20% of the sum"),
        (lambda x, p, training: kept(x, 1 - p) * x if training else x, "not the one"),
        (lambda x, p, training: kept(x, p) * x / p if training else x, "sum is left"),
        (
            lambda x, p, training: kept(x, p) * x * (1 - p) if training else x,
            "larger, not smaller",
        ),
        (
            lambda x, p, training: kept(x, p) * x * (1 + p) if training else x,
            "divided by 1 - p",
        ),
        (
            lambda x, p, training: kept(x, p) / (1 - p) if training else x,
            "It is `x` that is kept",
        ),
        (
            lambda x, p, training: kept(x, 0.2) * x / 0.8 if training else x,
            "p is an argument",
        ),
        (
            lambda x, p, training: kept(x[:1], p) * x / (1 - p) if training else x,
            "for all images",
        ),
        (
            lambda x, p, training: kept(x[:, :1], p) * x / (1 - p) if training else x,
            "all units of an image",
        ),
        (seeded, "do not set the seed"),
        (some, "left to chance"),
        (some_of_each_image, "left to chance"),
        (every_fifth, "by itself"),
        (left_out, "none is left out"),
        (zeroed, "work on a copy"),
        (lambda x, p, training: x, "nothing is dropped"),
        (lambda x, p, training: x[:1] if training else x, "expected shape"),
    ],
    "alexnet.expected_loss": [
        (lambda x, y, w, p: (x @ w - y).square().mean(), "masks add a variance"),
        (lambda x, y, w, p: penalized(x, y, w, p, p * (1 - p)), "by how much"),
        (lambda x, y, w, p: penalized(x, y, w, p, p), "by how much"),
        (lambda x, y, w, p: penalized(x, y, w, p, (1 - p) / p), "dropped, not kept"),
        (lambda x, y, w, p: penalized(x, y, w, p, 1.0), "p = 0.5 only"),
        (lambda x, y, w, p: penalized(x, y, w, p, p / (p - 1)), "never negative"),
        (
            lambda x, y, w, p: (x @ w - y).square().mean() + p / (1 - p) * w.dot(w),
            "where is x",
        ),
        (
            lambda x, y, w, p: (
                (x @ w - y).square() + p / (1 - p) * (x @ w).square()
            ).mean(),
            "one by one",
        ),
        (lambda x, y, w, p: penalized(x, y, w, p) * len(x), "not the sum"),
        (lambda x, y, w, p: penalized(x, y, w * (1 - p), p), "divides by 1 - p"),
        (sampled, ""),
    ],
    "alexnet.merge": [
        (lambda w, groups: w.repeat(1, groups, 1, 1), "its own alone"),
        (interleaved, "adjacent"),
        (interleaved_outputs, "outputs of a group are adjacent"),
        (first_group, "the first group"),
        (other_group, "the first inputs"),
        (two_groups, "more groups than two"),
        (lambda w, groups: blocks(w, groups).transpose(0, 1), "outputs come first"),
        (lambda w, groups: w, "where nothing is connected"),
    ],
    "alexnet.front": [
        (lambda c: figure_2(c, groups=(1, 1, 1, 1, 1)), "two groups?"),
        (lambda c: figure_2(c, groups=(1, 2, 2, 2, 2)), "is not in groups"),
        (lambda c: figure_2(c, groups=(1, 2, 1, 1, 1)), "are in two groups"),
        (lambda c: figure_2((96, 256, 384, 384, 256)), "those of `channels`"),
        (lambda c: figure_2(c, pool_size=2), "overlap"),
        (lambda c: figure_2(c, pool=nn.AvgPool2d), "max pooling"),
        (lambda c: figure_2(c, padding=(2, 2, 1, 1, 1)), "conv1 needs no"),
        (lambda c: figure_2(c, padding=(0, 1, 1, 1, 1)), "keep the size"),
        (lambda c: figure_2(c, padding=(0, 2, 0, 1, 1)), "keep the size"),
        (lambda c: figure_2(c, padding=(0, 2, 0, 0, 0)), "keep the size"),
        (lambda c: figure_2(c, padding=(0, 0, 0, 0, 0)), "keep the size"),
        (lambda c: figure_2(c, pooled=(0, 1)), "by pooling, too"),
        (lambda c: figure_2(c, pooled=(1, 4)), "by pooling, too"),
        (lambda c: figure_2(c, last=nn.Identity), "five convolutions has a ReLU"),
        (
            lambda c: figure_2(c).insert(2, nn.LocalResponseNorm(5, k=2.0)),
            "Leave out the local",
        ),
        (lambda c: figure_2(c).append(nn.Flatten()), "is feature maps"),
        (frozen, "frozen"),
        (Detached, "detached"),
    ],
}


def counted():
    """From the library's network, by what each of its layers reads."""
    with torch.device("meta"):
        net = AlexNet("paper")
        x, read = torch.empty(1, 3, 227, 227), {}
        for name, stage in net.named_children():
            read[name] = x.numel()
            x = stage(x)
    grouped = sum(read[name] for name in ("conv3", "fc6", "fc7", "fc8"))
    whole = sum(read.values()) - read["conv1"]
    weights = sum(p.numel() for p in net.parameters())
    return [grouped, whole, grouped * 1024, weights * 8]


def by_product():
    """An array of NumPy."""
    read = np.array([256 * 13**2, 256 * 6**2, 4096, 4096])
    more = np.array([96 * 27**2, 384 * 13**2, 384 * 13**2])
    values = np.array([read.sum(), np.concatenate([read, more]).sum()])
    return np.append(values, [values[0] * 1024, 8 * 60_965_224])


def one_after_the_other():
    yield Fraction(GROUPED)
    yield torch.tensor([WHOLE])
    yield float(GROUPED * 1024)
    yield IMAGES


def on_a_copy(net, x, y):
    with torch.no_grad():
        return copy.deepcopy(net).eval()(x).argmax(1).eq(y).sum() / len(y)


def put_back(net, x, y):
    training = net.training
    try:
        return share(net.eval(), x, y)
    finally:
        net.train(training)


@torch.inference_mode()
def as_fraction(net, x, y):
    """One image at a time."""
    before = [(layer, layer.training) for layer in net.modules()]
    net.train(False)
    right = [int(net(x[[i]]).argmax()) == int(y[i]) for i in range(len(y))]
    for layer, mode in before:
        layer.training = mode
    return Fraction(sum(right), len(right))


def by_mask(x, p, training):
    return x.masked_fill(torch.rand(x.shape) < p, 0) / (1 - p) if training else x


def with_bernoulli(x, p, training):
    """In float64."""
    if not training:
        return 1 * x
    return x * torch.full_like(x, 1 - p, dtype=torch.float64).bernoulli() / (1 - p)


def drawn_by_numpy(x, p, training):
    mask = np.random.default_rng().random(x.shape) > p
    return np.where(mask | (not training), x.numpy() / (1 - p * training), 0.0)


class Drop:
    """Can be called."""

    def __call__(self, x, p, training):
        mask = torch.empty_like(x).uniform_().ge(p) if training else torch.ones_like(x)
        return x.mul(mask).div(1 - p * training).tolist()


def by_impulses(weight, groups):
    """What a convolution in groups does to ones."""
    inputs, (height, width) = groups * weight.shape[1], weight.shape[2:]
    ones = torch.zeros(inputs, inputs, 2 * height - 1, 2 * width - 1)
    for i in range(inputs):
        ones[i, i, height - 1, width - 1] = 1
    return F.conv2d(ones, weight, groups=groups).transpose(0, 1).flip(2, 3)


def by_einsum(weight, groups):
    """In float64."""
    parts = weight.double().unflatten(0, (groups, -1))
    own = torch.eye(groups, dtype=torch.float64)
    return torch.einsum("gochw,gk->gokchw", parts, own).flatten(2, 3).flatten(0, 1)


def padded(weight, groups):
    inputs = weight.shape[1]
    rows = [
        F.pad(part, (0, 0, 0, 0, i * inputs, (groups - 1 - i) * inputs)).numpy()
        for i, part in enumerate(weight.chunk(groups))
    ]
    return np.concatenate(rows)


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


def lazy(channels):
    conv = partial(nn.LazyConv2d, kernel_size=3, padding=1)
    a, b, c, d, e = channels
    return nn.Sequential(
        *(nn.LazyConv2d(a, 11, 4), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True)),
        *(nn.LazyConv2d(b, 5, padding=2, groups=2), nn.MaxPool2d(3, 2), nn.ReLU()),
        *(conv(c), nn.ReLU(), conv(d, groups=2), nn.ReLU(), conv(e, groups=2)),
        *(nn.Threshold(0.0, 0.0), nn.MaxPool2d(3, 2)),
    )


def nested(channels):
    """In float64."""
    sizes, padding, groups = (11, 5, 3, 3, 3), (0, 2, 1, 1, 1), (1, 2, 1, 2, 2)
    wide = [3, *channels]
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.ZeroPad2d(padding[i]),
                nn.Conv2d(
                    wide[i], wide[i + 1], sizes[i], 1 if i else 4, groups=groups[i]
                ),
                nn.LeakyReLU(0.0),
                nn.MaxPool2d(3, 2) if i in (0, 1, 4) else nn.Identity(),
            )
            for i in range(5)
        )
    ).double()


def solved_for_n(ideas, level):
    """(1 - 2^(1 - n))^ideas >= 1 - level, solved for n."""
    exact = 1 - math.log2(1 - (1 - level) ** (1 / ideas))
    return math.ceil(exact - 1e-9)


def by_moments(x, y, w, p):
    """E[z^2] - 2 y E[z] + y^2, with the second moments of all pairs of inputs."""
    pairs = torch.ones(len(w), len(w)).fill_diagonal_(1 / (1 - p))
    second = torch.einsum("nf,fg,ng->n", x * w, pairs, x * w)
    return (second - 2 * y * (x * w).sum(1) + y**2).mean()


def as_an_array(x, y, w, p):
    """In float64, an array with one element."""
    x, y, w = (each.double().numpy() for each in (x, y, w))
    return np.array(
        [(((x * w).sum(1) - y) ** 2 + p / (1 - p) * (x * w) ** 2 @ (w * 0 + 1)).mean()]
    )


#: Exercise -> right answers that look different.
RIGHT = {
    "alexnet.sent": [counted, by_product, one_after_the_other],
    "alexnet.accuracy": [on_a_copy, put_back, as_fraction],
    "alexnet.seeds_for": [
        lambda ideas, level: fewest(level, by_chance(ideas)),
        solved_for_n,
        lambda ideas, level: torch.tensor([float(solved_for_n(ideas, level))]),
    ],
    "alexnet.expected_loss": [penalized, by_moments, as_an_array],
    "alexnet.drop": [by_mask, with_bernoulli, drawn_by_numpy, Drop()],
    "alexnet.merge": [blocks, by_impulses, by_einsum, padded],
    "alexnet.front": [OtherOrder, lazy, nested],
}
