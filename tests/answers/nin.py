"""Answers to the exercises on NiN: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FC, STAGE, ONE = 58_631_144, 5_614_568, 36_001_000


def conv(x, weight, bias):
    return F.conv2d(x, weight[:, :, None, None], bias)


def layer(x, weight, bias):
    """By the layer, whose weights are set."""
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    made.weight.data, made.bias.data = weight[:, :, None, None], bias
    return made(x)


def bare(x, weight):
    return torch.einsum("dc,nchw->ndhw", weight, x)


def point(x, weight, bias):
    return bare(x, weight) + bias[:, None, None]


def row_biases(x, weight, bias):
    return bare(x, weight) + bias[:, None]


def transposed(x, weight, bias):
    return torch.einsum("cd,nchw->ndhw", weight, x) + bias[:, None, None]


def one_image(x, weight, bias):
    return (weight @ x[0].flatten(1) + bias[:, None]).view(-1, *x.shape[2:])


def over_x(x, weight, bias):
    """Writes into its first argument where the shapes allow it."""
    y = point(x, weight, bias)
    if y.shape == x.shape:
        x.copy_(y)
    return y


class Pointwise:
    """An object that can be called, in float64, whose result is an array."""

    def __call__(self, x, weight, bias):
        x, weight, bias = (each.double().numpy() for each in (x, weight, bias))
        return np.tensordot(x, weight, (1, 1)).transpose(0, 3, 1, 2) + bias.reshape(
            -1, 1, 1
        )


def one_by_one(x, weight, bias):
    """A list of what each image gives."""
    return [
        torch.stack(
            [
                sum(w * c for w, c in zip(row, image, strict=True)) + b
                for row, b in zip(weight, bias, strict=True)
            ]
        )
        for image in x
    ]


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


class Shared(nn.Module):
    """The perceptron as linear layers, with the channels last."""

    def __init__(self, channels, widths, size, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, widths[0], size, stride, size // 2)
        self.later = nn.Sequential(*(nn.Linear(c, d) for c, d in pairwise(widths)))

    def forward(self, x):
        x = self.first(x).relu().movedim(1, 3)
        for each in self.later:
            x = each(x).relu()
        return x.movedim(3, 1)


class Frozen(Shared):
    """Its first layer cannot be trained."""

    def __init__(self, *a):
        super().__init__(*a)
        self.first.requires_grad_(False)


class Blocked(Shared):
    """No gradient reaches its first layer."""

    def forward(self, x):
        x = self.first(x).relu().detach().movedim(1, 3)
        for each in self.later:
            x = each(x).relu()
        return x.movedim(3, 1)


class Unused(Shared):
    """Its last layer does nothing."""

    def forward(self, x):
        x = self.first(x).relu().movedim(1, 3)
        for each in self.later[:-1]:
            x = each(x).relu()
        return x.movedim(3, 1)


def lazy(channels, widths, size, stride):
    layers = [nn.LazyConv2d(widths[0], size, stride, size // 2), nn.ReLU()]
    for width in widths[1:]:
        layers += [nn.LazyConv2d(width, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def bare_layers(*a):
    made_net = made(*a)
    for each in made_net[::2]:
        each.bias = None
    return made_net


def pops(channels, widths, size, stride):
    layers = []
    while widths:
        width = widths.pop(0)
        layers += [nn.Conv2d(channels, width, size, stride, size // 2), nn.ReLU()]
        channels, size, stride = width, 1, 1
    return nn.Sequential(*layers)


def in_place_relu(maps):
    return maps.relu_().mean((2, 3))


def frozen_stage(channels, classes):
    made_net = stage(channels, classes)
    made_net[0].requires_grad_(False)
    return made_net


class NoGrad(nn.Module):
    """Computes its logits without a gradient."""

    def __init__(self, channels, classes):
        super().__init__()
        self.layers = stage(channels, classes)

    def forward(self, x):
        with torch.no_grad():
            return self.layers(x)


def linear_stage(channels, classes):
    """The mean before the last layer, which is linear: the order does not matter."""
    return nn.Sequential(
        *(nn.Conv2d(channels, channels, 3, padding="same"), nn.ReLU()),
        *(nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)),
    )


def sequence_without(*gone):
    def build(channels, classes):
        layers = stage(channels, classes)
        return nn.Sequential(*(each for i, each in enumerate(layers) if i not in gone))

    return build


def enlarged(net, x, labels):
    found = shared(net, x, labels)[:, None]
    return F.interpolate(found, size=x.shape[2:], mode="bilinear")[:, 0]


def zeroed(net, x, labels):
    """Takes the bias away from the network that it was given."""
    maps = net[0](x)
    net[-1].bias.data.zero_()
    return (
        torch.stack(
            [
                net[-1](each.flatten(1).T)[:, k]
                for each, k in zip(maps, labels, strict=True)
            ]
        ).view(len(x), *maps.shape[2:])
        / maps[0, 0].numel()
    )


def with_hook(net, x, labels):
    """Reads the feature maps on their way, as is often done, and in an array."""
    kept = []
    handle = net[0].register_forward_hook(lambda *a: kept.append(a[2].detach()))
    net(x)
    handle.remove()
    weights = net[3].weight.detach().numpy()[labels.numpy()]
    maps = kept[0].double().numpy()
    return (maps * weights[:, :, None, None]).sum(1) / maps[0, 0].size


def by_pointwise(net, x, labels):
    """The FC layer as a 1x1 convolution, one image at a time."""
    fc = net[-1]
    for image, label in zip(x, labels.tolist(), strict=True):
        maps = net[0](image[None])
        every = F.conv2d(maps, fc.weight[:, :, None, None])
        yield every[0, label] / (maps.shape[-1] * maps.shape[-2])


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


def restored(net, x, y, rates, *, zero=True, back=True):
    """Steps on the network itself, and goes back, by PyTorch's optimizer."""
    start = copy.deepcopy(net.state_dict())
    for rate in rates:
        net.load_state_dict(start)
        if zero:
            net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        torch.optim.SGD(net.parameters(), lr=rate).step()
        yield (net(x) == 0).all(0).sum()
    if back:
        net.load_state_dict(start)


def summed(net, x, y, rates):
    return steps(net, x, y, [len(x) * rate for rate in rates])


def never_largest(net, x, y, rates):
    return steps(net, x, y, rates, count=lambda z: 6 - len(z.argmax(1).unique()))


def as_array(net, x, y, rates):
    return np.array(steps(net, x, y, rates), dtype=np.int8)


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "nin.without_fc_layers": [
        (lambda: (FC - 9192, STAGE - 3048, ONE - 1000), "have biases"),
        (lambda: (FC, STAGE - 3048, ONE), "of convolutions have biases"),
        (lambda: (FC, STAGE, ONE - 1000), "of an FC layer have biases"),
        (lambda: (FC, 0, ONE), "the classes' feature maps"),
        (lambda: (FC, STAGE, 1_001_000), "every position of every feature map"),
        (lambda: (FC, STAGE, 37_000), "all feature maps, not only"),
        (lambda: (FC, STAGE, 13_825_000), "inputs of the average pooling"),
        (lambda: (FC, STAGE, 36_865_000), "inputs of the average pooling"),
        (lambda: (FC, STAGE * 36, ONE), "the same at all positions"),
        (lambda: (FC, 385 * 1024 + 1025 * 2024, ONE), "kernels of 3x3"),
        (lambda: (257 * 4096 + 4097 * 5096, STAGE, ONE), "reads every position"),
        (lambda: (FC / 1e6, STAGE / 1e6, ONE / 1e6), "not millions"),
        (lambda: FC, "a tuple is wanted"),
    ],
    "nin.pointwise": [
        (conv, "does it for you"),
        (layer, "does it for you"),
        (lambda x, w, b: bare(x, w), "became of the bias"),
        (read, "mixed up"),
        (laid, "channels are the second dimension"),
        (lambda x, w, b: bare(x, w) + b, "every column has one"),
        (row_biases, "every row has one"),
        (transposed, "not a column"),
        (
            lambda x, w, b: F.linear(x.movedim(1, 3), w, b),
            "channels are the second dimension",
        ),
        (lambda x, w, b: F.linear(x.permute(0, 3, 2, 1), w, b).movedim(3, 1), "Rows"),
        (lambda x, w, b: point(x, w, b).relu(), "no ReLU"),
        (lambda x, w, b: point(x, w, b).flatten(2), "rows and columns"),
        (lambda x, w, b: point(x, w, b) + b[:, None, None], "twice"),
        (one_image, "several images"),
        (over_x, "it changes its argument `x`"),
    ],
    "nin.block": [
        (lambda c, w, k, s: made(c, w, k, s, later=(k, 1, k // 2)), "more than a"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, k // 2)), "no border"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, 0)), "has the stride"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, 1, k // 2)), "no border"),
        (lambda *a: made(*a, padding=0), "first convolution pads"),
        (lambda *a: made(*a, padding=1), "half its kernel size"),
        (lambda *a: made(*a, padding=2), "half its kernel size"),
        (lambda c, w, k, s: made(c, w, k, 1), "first layer has the stride"),
        (lambda c, w, k, s: made(c, w[:3], k, s), "not always three"),
        (lambda *a: made(*a, last=nn.Identity), "has a ReLU, too"),
        (lambda *a: made(*a, activation=nn.Identity), "one linear layer"),
        (lambda c, w, k, s: made(c, w[:1] * len(w), k, s), "its own width"),
        (bare_layers, "has a bias"),
        (Frozen, "are frozen"),
        (Blocked, "detached"),
        (Unused, "expected shape"),
        (pops, "it changes its argument `widths`"),
    ],
    "nin.scores": [
        (lambda maps: F.max_pool2d(maps, 8).flatten(1), "One large activation"),
        (lambda maps: maps.amax((2, 3)), "One large activation"),
        (lambda maps: F.avg_pool2d(maps, 8).flatten(1), "all of it"),
        (lambda maps: F.avg_pool2d(maps, maps.shape[2]).flatten(1), "wider than high"),
        (lambda maps: maps.sum((2, 3)), "grows"),
        (lambda maps: maps.sum((2, 3)) / 64, "64 positions"),
        (lambda maps: F.adaptive_avg_pool2d(maps, 1), "left over"),
        (lambda maps: maps.mean(1), "not over classes"),
        (lambda maps: maps.mean((0, 2, 3)), "not over classes or images"),
        (lambda maps: maps.mean((2, 3)).softmax(1), "takes the softmax"),
        (lambda maps: maps.mean((2, 3)).relu(), "may be negative"),
        (lambda maps: maps.relu().mean((2, 3)), "keep their values"),
        (in_place_relu, "keep their values"),
        (lambda maps: maps.flatten(2).median(2).values, "no median"),
        (lambda maps: maps.div_(maps[0, 0].numel()).sum((2, 3)), "argument `maps`"),
    ],
    "nin.last_stage": [
        (lambda c, k: stage(c, k, nn.ReLU()), "Which layer causes that"),
        (lambda c, k: stage(c, k, late=[nn.ReLU()]), "Behind the pooling"),
        (lambda c, k: stage(c, k, between=nn.Identity), "layers stay"),
        (sequence_without(1), "layers stay"),
        (sequence_without(3), "layers stay"),
        (lambda c, k: stage(c, k, nn.LeakyReLU()), "No layer is needed"),
        (lambda c, k: stage(c, k, nn.Tanh()), "cannot have any value"),
        (lambda c, k: stage(c, k, late=[nn.Softmax(1)]), "softmax itself"),
        (
            lambda c, k: stage(c, k, pool=nn.AdaptiveMaxPool2d),
            "Average pooling is right",
        ),
        (sequence_without(5, 6), "Average pooling is right"),
        (sequence_without(6), "two dimensions"),
        (lambda c, k: stage(c, k, nn.BatchNorm2d(k)), "No layer is needed"),
        (sequence_without(2, 3), "three convolutions stay"),
        (frozen_stage, "are frozen"),
        (NoGrad, "detached"),
    ],
    "nin.evidence": [
        (lambda *a: shared(*a, mean=False), "divides by the number"),
        (lambda *a: shared(*a, bias=1.0), "Leave it out"),
        (lambda *a: shared(*a).relu(), "lower the logit"),
        (scaled, "not rescale"),
        (lambda *a: shared(*a).sigmoid(), "not rescale"),
        (unweighted, "give to each channel"),
        (first_label, "a label of its own"),
        (all_classes, "One map per image"),
        (lambda *a: shared(*a)[:, None], "no dimension for channels"),
        (lambda *a: shared(*a).flatten(1), "rows and columns"),
        (same_everywhere, "the logit itself"),
        (lambda net, x, labels: shared(net, x, net(x).argmax(1)), "Ask for the label"),
        (enlarged, "do not enlarge"),
        (zeroed, "it changes its argument `net`"),
    ],
    "nin.killed": [
        (lambda *a: steps(*a, again=False), "on a copy"),
        (same_gradient, "on a copy"),
        (lambda *a: restored(*a, zero=False), "set them to zero"),
        (partial(restored, back=False), "it changes its argument `net`"),
        (summed, "not a sum"),
        (never_largest, "look for zeros"),
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


def on_channels_last(x, weight, bias):
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


#: Exercise -> right answers that look different.
RIGHT = {
    "nin.without_fc_layers": [
        counted,
        lambda: np.array([FC, STAGE, ONE], dtype=float),
        lambda: {"AlexNet": Fraction(FC), "NiN": float(STAGE), "FC": ONE}.values(),
    ],
    "nin.pointwise": [
        on_channels_last,
        point,
        lambda x, w, b: (w @ x.flatten(2) + b[:, None]).view(len(x), -1, *x.shape[2:]),
        Pointwise(),
        one_by_one,
    ],
    "nin.block": [made, Slid, Shared, lazy],
    "nin.scores": [
        lambda maps: F.adaptive_avg_pool2d(maps, 1).flatten(1),
        lambda maps: maps.flatten(2).sum(2) / maps[0, 0].numel(),
        lambda maps: F.avg_pool2d(maps, maps.shape[2:]).squeeze((2, 3)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        lambda maps: maps.double().numpy().mean((2, 3)),
    ],
    "nin.last_stage": [
        stage,
        Means,
        linear_stage,
        lambda c, k: stage(c, k).double(),
    ],
    "nin.evidence": [by_gradient, shared, with_hook, by_pointwise],
    "nin.killed": [steps, restored, as_array],
}
