"""Answers to the exercises on ZFNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib import occlusion


def front(first, second, convs=(1, 0), pools=(1, 1), ceil=False, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(3, first, 7, stride=2, padding=convs[0]),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=pools[0], ceil_mode=ceil),
        nn.Conv2d(first, second, 5, stride=2, padding=convs[1]),
        activation(),
        nn.MaxPool2d(3, stride=2, padding=pools[1], ceil_mode=ceil),
    )


def gates(signal, x):
    return {"gradient": x > 0, "deconvnet": signal > 0, "both": (x > 0) & (signal > 0)}


def swapped(signal, x, rule):
    rules = {"gradient": "deconvnet", "deconvnet": "gradient", "both": "both"}
    return signal * gates(signal, x)[rules[rule]]


def one_is_enough(signal, x, rule):
    gate = gates(signal, x)[rule]
    return signal * ((x > 0) | (signal > 0) if rule == "both" else gate)


def at_zero(signal, x, rule):
    return signal * (x >= 0) if rule == "gradient" else F.relu(signal) * (x > 0)


def activation_instead(signal, x, rule):
    return signal * (x > 0) if rule == "gradient" else F.relu(x)


def magnitude(signal, x, rule):
    return signal.abs() * gates(signal, x)[rule]


def collected(signals, switches, size, way):
    empty = torch.zeros(*signals.shape[:2], size[0] * size[1])
    flat, positions = signals.flatten(2), switches.flatten(2)
    return empty.scatter_reduce(2, positions, flat, way, include_self=False).view(
        *signals.shape[:2], *size
    )


def replacing(signal, weight, stride):
    """Filters replace what is there."""
    (d, h, w), (_, c, k, _) = signal.shape, weight.shape
    y = torch.zeros(c, (h - 1) * stride + k, (w - 1) * stride + k)
    for i in range(h):
        for j in range(w):
            here = (signal[:, i, j].view(d, 1, 1, 1) * weight).sum(0)
            y[:, i * stride : i * stride + k, j * stride : j * stride + k] = here
    return y


def covered(
    net, image, label, size, stride, fresh=True, shares=True, end=1, turned=False
):
    height, width = image.shape[-2:]
    rows = []
    for top in range(0, height - size + end, stride):
        row = []
        for left in range(0, width - size + end, stride):
            hidden = image.clone() if fresh else image
            hidden[:, :, top : top + size, left : left + size] = 0
            scores = net(hidden)
            row.append((scores.softmax(1) if shares else scores)[0, label])
        rows.append(torch.stack(row))
    return torch.stack(rows).T if turned else torch.stack(rows)


def stripes(period, kernel_size, stride):
    row = torch.cos(2 * torch.pi * torch.arange(3001) / period)
    image = row.expand(1, 1, kernel_size, -1)
    return F.conv2d(image, image[..., :kernel_size], stride=stride).flatten()


def crossings(period, kernel_size, stride):
    row = stripes(period, kernel_size, stride)
    changes = ((row[1:] > 0) != (row[:-1] > 0)).sum().item()
    return stride * len(row) / (changes / 2)


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "zfnet.projection_widths": [
        (lambda: (7, 17, 21), "several pixels"),
        (lambda: (7, 23, 39), "Pooling has a kernel size"),
        (lambda: (7, 75, 171), "before the pooling"),
        (lambda: (11, 99, 163), "AlexNet's"),
        (lambda: (7, 75, 139.5), "is not right"),
        (lambda: 139, "a tuple is wanted"),
    ],
    "zfnet.stem": [
        (lambda a, b: front(a, b, (0, 0), (0, 0)), "figure 3's"),
        (lambda a, b: front(a, b, (3, 0)), "112, not 110"),
        (lambda a, b: front(a, b, (1, 2)), "right without padding"),
        (lambda a, b: front(a, b, (0, 0)), "makes 110"),
        (lambda a, b: front(a, b, pools=(0, 0)), "last column"),
        (lambda a, b: front(a, b, pools=(1, 0)), "second pooling"),
        (lambda a, b: front(a, b, pools=(0, 1)), "first pooling"),
        (lambda a, b: front(a, b, activation=nn.Identity), "both ReLUs"),
    ],
    "zfnet.through_relu": [
        (swapped, "the other on the signal"),
        (one_is_enough, "Both conditions"),
        (at_zero, "at zero"),
        (activation_instead, "x only decides"),
        (magnitude, "may be negative"),
        (lambda signal, x, rule: gates(signal, x)[rule].float(), "The signal itself"),
        (lambda signal, x, rule: signal, "becomes zero"),
    ],
    "zfnet.unpool": [
        (
            lambda s, i, size: F.max_unpool2d(s, i, 3, stride=2, output_size=size),
            "one signal of them is left",
        ),
        (lambda s, i, size: collected(s, i, size, "amax"), "one signal of them"),
        (lambda s, i, size: collected(s, i, size, "mean"), "not averaged"),
        (lambda s, i, size: F.interpolate(s, size), "one position"),
    ],
    "zfnet.transposed": [
        (replacing, "none replaces another"),
        (
            lambda s, w, stride: F.conv_transpose2d(s, w.flip(2, 3), stride=stride),
            "not rotated",
        ),
        (lambda s, w, stride: F.conv_transpose2d(s, w), "one stride apart"),
        (
            lambda s, w, stride: F.conv_transpose2d(s[:1], w[:1], stride=stride),
            "of all channels",
        ),
    ],
    "zfnet.cover": [
        (lambda *a: covered(*a, fresh=False), "with a whole one"),
        (lambda *a: covered(*a, shares=False), "logits into probabilities"),
        (lambda *a: covered(*a, end=0), "still fits"),
        (lambda *a: covered(*a, fresh=False, shares=False, end=0), "with a whole one"),
        (lambda *a: covered(*a, shares=False, end=0), "logits into probabilities"),
        (lambda *a: covered(*a, turned=True), "steps down"),
    ],
    "zfnet.seen_period": [
        (lambda period, kernel_size, stride: period, "not in the image"),
        (lambda *a: crossings(*a) / a[2], "pixels of the image apart"),
        (lambda *a: crossings(*a) / 2, "two changes of sign"),
        (lambda *a: crossings(*a) / 2 / a[2], "pixels of the image apart"),
        (lambda *a: stripes(*a), "a number is wanted"),
    ],
}


def by_gradient():
    """The width of the gradient of one unit."""
    widths = []
    for depth in (1, 5, 7):
        layers = [(7, 2), (3, 2), (5, 2), (3, 2), (3, 1), (3, 1), (3, 1)][:depth]
        x = torch.zeros(1, 1, 400, requires_grad=True)
        y = x
        for kernel_size, stride in layers:
            y = F.conv1d(y, torch.ones(1, 1, kernel_size), stride=stride)
        y[0, 0, y.shape[2] // 2].backward()
        widths.append(int((x.grad != 0).sum()))
    return tuple(widths)


class Padded(nn.Module):
    """Pads by itself, pools before the ReLU, and has other names for its layers."""

    def __init__(self, first, second):
        super().__init__()
        self.late = nn.Conv2d(first, second, 5, 2)
        self.early = nn.Conv2d(3, first, 7, 2)

    def forward(self, x):
        x = F.pad(self.early(F.pad(x, (1, 1, 1, 1))).relu(), (1, 1, 1, 1))
        return F.max_pool2d(self.late(F.max_pool2d(x, 3, 2)), 3, 2, 1).relu()


def masked(signal, x, rule):
    return torch.where(gates(signal, x)[rule], signal, torch.zeros(()))


def one_by_one(signals, switches, size):
    y = torch.zeros(*signals.shape[:2], *size)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, signals.shape)).tolist():
        at = switches[n, c, i, j].item()
        y[n, c, at // size[1], at % size[1]] += signals[n, c, i, j]
    return y


def folded(signal, weight, stride):
    h, w, k = *signal.shape[1:], weight.shape[-1]
    columns = weight.flatten(1).T @ signal.flatten(1)
    size = (h - 1) * stride + k, (w - 1) * stride + k
    return F.fold(columns[None], size, k, stride=stride)[0]


def by_the_library(net, image, label, size, stride):
    return occlusion(net, image, label, size=size, stride=stride)


def theory(period, kernel_size, stride):
    waves = stride / period
    return stride / abs(waves - round(waves))


#: Exercise -> right answers that look different.
RIGHT = {
    "zfnet.projection_widths": [by_gradient],
    "zfnet.stem": [Padded, lambda a, b: front(a, b, pools=(0, 0), ceil=True)],
    "zfnet.through_relu": [masked],
    "zfnet.unpool": [one_by_one, lambda s, i, size: collected(s, i, size, "sum")],
    "zfnet.transposed": [
        folded,
        lambda s, w, stride: F.conv_transpose2d(s, w, stride=stride),
    ],
    "zfnet.cover": [covered, by_the_library],
    "zfnet.seen_period": [crossings, theory],
}
