"""Answers to the exercises on VGG: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy
import itertools
import operator
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import VGG, vgg_block


def paths(convs):
    """Counts the pixels that have a gradient."""
    x = torch.zeros(1, 1, 700, dtype=torch.double, requires_grad=True)
    y = x
    for count in convs:
        for _ in range(count):
            y = F.conv1d(y, torch.ones(1, 1, 3).double())
        y = F.avg_pool1d(y, 2)
    y[0, 0, 0].backward()
    return (x.grad != 0).sum()


def net(blocks, features, hidden, classes, *, activation=nn.ReLU, end=()):
    layers, wide = [], 3
    for convs, channels in blocks:
        layers.append(vgg_block(convs, wide, channels))
        wide = channels
    layers += [nn.Flatten(), nn.Linear(features, hidden), activation()]
    return nn.Sequential(*layers, nn.Linear(hidden, classes), *end)


def conv(channels, change, padding=1, **options):
    """A convolution whose weights were zero before a change."""
    made = nn.Conv2d(channels, channels, 3, padding=padding, **options)
    with torch.no_grad():
        made.weight.zero_()
        made.bias.zero_()
        change(made)
    return made


def middle(made):
    made.weight[:, :, 1, 1] = torch.eye(made.in_channels)


def everyone(made):
    made.weight[:, :, 1, 1] = 1


def mean(made):
    middle(made)
    made.weight[:] = made.weight.sum((2, 3), keepdim=True) / 9


def corner(made):
    made.weight[:, :, 0, 0] = torch.eye(made.in_channels)


def biased(made):
    middle(made)
    made.bias.fill_(1)


def frozen(channels):
    return conv(channels, middle).requires_grad_(False)


def random_bias(channels):
    made = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.dirac_(made.weight)
    return made


def dirac(channels):
    made = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    nn.init.dirac_(made.weight)
    return made


def head(first, last, channels, side, *, fold=None, padding=0, relu=True, end=()):
    """Convolutions with the weights of FC layers, folded in some order."""
    fold = fold or (lambda w: w.unflatten(1, (channels, side, side)))
    fc6 = nn.Conv2d(channels, first.out_features, side, padding=padding)
    fc8 = nn.Conv2d(last.in_features, last.out_features, 1)
    fc6.weight.data = fold(first.weight.data).contiguous()
    fc8.weight.data = last.weight.data[:, :, None, None]
    fc6.bias.data, fc8.bias.data = first.bias.data, last.bias.data
    return nn.Sequential(fc6, *[nn.ReLU()] * relu, fc8, *end)


def channels_last(first, last, channels, side):
    return head(
        *(first, last, channels, side),
        fold=lambda w: w.unflatten(1, (side, side, channels)).movedim(3, 1),
    )


def transposed(first, last, channels, side):
    return head(
        *(first, last, channels, side),
        fold=lambda w: w.unflatten(1, (channels, side, side)).mT,
    )


def without_bias(first, last, channels, side):
    made = head(first, last, channels, side)
    made[-1].bias = None
    return made


def pooled_to_fit(first, last, channels, side):
    return nn.Sequential(
        *(nn.AdaptiveAvgPool2d(side), nn.Flatten(), first, nn.ReLU(), last),
        nn.Unflatten(1, (-1, 1, 1)),
    )


def flattened(first, last, channels, side):
    return nn.Sequential(
        nn.Flatten(), first, nn.ReLU(), last, nn.Unflatten(1, (-1, 1, 1))
    )


class Patches(nn.Module):
    """Cuts out every patch and applies the FC layers to it."""

    def __init__(self, first, last, channels, side):
        super().__init__()
        self.fc, self.side = nn.Sequential(first, nn.ReLU(), last), side

    def forward(self, x):
        patches = x.unfold(2, self.side, 1).unfold(3, self.side, 1)
        return self.fc(patches.permute(0, 2, 3, 1, 4, 5).flatten(3)).movedim(3, 1)


def share(layers):
    """Counts paths by polynomials, whose coefficients they are."""
    paths, step = torch.ones(1, dtype=torch.double), 1
    for size, stride in layers:
        longer = torch.zeros(len(paths) + step * (size - 1), dtype=torch.double)
        for shift in range(0, step * size, step):
            longer[shift : shift + len(paths)] += paths
        paths, step = longer, step * stride
    return paths / paths.sum()


def standard_deviation(share):
    position = torch.arange(len(share)).double()
    center = (share * position).sum()
    return (share * (position - center) ** 2).sum().sqrt().item()


def squared(layers):
    squares = share(layers) ** 2
    return standard_deviation(squares / squares.sum())


class Same(nn.Conv2d):
    """A class of one's own."""

    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding="same", padding_mode="reflect")
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)


class Unused(Same):
    """Its weights do nothing."""

    def forward(self, x):
        return x


class Gated(Same):
    def forward(self, x):
        return super().forward(x).relu()


def grouped(channels):
    made = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    nn.init.dirac_(made.weight, groups=channels)
    return made


def nearly(channels):
    made = dirac(channels)
    made.weight.data += 0.01 * torch.randn_like(made.weight)
    return made


def halved(channels):
    return conv(channels, middle, stride=2)


def new_weights(first, last, channels, side):
    return nn.Sequential(
        nn.Conv2d(channels, first.out_features, side),
        nn.ReLU(),
        nn.Conv2d(last.in_features, last.out_features, 1),
    )


def new_biases(first, last, channels, side):
    made = new_weights(first, last, channels, side)
    made[0].weight.data = first.weight.data.unflatten(1, (channels, side, side))
    made[2].weight.data = last.weight.data[:, :, None, None]
    return made


def no_biases(first, last, channels, side):
    made = head(first, last, channels, side)
    made[0].bias = made[-1].bias = None
    return made


def both_kernels(first, last, channels, side):
    made = head(first, last, channels, side)
    made[-1] = nn.Conv2d(last.in_features, last.out_features, side)
    return made


def strided(first, last, channels, side):
    made = head(first, last, channels, side)
    made[0].stride = (side, side)
    return made


def in_place(first, last, channels, side):
    first.weight.data = first.weight.data.unflatten(1, (channels, side, side)).mT
    return head(first, last, channels, side, fold=lambda w: w)


class Functional(nn.Module):
    """Computes in float64, with the weights as they are, and no convolution layer."""

    def __init__(self, first, last, channels, side):
        super().__init__()
        self.last, self.first = copy.deepcopy((last, first))
        self.double()
        self.shape = (-1, channels, side, side)

    def forward(self, x):
        x = F.conv2d(
            x.to(self.first.bias.dtype),
            self.first.weight.view(self.shape),
            self.first.bias,
        )
        x = F.conv2d(x.clamp(min=0), self.last.weight[..., None, None])
        return x + self.last.bias.view(-1, 1, 1)


def with_own_stride(layers):
    return (
        sum(
            stride**2 * (size**2 - 1) / 12
            for (size, _), (_, stride) in zip(layers, [(1, 1), *layers], strict=False)
        )
        ** 0.5
    )


def too_early(layers):
    step, variance = 1, 0.0
    for size, stride in layers:
        step *= stride
        variance += step**2 * (size**2 - 1) / 12
    return variance**0.5


def from_the_first(layers):
    position = torch.arange(len(share(layers)))
    return (share(layers) * position**2).sum().sqrt()


def distance(layers):
    position = torch.arange(len(share(layers)))
    return (share(layers) * (position - position.double().mean()).abs()).sum()


def small(
    channels,
    *,
    pools=(1, 1, 0, 1),
    kernel_size=3,
    side=3,
    activation=nn.ReLU,
):
    """Convolutions, some with a pooling behind them; mistakes change a part."""
    net, before = nn.Sequential(), 1
    for width, pool in zip(channels, pools, strict=False):
        conv = nn.Conv2d(before, width, kernel_size, padding=kernel_size // 2)
        net.extend([conv, activation()])
        if pool:
            net.append(nn.MaxPool2d(2))
        before = width
    if len(channels) == 3:
        net.append(nn.MaxPool2d(2))
    return net.extend([nn.Flatten(), nn.Linear(before * side**2, 10)])


class Wrapped(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def vanished(net):
    nn.init.zeros_(net[-1].weight)
    return net


def separable():
    """Depthwise convolutions and 1x1s, with batch normalization, in float64."""
    net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
    for before, width in ((16, 32), (32, 48), (48, 64)):
        net.extend(
            [
                nn.Conv2d(before, before, 3, padding=1, groups=before),
                nn.ReLU(inplace=True),
                nn.Conv2d(before, width, 1),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(),
                nn.AvgPool2d(2) if width < 64 else nn.Identity(),
            ]
        )
    return net.extend([nn.AvgPool2d(3), nn.Flatten(), nn.Linear(64, 10)])


def with_strides():
    """Strides in place of pooling, and blocks inside of each other."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.Tanh()),
        nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GELU()),
        nn.Sequential(nn.Conv2d(24, 32, (3, 3), padding="same"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(32, 32, 3, dilation=2, padding=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(32, 16, 1), nn.ReLU(), nn.MaxPool2d((7, 7))),
        nn.Sequential(nn.Dropout(0.1), nn.Flatten(1), nn.LazyLinear(10)),
    )


def with_global_pooling():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 10, 3, padding=1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def pairs(runs, worst=min, best=max, above=operator.gt):
    """What is wanted; mistakes change a part."""
    return sorted(
        (a, b)
        for a, b in itertools.permutations(runs, 2)
        if above(worst(runs[a]), best(runs[b]))
    )


def one_by_one(runs):
    found = []
    for better in sorted(runs):
        for worse in sorted(runs):
            each = [x > y for x in runs[better] for y in runs[worse]]
            if all(each):
                found.append([better, worse])
    return found


def with_arrays(runs):
    """A generator."""
    names = sorted(runs)
    low = np.array([min(runs[name]) for name in names])
    high = np.array([max(runs[name]) for name in names])
    for i, j in np.argwhere(low[:, None] > high[None]):
        yield names[i], names[j]


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "vgg.nine_by_nine": [
        (lambda: (4, 5 / 9, 5 / 9), "has 64 input channels, the others 128"),
        (lambda: (4, 5 / 9, 1 / 9), "has 64 input channels, the others 128"),
        (lambda: (4, 4 / 9, 7 / 9), "what is left"),
        (lambda: (4, 5 / 9, 7 / 9), "what is left"),
        (lambda: (4, 55.6, 22.2), "up to one"),
        (lambda: (4, 1.25, 0.286), "not of the stack's"),
        (lambda: (3, 2 / 3, 1 - 9 * 10 / 162), "kernels overlap"),
        (lambda: (8, 1 / 9, -2 / 3), "on both sides"),
        (lambda: (9, 0, -8 / 9), "do not multiply"),
        (lambda: (4, 184320, 147456), "not a number of weights"),
        (lambda: 4, "a tuple is wanted"),
    ],
    "vgg.small_net": [
        (
            lambda: small((16, 16, 16, 16, 32), pools=(1, 1, 0, 0, 0), side=7),
            "reads smaller",
        ),
        (lambda: small((64, 64, 128, 128)), "fewer channels"),
        (lambda: small((8, 16, 32, 32), pools=(0, 0, 1, 1), side=7), "28 pixels"),
        (lambda: small((16, 24, 24, 24, 24), pools=(0, 1, 1, 1, 0)), "pool earlier"),
        (lambda: small((16, 24, 32)), "stack of small kernels"),
        (lambda: small((8, 8, 8, 8), kernel_size=5), "for fewer weights"),
        (
            lambda: small((16, 24, 32, 32), activation=nn.Dropout),
            "convolutions are one",
        ),
        (lambda: small((16, 24, 32, 32)).append(nn.Softmax(1)), "softmax of its own"),
        (lambda: small((16, 24, 32, 32), side=4), "what does `nn.Flatten`"),
        (lambda: small((16, 24, 32, 32))[:-2], "Ten logits"),
        (lambda: Wrapped(small((16, 24, 32, 32))), "layers of `torch.nn`"),
        (lambda: vanished(small((16, 24, 32, 32))), "set it to zero"),
        (small, "Leave the line"),
        (lambda: "small", "a module is wanted"),
    ],
    "vgg.doubling": [
        (lambda: (4, 1, 0.5, 1, 0.25, 0.25), "first convolution of each"),
        (lambda: (4.8, 1.2, 0.5, 1, 0.25, 0.25), "first convolution of each"),
        (lambda: (4, 4, 0.5, 1.2, 1.2, 0.25), "at every position"),
        (lambda: (4, 4, 0.5, 1.2, 0.3, 0.25), "at every position"),
        (lambda: (4, 2, 1, 1.2, 0.6, 0.5), "how many positions"),
        (lambda: (4, 2, 1, 1, 0.5, 0.5), "how many positions"),
        (lambda: (4, 1, 0.25, 1.2, 0.3, 0.25), "how many more feature maps"),
        (lambda: (2, 0.5, 0.5, 1.2, 0.3, 0.25), "both in and out"),
        (lambda: (4, 1, 2, 1.2, 0.3, 1), "but smaller ones"),
        (lambda: (4, 1, 0.5, 2, 0.3, 0.25), "doubled again"),
        (lambda: (0.25, 1, 2, 1 / 1.2, 1 / 0.3, 4), "later by earlier"),
        (lambda: (4, 1.2, 1, 0.3, 0.5, 0.25), "then those of conv5"),
        (lambda: (4, 1, 0.5), "where 6 are wanted"),
    ],
    "vgg.clearly_better": [
        (lambda runs: pairs(runs, np.mean, np.mean), "Means hide"),
        (lambda runs: pairs(runs, min, min), "The worst run"),
        (lambda runs: pairs(runs, max, max), "best run is not enough"),
        (lambda runs: pairs(runs, max, min), "all have to be"),
        (lambda runs: pairs(runs, min, max, operator.ge), "not as good"),
        (lambda runs: sorted(p[::-1] for p in pairs(runs)), "comes first"),
        (lambda runs: pairs(runs)[::-1], "to be sorted"),
        (lambda runs: pairs(runs, min, np.mean), "hides its best"),
        (lambda runs: None, "end with `return`"),
    ],
    "vgg.unnoticed": [
        (lambda channels: conv(channels, everyone), "copy its own"),
        (lambda channels: conv(channels, mean), "center one is to be copied"),
        (lambda channels: conv(channels, corner), "center one is to be copied"),
        (lambda channels: conv(channels, lambda made: None), "outputs are zero"),
        (lambda channels: conv(channels, middle, padding=0), "become smaller"),
        (lambda channels: conv(channels, biased), "bias add"),
        (random_bias, "bias add"),
        (frozen, "training must be able"),
        (lambda channels: nn.Identity(), "no 3x3 convolution"),
        (lambda channels: nn.Conv2d(channels, channels, 1), "as VGG's"),
        (
            lambda channels: conv(channels, lambda made: made.weight.fill_(1)),
            "of the nine pixels",
        ),
        (nearly, "Close is not enough"),
        (halved, "stride of two"),
        (grouped, "read all channels"),
        (Unused, "What detached them"),
        (Gated, "is no part of it"),
    ],
    "vgg.as_convolutions": [
        (lambda *_: nn.Identity(), "expected shape"),
        (channels_last, "one by one"),
        (transposed, "row by row"),
        (lambda *a: head(*a, relu=False), "where is the ReLU"),
        (lambda *a: head(*a, end=[nn.ReLU()]), "no ReLU behind"),
        (lambda *a: head(*a, end=[nn.Flatten()]), "feature maps still"),
        (lambda *a: head(*a, padding=a[3] // 2), "without padding"),
        (lambda *a: head(*a, end=[nn.AdaptiveAvgPool2d(1)]), "for each position"),
        (without_bias, "biases"),
        (new_biases, "and the biases of both"),
        (no_biases, "and the biases of both"),
        (new_weights, "have random weights"),
        (both_kernels, "units of a single position"),
        (strided, "moves by one pixel"),
        (pooled_to_fit, "an output for each position"),
        (flattened, "inputs of one size"),
        (in_place, "it changes its argument `first`"),
        (lambda first, last, channels, side: first.weight, "a module is wanted"),
    ],
    "vgg.spread": [
        (lambda layers: standard_deviation(share(layers)) ** 2, "the variance"),
        (lambda layers: len(share(layers)), "theoretical receptive field"),
        (lambda layers: (len(share(layers)) - 1) / 2, "theoretical receptive field"),
        (
            lambda layers: standard_deviation(torch.ones(n := len(share(layers))) / n),
            "the same share",
        ),
        (
            lambda layers: standard_deviation(share([(size, 1) for size, _ in layers])),
            "several pixels",
        ),
        (with_own_stride, "multiply to a step"),
        (too_early, "not for itself"),
        (from_the_first, "not from the first pixel"),
        (distance, "mean distance"),
        (squared, "not its square"),
        (lambda layers: 2**0.5 * standard_deviation(share(layers)), "along one axis"),
        (lambda layers: 2 * standard_deviation(share(layers)), "not twice that"),
    ],
    "vgg.worst_to_lose": [
        (lambda: (1, 12, 2), "costs more"),
        (lambda: (2, 34, 3), "costs more"),
        (lambda: (2, 40, 3), "has number 1"),
        (lambda: (3, 3, 40), "Lost comes first"),
        (lambda: (3, 37, 0), "not their difference"),
        (lambda: (3, 90, 2), "One at a time"),
        (lambda: (3, 148, 0), "right now"),
        (lambda: (3, 40), "3 are wanted"),
    ],
}


def counted():
    def weights(*layers):
        return sum(layer.weight.numel() for layer in layers)

    with torch.device("meta"):
        saved = [
            1
            - weights(
                nn.Conv2d(64, out, 3), *(nn.Conv2d(out, out, 3) for _ in range(3))
            )
            / weights(nn.Conv2d(64, out, 9))
            for out in (64, 128)
        ]
    return [4, *(round(each, 2) for each in saved)]


def ran():
    """Runs the library's network, without values."""
    with torch.device("meta"):
        vgg16, x, rows = VGG(16), torch.empty(1, 3, 224, 224), []
        for stage in vgg16[:5]:
            weights = macs = outputs = 0
            for layer in stage:
                x = layer(x)
                if isinstance(layer, nn.Conv2d):
                    weights += layer.weight.numel()
                    macs += layer.weight.numel() * x[0, 0].numel()
                    outputs += x.numel()
            rows.append([float(weights), macs, outputs])
    table = torch.tensor(rows[2:])
    return tuple((table[1:] / table[:-1]).flatten().tolist())


def variances(layers):
    step = 1
    for size, stride in layers:
        yield step**2 * torch.arange(float(size)).var(correction=0).item()
        step *= stride


def by_autograd(layers):
    """From the gradient of a unit far from the border, as an array with one element."""
    x = torch.zeros(1, 1, 400, dtype=torch.double, requires_grad=True)
    y = x
    for size, stride in layers:
        y = F.conv1d(y, torch.ones(1, 1, size, dtype=torch.double), stride=stride)
    y[..., 3].sum().backward()
    paths = x.grad.flatten().numpy()
    places = np.repeat(np.arange(400), paths.astype(int))
    return np.array([places.std()])


#: Exercise -> right answers that look different.
RIGHT = {
    "vgg.nine_by_nine": [
        counted,
        lambda: (4, Fraction(5, 9), Fraction(2, 9)),
        lambda: np.array([4, 0.56, 0.22]),
        lambda: (each for each in (4.0, torch.tensor(5 / 9), [0.2222][0])),
    ],
    "vgg.small_net": [
        lambda: small((16, 24, 32, 32)),
        separable,
        with_strides,
        with_global_pooling,
    ],
    "vgg.doubling": [
        ran,
        lambda: map(Fraction, ("4", "1", "1/2", "6/5", "3/10", "1/4")),
        lambda: np.array([4, 1, 0.5, 1.2, 0.3, 0.25], dtype=np.float32),
    ],
    "vgg.clearly_better": [pairs, one_by_one, with_arrays],
    "vgg.unnoticed": [
        dirac,
        lambda channels: conv(channels, middle),
        lambda channels: conv(channels, middle).double(),
        Same,
    ],
    "vgg.as_convolutions": [
        head,
        Patches,
        Functional,
        lambda *a: head(*a).double(),
    ],
    "vgg.spread": [
        lambda layers: standard_deviation(share(layers)),
        lambda layers: sum(variances(layers)) ** 0.5,
        by_autograd,
    ],
    "vgg.worst_to_lose": [
        lambda: [3, 40, 3],
        lambda: torch.tensor([3, 40, 3]),
        lambda: (float(n) for n in (3, 40, 3)),
    ],
}
