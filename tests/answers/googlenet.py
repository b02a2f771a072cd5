"""Answers to the exercises on GoogLeNet: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.convolution import receptive_field
from course_lib.googlenet import Inception, InceptionChannels, Outputs

ONES, REDUCE, PROJECT = 480 * 192, 480 * 112, 480 * 64
THREE, FIVE = 9 * 96 * 208, 25 * 16 * 48
COUNT = ONES + REDUCE + PROJECT + THREE + FIVE
NAIVE = 480 * (192 + 9 * 208 + 25 * 48)


def mixed_logits(net, x, y):
    logits, aux2, aux1 = net(x)
    return F.cross_entropy(logits + 0.3 * (aux2 + aux1), y)


def losses(net, x, y, weight=0.3, loss=F.cross_entropy):
    logits, *heads = net(x)
    return loss(logits, y) + sum(weight * loss(each, y) for each in heads)


def either(loss, weight=0.3):
    """In both modes, with some loss of logits and labels."""

    def answer(net, x, y):
        return losses(net, x, y, weight, loss) if net.training else loss(net(x), y)

    return answer


def softmax_twice(logits, y):
    return F.cross_entropy(logits.softmax(1), y)


def first_head_only(net, x, y):
    """Forgets the parentheses around the sum of both losses."""
    if not net.training:
        return F.cross_entropy(net(x), y)
    own, two, one = (F.cross_entropy(each, y) for each in net(x))
    return own + 0.3 * two + one


def mean_of_logits(net, x, y):
    outputs = net(x)
    if isinstance(outputs, tuple):
        outputs = (outputs[0] + 0.3 * (outputs[1] + outputs[2])) / 1.6
    return F.cross_entropy(outputs, y)


def after_a_step(net, x, y):
    """Trains, although only the loss is asked for."""
    loss = in_either_mode(net, x, y)
    loss.backward(retain_graph=True)
    torch.optim.SGD(net.parameters(), 0.1).step()
    return loss


def without_heads(net, x, y):
    outputs = net(x)
    return F.cross_entropy(outputs[0] if isinstance(outputs, tuple) else outputs, y)


def always_in_training(net, x, y):
    mode = net.training
    loss = losses(net.train(), x, y)
    net.train(mode)
    return loss


def left_in_training(net, x, y):
    if net.training:
        return losses(net, x, y)
    return F.cross_entropy(net.train()(x)[0], y)


def one_head(net, x, y):
    if not net.training:
        return F.cross_entropy(net(x), y)
    logits, _, aux1 = net(x)
    return F.cross_entropy(logits, y) + 0.3 * F.cross_entropy(aux1, y)


def another_leaf(net, x, y):
    return torch.tensor(in_either_mode(net, x, y).item(), requires_grad=True)


def heads_detached(net, x, y):
    whole = in_either_mode(net, x, y)
    own = F.cross_entropy(net(x)[0] if net.training else net(x), y)
    return own + (whole - own).detach()


def no_gradient(net, x, y):
    return in_either_mode(net, x, y).detach()


class Module(nn.Module):
    """An Inception module that may have mistakes."""

    def __init__(
        self,
        channels,
        row,
        *,
        five=5,
        padding=2,
        pool=None,
        reduced=F.relu,
        last=F.relu,
        order=(0, 1, 2, 3),
        dim=1,
    ):
        super().__init__()
        one, reduce_3, three, reduce_5, large, project = row
        # Not in the order of the branches, and named after nothing.
        self.f = nn.Conv2d(channels, project, 1)
        self.e = nn.Conv2d(reduce_5, large, five, padding=padding)
        self.d = nn.Conv2d(channels, reduce_5, 1)
        self.c = nn.Conv2d(reduce_3, three, 3, padding=1)
        self.b = nn.Conv2d(channels, reduce_3, 1)
        self.a = nn.Conv2d(channels, one, 1)
        self.pool = pool or nn.MaxPool2d(3, 1, 1)
        self.reduced, self.last, self.order, self.dim = reduced, last, order, dim

    def forward(self, x):
        branches = [
            self.a(x),
            self.c(self.reduced(self.b(x))),
            self.e(self.reduced(self.d(x))),
            self.f(self.pool(x)),
        ]
        return self.last(torch.cat([branches[i] for i in self.order], dim=self.dim))


def module(**options):
    return lambda channels, row: Module(channels, row, **options)


class Frozen(Module):
    def __init__(self, channels, row):
        super().__init__(channels, row)
        self.d.requires_grad_(False)


class Detached(Module):
    """No gradient reaches what is before its large kernel."""

    def forward(self, x):
        branches = [
            self.a(x),
            self.c(self.b(x).relu()),
            self.e(self.d(x).relu().detach()),
            self.f(self.pool(x)),
        ]
        return torch.cat(branches, dim=1).relu()


class Unused(Module):
    """Outputs zeros for its pooling."""

    def forward(self, x):
        return super().forward(x).index_fill(1, torch.arange(x.shape[1]), 0.0)


def misread(*order):
    """Takes numbers of the row for others: those at `order`."""
    return lambda channels, row: Module(channels, [row[i] for i in order])


def library(channels, row):
    return Inception(channels, InceptionChannels(*row))


def inside_a_function(channels, row):
    """By PyTorch's layers alone; a lazy one finds its input channels itself."""
    one, reduce_3, three, reduce_5, five, project = row
    return Joined(
        nn.Sequential(nn.LazyConv2d(one, 1), nn.ReLU()),
        nn.Sequential(
            *(nn.LazyConv2d(reduce_3, 1), nn.ReLU()),
            *(nn.LazyConv2d(three, 3, padding=1), nn.ReLU()),
        ),
        nn.Sequential(
            *(nn.LazyConv2d(reduce_5, 1), nn.ReLU()),
            *(nn.LazyConv2d(five, 5, padding="same"), nn.ReLU()),
        ),
        nn.Sequential(
            *(nn.MaxPool2d(3, 1, 1), nn.LazyConv2d(project, 1), nn.ReLU()),
        ),
    )


class Joined(nn.ModuleList):
    def __init__(self, *branches):
        super().__init__(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self], -3)


def three_branches(channels, row):
    made = inside_a_function(channels, row)
    return Joined(made[0], made[1], made[3])


class Naive(nn.Module):
    def __init__(self, channels, row):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, out, size, padding=size // 2)
            for out, size in ((row[0], 1), (row[2], 3), (row[4], 5))
        )

    def forward(self, x):
        branches = [branch(x).relu() for branch in self.branches]
        return torch.cat([*branches, F.max_pool2d(x, 3, 1, 1)], dim=1)


def factors(kernel, *, rank=0, power=1, column=lambda u: u[:, 0], row=lambda v: v[0]):
    """What is wanted; mistakes change a part."""
    u, sizes, v = torch.linalg.svd(kernel)
    if rank:
        return sizes[rank] * u[:, rank], v[rank]
    return sizes[0] ** power * column(u), row(v)


def by_iteration(kernel):
    """One after the other is the best for the other."""
    row = torch.randn(len(kernel), dtype=torch.double)
    for _ in range(3000):
        column = kernel.double() @ row / row.square().sum()
        row = kernel.double().T @ column / column.square().sum()
    return column, row


def by_eigenvectors(kernel):
    """The factor half with each."""
    row = torch.linalg.eigh(kernel.T @ kernel).eigenvectors[:, -1]
    column = kernel @ row
    half = column.norm().sqrt()
    return [column / half, row * half]


def with_numpy_svd(kernel):
    """Arrays, and the signs turned over."""
    u, sizes, v = np.linalg.svd(kernel.numpy())
    return -u[:, 0], -v[0] * sizes[0]


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "googlenet.cost_of_4a": [
        (lambda: (COUNT + 624, COUNT * 196, NAIVE, 928), "Leave the biases out"),
        (lambda: (COUNT - PROJECT, 0, NAIVE, 928), "follows the max pooling"),
        (lambda: (THREE + FIVE, 0, NAIVE, 928), "have weights, too"),
        (lambda: (COUNT - REDUCE, 0, NAIVE, 928), "have weights, too"),
        (
            lambda: (ONES + REDUCE + PROJECT + THREE // 9 + FIVE // 25, 0, NAIVE, 928),
            "has 25",
        ),
        (lambda: (NAIVE - ONES + 480 * 368, 0, NAIVE, 928), "reductions output"),
        (lambda: (COUNT, COUNT, NAIVE, 928), "at every position"),
        (lambda: (COUNT, COUNT * 144, NAIVE, 928), "at each pixel"),
        (lambda: (COUNT, COUNT * 392, NAIVE, 928), "one multiplication and one"),
        (lambda: (COUNT, NAIVE, COUNT * 196, 928), "MACs come before"),
        (lambda: (COUNT, COUNT * 196, NAIVE + PROJECT, 928), "projection is gone"),
        (
            lambda: (COUNT, COUNT * 196, ONES + THREE + FIVE, 928),
            "all 480 input channels",
        ),
        (lambda: (COUNT, COUNT * 196, NAIVE, 512), "reduces the pooled channels"),
        (lambda: (COUNT, COUNT * 196, NAIVE, 448), "is a branch, too"),
        (lambda: COUNT, "a tuple is wanted"),
    ],
    "googlenet.near_and_far": [
        (lambda: (13, 17, 17, 53), "strides"),
        (lambda: (27, 43, 75, 379), "through 1x1 or through 5x5"),
        (lambda: (59, 27, 715, 75), "smaller field"),
        (lambda: (27, 75, 59, 715), "First both widths of 3a"),
        (lambda: (27, 59, 27, 667), "a kernel size, too"),
        (lambda: (27, 59, 51, 691), "pooling layers are 3x3"),
        (lambda: (27, 59, 59, 315), "a stride of 2, too"),
        (lambda: (27, 59, 27, 283), "a kernel size, too"),
        (lambda: (26, 58, 74, 714), "begin with 1"),
        (lambda: (27, 59, 75, 587), "part of the path"),
        (lambda: (27, 59, 75, 651), "are five modules"),
        (lambda: (27, 59, 75, 224), "no borders"),
        (lambda: (27, 59, 75, 700), "too small"),
    ],
    "googlenet.loss_with_heads": [
        (mixed_logits, "Add losses, not logits"),
        (mean_of_logits, "Add losses, not logits"),
        (lambda net, x, y: losses(net, x, y, 1), "weight of a head"),
        (lambda net, x, y: losses(net, x, y, 0.15), "not both together"),
        (first_head_only, "not only of one"),
        (losses, "raised"),
        (without_heads, "heads are added"),
        (always_in_training, "own loss counts"),
        (left_in_training, "which mode it is in"),
        (one_head, "two heads"),
        (either(softmax_twice), "the softmax is inside"),
        (
            either(partial(F.cross_entropy, label_smoothing=0.1)),
            "without label smoothing",
        ),
        (lambda net, x, y: net(x).loss(y), "raised"),
        (either(partial(F.cross_entropy, reduction="sum")), "not a sum"),
        (no_gradient, "no gradient"),
        (another_leaf, "no gradient"),
        (heads_detached, "its gradient is not"),
        (lambda net, x, y: in_either_mode(net, x, y).item(), "no gradient"),
        (after_a_step, "it changes its argument `net`"),
    ],
    "googlenet.most_between": [
        (lambda a, b: 25 * a * b // (9 * (a + b)), "nothing is saved"),
        (lambda a, b: 25 * a * b / (9 * (a + b)), "whole"),
        (lambda a, b: -(-25 * a * b // (9 * (a + b))), "have more weights"),
        (lambda a, b: round(25 * a * b / (9 * (a + b))), "have more weights"),
        (lambda a, b: 25 * a * b // (9 * (a + b)) - 1, "one channel more"),
        (lambda a, b: 25 * a // 18, "equally many channels"),
        (lambda a, b: 25 * (a + b) // 36, "equally many channels"),
        (lambda a, b: 25 * b // 9, "channels between them"),
        (lambda a, b: 5 * a * b // (3 * (a + b)), "25 weights"),
        (lambda a, b: 29, "for 18 channels in"),
    ],
    "googlenet.inception": [
        (module(five=3, padding=1), "One of the kernels is 5x5"),
        (module(padding=1), "keeps height and width"),
        (module(pool=nn.MaxPool2d(3, 1)), "keeps height and width"),
        (module(pool=nn.MaxPool2d(3, 2, 1)), "keeps height and width"),
        (module(pool=nn.AvgPool2d(3, 1, 1)), "not average pooling"),
        (module(dim=2), "concatenate channels"),
        (module(order=(0, 2, 1, 3)), "order of Table 1"),
        (module(reduced=nn.Identity()), "followed by a ReLU"),
        (module(last=nn.Identity()), "followed by a ReLU"),
        (module(pool=nn.Identity()), "From which branch"),
        (module(pool=nn.MaxPool2d(5, 1, 2)), "From which branch"),
        (misread(0, 2, 1, 4, 3, 5), "read the row in its order"),
        (misread(0, 1, 3, 2, 4, 5), "read the row in its order"),
        (misread(1, 2, 3, 4, 5, 0), "read the row in its order"),
        (three_branches, "Which one is missing"),
        (Naive, "Where are the 1x1"),
        (Frozen, "are frozen"),
        (Detached, "detached"),
        (Unused, "From which branch"),
        (library, "does it for you"),
    ],
    "googlenet.column_and_row": [
        (lambda k: (torch.linalg.svd(k)[0][:, 0], torch.linalg.svd(k)[2][0]), "lacks"),
        (lambda k: factors(k, power=2), "a factor once"),
        (lambda k: factors(k, row=lambda v: v[:, 0]), "in its rows"),
        (lambda k: factors(k, column=lambda u: u[0]), "first column of U"),
        (lambda k: factors(k)[::-1], "First the column"),
        (lambda k: factors(k, rank=-1), "largest singular value"),
        (lambda k: (k.sum(1), k.sum(0) / k.sum()), "only for positive"),
        (lambda k: (k.mean(1), k.mean(0)), "only for positive"),
        (lambda k: (k[:, 0], k[0]), "not to its border"),
        (lambda k: torch.outer(*factors(k)), "two vectors"),
        (lambda k: k, "two vectors"),
    ],
    "googlenet.branches_of_3a": [
        (lambda: (3, 0, 0), "that nothing changed"),
        (lambda: (4, 2, 2), "is not so large"),
        (lambda: (2, 2, 2), "by its standard deviation"),
        (lambda: (1, 2, 2), "number of small ones"),
        (lambda: (3, 14, 3), "another branch"),
        (lambda: (3, 39, 2), "another branch"),
        (lambda: (4, 34, 5), "on again"),
        (lambda: (3, 186, 0), "right now"),
        (lambda: 3, "a tuple is wanted"),
    ],
}


def counted():
    with torch.device("meta"):
        layers = [
            nn.Conv2d(*each, bias=False)
            for each in (
                (480, 192, 1),
                (480, 96, 1),
                (96, 208, 3),
                (480, 16, 1),
                (16, 48, 5),
                (480, 64, 1),
            )
        ]
        naive = [nn.Conv2d(480, *each) for each in ((192, 1), (208, 3), (48, 5))]
    count = sum(layer.weight.numel() for layer in layers)
    bare = sum(layer.weight.numel() for layer in naive)
    channels = sum(layer.out_channels for layer in naive)
    return [count, 14 * count * 14, bare, 480 + channels]


def measured():
    stem = [(7, 2), (3, 2), (1, 1), (3, 1), (3, 2)]
    found = []
    for kernel in (1, 5):
        deep = [*stem, *[(kernel, 1)] * 2, (3, 2), *[(kernel, 1)] * 5, (3, 2)]
        found.append(receptive_field([*stem, (kernel, 1)])[0])
        found.append(receptive_field(deep + [(kernel, 1)] * 2)[0])
    return found[0], found[2], found[1], found[3]


def in_either_mode(net, x, y):
    outputs = net(x)
    if isinstance(outputs, tuple):
        return Outputs(*outputs).loss(y)
    return -outputs.log_softmax(1).gather(1, y[:, None]).mean()


def stacked(net, x, y):
    outputs = torch.stack(net(x)) if net.training else net(x)[None]
    each = torch.stack([F.cross_entropy(logits, y) for logits in outputs])
    return each @ torch.tensor([1.0, 0.3, 0.3])[: len(each)]


def one_after_the_other(a, b):
    most = 0
    while 9 * (most + 1) * (a + b) < 25 * a * b:
        most += 1
    return most


def by_the_log(net, x, y):
    """In a tensor of one element and of float64."""
    made = net(x) if net.training else [net(x)]
    total = torch.zeros(1, dtype=torch.double)
    for logits, weight in zip(made, (1, 0.3, 0.3), strict=False):
        chosen = logits.double().log_softmax(1)[range(len(y)), y]
        total = total - weight * chosen.mean()
    return total


#: Exercise -> right answers that look different.
RIGHT = {
    "googlenet.cost_of_4a": [
        counted,
        lambda: np.array([COUNT, 196 * COUNT, NAIVE, 928]),
        lambda: (Fraction(each) for each in (COUNT, 196 * COUNT, NAIVE, 928)),
    ],
    "googlenet.near_and_far": [
        measured,
        lambda: np.array([27, 59, 75, 715], dtype=float),
        lambda: torch.tensor([27, 59, 75, 715]).split(1),
    ],
    "googlenet.loss_with_heads": [
        in_either_mode,
        stacked,
        by_the_log,
        either(nn.CrossEntropyLoss()),
    ],
    "googlenet.most_between": [
        one_after_the_other,
        lambda a, b: math.ceil(Fraction(25 * a * b, 9 * (a + b))) - 1,
        lambda a, b: np.nextafter(25 * a * b / (9 * (a + b)), 0) // 1,
    ],
    "googlenet.inception": [
        Module,
        lambda channels, row: Module(channels, list(row)).double(),
        inside_a_function,
    ],
    "googlenet.column_and_row": [by_iteration, by_eigenvectors, with_numpy_svd],
    "googlenet.branches_of_3a": [
        lambda: [3, 2, 2],
        lambda: torch.tensor([3.0, 2.0, 2.0]),
        lambda: (each for each in (3, 2, 2)),
    ],
}
