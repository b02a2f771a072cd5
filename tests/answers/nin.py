"""Answers to the exercises on NiN: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

FC, STAGE, ONE = 58_631_144, 5_614_568, 36_001_000


def conv(x, weight, bias=None):
    return F.conv2d(x, weight[:, :, None, None], bias)


def read(x, weight, bias):
    """Flattens the pixels without moving the channels to the end."""
    n, c, h, w = x.shape
    return F.linear(x.reshape(-1, c), weight, bias).reshape(n, -1, h, w)


def laid(x, weight, bias):
    """Moves them, and forgets to move them back."""
    n, c, h, w = x.shape
    moved = F.linear(x.permute(0, 2, 3, 1).reshape(-1, c), weight, bias)
    return moved.reshape(n, -1, h, w)


def made(
    channels,
    widths,
    size,
    stride,
    *,
    later=(1, 1, 0),
    padding=None,
    activation=nn.ReLU,
    last=nn.ReLU,
):
    layers = []
    for index, width in enumerate(widths):
        first = (size, stride, size // 2 if padding is None else padding)
        layers.append(nn.Conv2d(channels, width, *(later if index else first)))
        layers.append(activation() if index < len(widths) - 1 else last())
        channels = width
    return nn.Sequential(*layers)


def stage(
    channels,
    classes,
    *ends,
    between=nn.ReLU,
    pool=nn.AdaptiveAvgPool2d,
    late=(),
):
    return nn.Sequential(
        *(nn.Conv2d(channels, channels, 3, padding=1), between()),
        *(nn.Conv2d(channels, channels, 1), between()),
        *(nn.Conv2d(channels, classes, 1), *ends),
        *(pool(1), nn.Flatten(), *late),
    )


def shared(net, x, labels, *, mean=True, bias=0.0):
    maps, fc = net[0](x), net[-1]
    found = (fc.weight[labels][:, :, None, None] * maps).sum(1)
    found = found / (maps.shape[2] * maps.shape[3] if mean else 1)
    return found + bias * fc.bias[labels][:, None, None]


def scaled(net, x, labels):
    found = shared(net, x, labels)
    low, high = found.amin((1, 2), True), found.amax((1, 2), True)
    return (found - low) / (high - low)


def unweighted(net, x, labels):
    return net[0](x).mean(1)


def first_label(net, x, labels):
    return shared(net, x, labels[:1].expand_as(labels))


def all_classes(net, x, labels):
    maps = net[0](x)
    return torch.einsum("nchw,kc->nkhw", maps, net[-1].weight) / maps[0, 0].numel()


def same_everywhere(net, x, labels):
    maps, logits = net[0](x), net(x)
    picked = logits.gather(1, labels[:, None])[:, :, None]
    return picked.expand(-1, *maps.shape[2:])


def steps(net, x, y, rates, *, sign=-1, again=True, count=None, late=True):
    """One step with each rate, on a copy if `again`."""
    count = count or (lambda logits: int((logits == 0).all(0).sum()))
    counts = []
    for rate in rates:
        moved = copy.deepcopy(net) if again else net
        loss = F.cross_entropy(moved(x), y)
        before = moved(x)
        moved.zero_grad()
        loss.backward()
        with torch.no_grad():
            for each in moved.parameters():
                each += sign * rate * each.grad
        counts.append(count(moved(x) if late else before))
    return counts


def same_gradient(net, x, y, rates):
    """Takes the gradient once, and the steps one upon another."""
    F.cross_entropy(net(x), y).backward()
    counts = []
    for rate in rates:
        for each in net.parameters():
            each.data -= rate * each.grad
        counts.append((net(x) == 0).all(0).sum().item())
    return counts


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "nin.without_fc_layers": [
        (lambda: (FC - 9192, STAGE - 3048, ONE - 1000), "Units and channels have"),
        (lambda: (FC, 0, ONE), "the classes' feature maps"),
        (lambda: (FC, STAGE, 1_001_000), "every position of every feature map"),
        (lambda: (FC, STAGE, 37_000), "all feature maps, not only"),
        (lambda: (FC, STAGE, 13_825_000), "inputs of the average pooling"),
        (lambda: (FC, STAGE * 36, ONE), "the same at all positions"),
        (lambda: FC, "a tuple is wanted"),
    ],
    "nin.pointwise": [
        (lambda x, w, b: conv(x, w), "became of the bias"),
        (read, "mixed up"),
        (laid, "mixed up"),
        (lambda x, w, b: conv(x, w) + b, "every column has one"),
        (
            lambda x, w, b: F.linear(x.movedim(1, 3), w, b),
            "channels are the second dimension",
        ),
        (lambda x, w, b: conv(x, w, b).relu(), "no ReLU"),
        (lambda x, w, b: conv(x, w, b).flatten(2), "rows and columns"),
    ],
    "nin.block": [
        (lambda c, w, k, s: made(c, w, k, s, later=(k, 1, k // 2)), "more than a"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, k // 2)), "no border"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, 0)), "has the stride"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, 1, k // 2)), "no border"),
        (lambda *a: made(*a, padding=0), "first convolution pads"),
        (lambda *a: made(*a, last=nn.Identity), "has a ReLU, too"),
        (lambda *a: made(*a, activation=nn.Identity), "one linear layer"),
        (lambda c, w, k, s: made(c, w[:1] * len(w), k, s), "its own width"),
    ],
    "nin.scores": [
        (lambda maps: F.max_pool2d(maps, 8).flatten(1), "One large activation"),
        (lambda maps: maps.amax((2, 3)), "One large activation"),
        (lambda maps: F.avg_pool2d(maps, 8).flatten(1), "all of it"),
        (lambda maps: maps.sum((2, 3)), "grows"),
        (lambda maps: maps.sum((2, 3)) / 64, "64 positions"),
        (lambda maps: F.adaptive_avg_pool2d(maps, 1), "left over"),
        (lambda maps: maps.mean(1), "not over classes"),
        (lambda maps: maps.mean((2, 3)).softmax(1), "takes the softmax"),
    ],
    "nin.last_stage": [
        (lambda c, k: stage(c, k, nn.ReLU()), "Which layer causes that"),
        (lambda c, k: stage(c, k, late=[nn.ReLU()]), "Behind the pooling"),
        (lambda c, k: stage(c, k, between=nn.Identity), "layers stay"),
        (lambda c, k: stage(c, k, nn.LeakyReLU()), "No layer is needed"),
        (lambda c, k: stage(c, k, late=[nn.Softmax(1)]), "softmax itself"),
        (
            lambda c, k: stage(c, k, pool=nn.AdaptiveMaxPool2d),
            "Average pooling is right",
        ),
        (lambda c, k: stage(c, k, nn.BatchNorm2d(k)), "more than wanted"),
    ],
    "nin.evidence": [
        (lambda *a: shared(*a, mean=False), "divides by the number"),
        (lambda *a: shared(*a, bias=1.0), "Leave it out"),
        (lambda *a: shared(*a).relu(), "lower the logit"),
        (scaled, "not rescale"),
        (unweighted, "give to each channel"),
        (first_label, "a label of its own"),
        (all_classes, "One map per image"),
        (same_everywhere, "the logit itself"),
        (lambda net, x, labels: shared(net, x, net(x).argmax(1)), "Ask for the label"),
    ],
    "nin.killed": [
        (lambda *a: steps(*a, again=False), "on a copy"),
        (same_gradient, "on a copy"),
        (lambda *a: steps(*a, sign=1), "against the gradient"),
        (lambda *a: steps(*a, late=False), "not before it"),
        (
            lambda *a: steps(*a, count=lambda logits: int((logits == 0).sum())),
            "not logits",
        ),
        (
            lambda *a: steps(*a, count=lambda z: int((z == 0).any(0).sum())),
            "for every image",
        ),
        (
            lambda *a: steps(*a, count=lambda z: int((z != 0).any(0).sum())),
            "not the living",
        ),
    ],
}


def counted():
    with torch.device("meta"):
        parts = (
            [nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)],
            [nn.Conv2d(384, 1024, 3), nn.Conv2d(1024, 1024, 1), nn.Linear(1024, 1000)],
            [nn.Linear(36000, 1000)],
        )
    return tuple(
        sum(p.numel() for layer in part for p in layer.parameters()) for part in parts
    )


class Slid(nn.Module):
    """A multilayer perceptron on patches that are cut out."""

    def __init__(self, channels, widths, size, stride):
        super().__init__()
        self.patches = nn.Unfold(size, padding=size // 2, stride=stride)
        inputs = [channels * size * size, *widths]
        shapes = [(widths[0], channels, size, size)]
        shapes += [(d, c, 1, 1) for c, d in pairwise(widths)]
        self.weights = nn.ParameterList(
            torch.randn(shape) / c for shape, c in zip(shapes, inputs, strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(d) for d in widths)
        self.stride = stride

    def forward(self, x):
        y = self.patches(x).mT
        for weight, bias in zip(self.weights, self.biases, strict=True):
            y = F.linear(y, weight.flatten(1), bias).relu()
        return y.mT.unflatten(2, (-(-x.shape[2] // self.stride), -1))


class Means(nn.Module):
    """The mean in `forward`, the layers in another order."""

    def __init__(self, channels, classes):
        super().__init__()
        self.last = nn.Conv2d(channels, classes, 1)
        self.first = nn.Conv2d(channels, channels, 3, padding="same")
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.last(x.mean((2, 3), keepdim=True)).flatten(1)


def by_gradient(net, x, labels):
    """The logit is linear in the feature maps: their product with its gradient."""
    maps = net[0](x)
    picked = net[1:](maps).gather(1, labels[:, None]).sum()
    return (maps * torch.autograd.grad(picked, maps)[0]).sum(1)


#: Exercise -> right answers that look different.
RIGHT = {
    "nin.without_fc_layers": [counted],
    "nin.pointwise": [
        conv,
        lambda x, w, b: F.linear(x.permute(0, 2, 3, 1), w, b).permute(0, 3, 1, 2),
        lambda x, w, b: (w @ x.flatten(2) + b[:, None]).view(len(x), -1, *x.shape[2:]),
    ],
    "nin.block": [made, Slid],
    "nin.scores": [
        lambda maps: F.adaptive_avg_pool2d(maps, 1).flatten(1),
        lambda maps: maps.flatten(2).sum(2) / maps[0, 0].numel(),
    ],
    "nin.last_stage": [stage, Means],
    "nin.evidence": [by_gradient, shared],
    "nin.killed": [steps],
}
