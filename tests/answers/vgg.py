"""Answers to the exercises on VGG: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib import VGG, vgg_block


def field(convs, pool=2, step=2, last=True):
    """The receptive field, with pooling of some kernel size and stride."""
    side = jump = 1
    for block, count in enumerate(convs, 1):
        side += 2 * count * jump
        if last or block < len(convs):
            side += (pool - 1) * jump
        jump *= step
    return side


def pooled_first(convs):
    side = jump = 1
    for count in convs:
        side += jump
        jump *= 2
        side += 2 * count * jump
    return side


def forwards(convs):
    """Works from the first layer to the last as if it were the other way round."""
    side = 1
    for count in convs:
        side = 2 * (side + 2 * count)
    return side


def backwards(convs):
    side = 1
    for count in reversed(convs):
        side = 2 * side + 2 * count
    return side


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


def fits(blocks, pixels, hidden, classes, **options):
    features = blocks[-1][1] * (pixels // 2 ** len(blocks)) ** 2
    return net(blocks, features, hidden, classes, **options)


class Measured(nn.Module):
    """Runs the blocks on an image, to find the shape of their output."""

    def __init__(self, blocks, pixels, hidden, classes):
        super().__init__()
        wide = [3, *(channels for _, channels in blocks)]
        self.last = nn.Linear(hidden, classes)
        self.blocks = nn.Sequential(
            *(vgg_block(convs, c, d) for (convs, d), c in zip(blocks, wide, strict=0))
        )
        x = self.blocks(torch.zeros(1, 3, pixels, pixels))
        self.first = nn.Linear(x.numel(), hidden)

    def forward(self, x):
        return self.last(self.first(self.blocks(x).flatten(1)).relu())


def lazy(blocks, pixels, hidden, classes):
    made = fits(blocks, pixels, hidden, classes)
    made[len(blocks) + 1] = nn.LazyLinear(hidden)
    made(torch.zeros(1, 3, pixels, pixels))
    return made


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


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "vgg.nine_by_nine": [
        (lambda: (4, 5 / 9, 5 / 9), "has 64 input channels, the others 128"),
        (lambda: (4, 5 / 9, 1 / 9), "has 64 input channels, the others 128"),
        (lambda: (4, 4 / 9, 7 / 9), "what is left"),
        (lambda: (4, 55.6, 22.2), "up to one"),
        (lambda: (4, 1.25, 0.286), "not of the stack's"),
        (lambda: (3, 2 / 3, 1 - 9 * 10 / 162), "kernels overlap"),
        (lambda: 4, "a tuple is wanted"),
    ],
    "vgg.receptive_field": [
        (lambda convs: field(convs, pool=1), "two neighbors, too"),
        (lambda convs: field(convs, step=1), "two of the layer before"),
        (lambda convs: 1 + 2 * sum(convs), "pooling behind every block"),
        (lambda convs: field(convs, last=False), "ends with its pooling"),
        (pooled_first, "convolutions come before"),
        (forwards, "the other way"),
        (lambda convs: field(convs, pool=3), "expected"),
    ],
    "vgg.doubling": [
        (lambda: (4, 1, 0.5, 1, 0.25, 0.25), "first convolution of each"),
        (lambda: (4, 4, 0.5, 1.2, 1.2, 0.25), "at every position"),
        (lambda: (4, 2, 1, 1.2, 0.6, 0.5), "how many positions"),
        (lambda: (4, 2, 1, 1, 0.5, 0.5), "how many positions"),
        (lambda: (2, 0.5, 0.5, 1.2, 0.3, 0.25), "both in and out"),
        (lambda: (4, 1, 2, 1.2, 0.3, 1), "but smaller ones"),
        (lambda: (0.25, 1, 2, 1 / 1.2, 1 / 0.3, 4), "later by earlier"),
        (lambda: (4, 1, 0.5), "is not right"),
    ],
    "vgg.net_for": [
        (lambda b, p, h, c: net(b, 6400, h, c), "of another network"),
        (lambda b, p, h, c: net(b, b[-1][1] * 49, h, c), "five blocks leave of 224"),
        (lambda b, p, h, c: net(b, 25088, h, c), "VGG-16 has 512"),
        (
            lambda b, p, h, c: net(b, b[-1][1] * (p // 2 ** len(b)), h, c),
            "a height and a width",
        ),
        (
            lambda b, p, h, c: net(b, 256 * (p // 2 ** len(b)) ** 2, h, c),
            "256 feature maps of 5",
        ),
        (lambda b, p, h, c: net(b, (p // 2 ** len(b)) ** 2, h, c), "all feature maps"),
        (
            lambda b, p, h, c: net(b, b[-1][1] * (2 * (p // 2 ** len(b))) ** 2, h, c),
            "ends with its pooling",
        ),
        (lambda b, p, h, c: net(b, b[-1][1] * p * p, h, c), "halves height and width"),
        (
            lambda b, p, h, c: net(b, b[-1][1] * (-(-p // 2 ** len(b))) ** 2, h, c),
            "rounds down",
        ),
        (lambda *a: fits(*a, activation=nn.Identity), "Keep the ReLU"),
        (lambda *a: fits(*a, end=[nn.ReLU()]), "may be negative"),
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
    ],
    "vgg.as_convolutions": [
        (channels_last, "one by one"),
        (transposed, "row by row"),
        (lambda *a: head(*a, relu=False), "where is the ReLU"),
        (lambda *a: head(*a, end=[nn.ReLU()]), "no ReLU behind"),
        (lambda *a: head(*a, end=[nn.Flatten()]), "feature maps still"),
        (lambda *a: head(*a, padding=a[3] // 2), "without padding"),
        (without_bias, "biases"),
        (pooled_to_fit, "an output for each position"),
        (flattened, "inputs of one size"),
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
        (squared, "not its square"),
        (lambda layers: 2**0.5 * standard_deviation(share(layers)), "along one axis"),
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


#: Exercise -> right answers that look different.
RIGHT = {
    "vgg.nine_by_nine": [counted],
    "vgg.receptive_field": [backwards, paths],
    "vgg.doubling": [ran],
    "vgg.net_for": [Measured, lazy],
    "vgg.unnoticed": [dirac, lambda channels: conv(channels, middle)],
    "vgg.as_convolutions": [head, Patches],
    "vgg.spread": [
        lambda layers: standard_deviation(share(layers)),
        lambda layers: sum(variances(layers)) ** 0.5,
    ],
}
