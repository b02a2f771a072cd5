"""The exercises on NiN."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.blocks import he_init
from course_lib.checks.compare import Wrong, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.nin import NiN
from course_lib.summary import count_parameters

#: Kernel size, stride and padding.
Geometry: TypeAlias = tuple[int, int, int]


@exercise(
    "nin.without_full_layers",
    kind="predict",
    goal="find out where the parameters are saved, and what it takes",
    minutes=10,
    first="Begin with AlexNet's fc6: how many numbers does one of its units read?",
)
def without_full_layers(answer: Answer) -> None:
    """Counted from the library's nets."""
    with torch.device("meta"):
        alexnet, nin = AlexNet("paper"), NiN("imagenet")
        full, wide = nn.Linear(1000 * 36, 1000), nn.Linear(384 * 36, 1000)
    old, new, one = map(count_parameters, (alexnet[5:], nin[3], full))
    units, maps = 4096 + 4096 + 1000, 1024 + 1024 + 1000
    something = "The mean has none, but something has to make the maps of the classes."
    once = "The weights of a convolution are the same at all places."
    answer.gives(
        (old, new, one),
        tolerance=0,
        mistakes=[
            ((old - units, new - maps, one - 1000), "Units and maps have biases."),
            ((old - units, new, one - 1000), "Full layers have biases, too."),
            ((old, new - maps, one), "Convolutions have biases, too."),
            ((old, 0, one), something),
            ((old, new, 1000 * 1001), "A full layer sees every place of every map."),
            ((old, new, 1000 * 37), "A full layer sees all maps, not only its own."),
            ((old, new, count_parameters(wide)), "It reads what the mean reads."),
            ((old, 36 * new, one), once),
            ((old, 36 * (new - maps) + maps, one), once),
        ],
    )


@exercise(
    "nin.pointwise",
    kind="implement",
    goal="see a 1x1 convolution as a full layer at each pixel",
    minutes=10,
    first="Compute one pixel of one picture: `weight @ x[0, :, 0, 0] + bias`.",
)
def pointwise(answer: Answer) -> None:
    """Against PyTorch's convolution. First as many columns as maps come out: there a
    wrong line of biases fits.
    """
    for n, c, d, h, w in ((2, 3, 5, 4, 5), (3, 4, 2, 3, 6), (1, 2, 7, 1, 3)):
        x, weight, bias = torch.randn(n, c, h, w), torch.randn(d, c), torch.randn(d)
        want = F.conv2d(x, weight[:, :, None, None], bias)
        bare = F.conv2d(x, weight[:, :, None, None])
        read = F.linear(x.reshape(-1, c), weight, bias)
        laid = F.linear(x.movedim(1, 3).reshape(-1, c), weight, bias)
        line = "Move the channels, do not `reshape` across them: pixels get mixed up."
        mistakes = [
            (bare, "What became of the bias?"),
            (read.reshape(want.shape), line),
            (laid.reshape(want.shape), line),
            (read.reshape(n, h, w, d).movedim(3, 1), line),
            (want.movedim(1, 3), "Channels come second in what comes out, too."),
            (want.flatten(2), "Give the pixels their rows and columns back."),
            (want.relu(), "There is no ReLU in a convolution."),
        ]
        if d == w:
            hint = "Every map has its own bias, and here every column has one."
            mistakes.append((bare + bias, hint))
        on = f"x of shape {tuple(x.shape)} and {d} output channels"
        answer.gives(want, x, weight, bias, on=on, mistakes=mistakes)


@exercise(
    "nin.block",
    kind="implement",
    goal="build the block from what it does",
    minutes=10,
    first="Build the first convolution alone, and look at the size of its maps.",
)
def block(answer: Answer) -> None:
    """Against the same layers in a row, with more and fewer layers than three."""
    cases = ((3, (6, 5, 4), 5, 1), (2, (4, 4, 4), 3, 2), (1, (3, 5, 4, 2), 7, 3))
    for channels, widths, size, stride in (*cases, (3, (5, 2), 1, 1)):
        first, half = (size, stride, size // 2), size // 2
        net = _block(channels, widths, first)
        outer = nn.Sequential(*net[::2], nn.ReLU())
        between = "Without a ReLU between them, layers are one linear layer."
        same = "Only the first convolution sees more than a pixel."
        once = "The first convolution takes the steps; the others stay at their pixel."
        border = "A kernel of one pixel needs no border: what does padding add there?"
        own, pads = "Every layer has its own width.", "The first convolution pads."
        mistakes = [
            (_block(channels, widths, first, (size, 1, half)), same),
            (_block(channels, widths, first, first), same),
            (_block(channels, widths, first, (1, 1, half)), border),
            (_block(channels, widths, first, (1, stride, half)), once),
            (_block(channels, widths, first, (1, stride, 0)), once),
            (_block(channels, widths, (size, stride, 0)), pads),
            (_block(channels, widths[:1] * len(widths), first), own),
            (_block(channels, widths[-1:] * len(widths), first), own),
            (net[:-1], "The last layer of the block has a ReLU, too."),
            *((each, between) for each in (net[::2], outer)),
        ]
        got, x = answer(channels, widths, size, stride), (2, channels, 13, 11)
        try:
            same_function(got, net, torch.randn(x), mistakes=mistakes)
        except Wrong as wrong:
            call = f"block({channels}, {widths}, {size}, {stride})"
            raise Wrong(f"{call}: {wrong.message}", wrong.hint) from None


def _block(
    channels: int, widths: tuple[int, ...], first: Geometry, later: Geometry = (1, 1, 0)
) -> nn.Sequential:
    net = nn.Sequential()
    for width in widths:
        net.extend([nn.Conv2d(channels, width, *first), nn.ReLU()])
        channels, first = width, later
    he_init(net)
    return net


@exercise(
    "nin.scores",
    kind="repair",
    goal="make one number of each map, whatever its size",
    minutes=5,
    first="Call it with maps of 8 by 8, of 16 by 16 and of 5 by 9, and look at what"
    " comes out.",
)
def scores(answer: Answer) -> None:
    """Against the mean, on maps of several sizes."""
    for height, width in ((8, 8), (16, 16), (5, 9), (1, 1)):
        maps = torch.randn(2, 6, height, width)
        window = min(height, 8), min(width, 8)
        mean, places = maps.mean((2, 3)), (2, 3)
        one = "One bright place is enough for a maximum. What did the authors take?"
        size = "A larger map gives one number still: the window is all of it."
        answer.gives(
            mean,
            maps,
            on=f"maps of {height} by {width}",
            mistakes=[
                (maps.amax(places), one),
                (F.max_pool2d(maps, window).flatten(1), one),
                (F.avg_pool2d(maps, window).flatten(1), size),
                (maps.sum(places), "A sum grows with the size of the map."),
                (maps.sum(places) / 64, "Not every map has 64 places."),
                (mean[..., None, None], "Two dimensions are left over, of size one."),
                (maps.mean(1), "The mean runs over places, not over classes."),
                (mean.softmax(1), "The loss takes the softmax: hand it logits."),
                (mean.relu(), "The mean may be negative, and should stay so."),
            ],
        )


@exercise(
    "nin.last_stage",
    kind="repair",
    goal="leave the logits free",
    minutes=5,
    first="Which values can a logit have? Which can it not have?",
)
def last_stage(answer: Answer) -> None:
    """Against the same layers in a row."""
    for c, k in ((12, 6), (9, 10)):
        first, second = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1)
        third, relu = nn.Conv2d(c, k, 1), nn.ReLU()
        layers = [first, relu, second, relu, third]
        he_init(nn.Sequential(*layers))
        mean: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        behind = "Behind the mean a ReLU does the same harm: nothing is below zero."
        wrong: list[tuple[Sequence[nn.Module], str]] = [
            ([*layers, relu, *mean], "No logit is below zero. What cuts them off?"),
            ([*layers, *mean, relu], behind),
            ([first, second, third, *mean], "The ReLUs between the layers stay."),
            ([*layers, nn.LeakyReLU(), *mean], "No layer is needed in its place."),
            ([*layers, nn.Sigmoid(), *mean], "Logits are not confined to shares."),
            ([*layers, *mean, nn.Softmax(1)], "The loss takes the softmax itself."),
            ([*layers, nn.AdaptiveMaxPool2d(1), mean[1]], "The mean is right."),
        ]
        same_function(
            answer(c, k),
            nn.Sequential(*layers, *mean),
            torch.randn(8, c, 6, 5),
            mistakes=[(nn.Sequential(*net), hint) for net, hint in wrong],
        )


@exercise(
    "nin.evidence",
    kind="implement",
    goal="share out a logit among the places of the picture",
    minutes=15,
    first="Write the logit as a sum over maps and places. In which order may one add?",
)
def evidence(answer: Answer) -> None:
    """By the sum over maps, for labels that are never those with the largest logit."""
    for c, classes, size in ((5, 4, 8), (3, 6, 7)):
        body, full = nn.Sequential(nn.Conv2d(2, c, 3), nn.ReLU()), nn.Linear(c, classes)
        net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), full)
        x, rows = torch.randn(6, 2, size, size + 2), torch.arange(6)
        maps, logits = body(x).detach(), net(x).detach()
        places, named = maps[0, 0].numel(), logits.argmax(1)
        each = torch.einsum("nchw,kc->nkhw", maps, full.weight.detach()) / places
        labels = (named + 1 + rows % (classes - 1)) % classes
        want, bias = each[rows, labels], full.bias.detach()[labels, None, None]
        spoken = logits[rows, labels][:, None, None].expand_as(want)
        low, high = want.amin((1, 2), True), want.amax((1, 2), True)
        added = "The bias is the same whatever the picture shows. Leave it out."
        against, stay = "A place may speak against a class.", "Leave it as it comes."
        counts = "How much does the class make of each map?"
        mistakes = [
            (want * places, "The mean divides by the number of places."),
            *((part + bias, added) for part in (want, want * places)),
            (want + bias / places, added),
            *((part, against) for part in (want.relu(), want.abs())),
            *((part, stay) for part in ((want - low) / (high - low), want / high)),
            (spoken, "That is the logit itself. Which place says what?"),
            (spoken / places, "The places do not all say the same."),
            *((part, counts) for part in (maps.mean(1), maps.sum(1) / places)),
            (each[rows, labels[0]], "Every picture has a label of its own."),
            (each[rows, named], "Ask for the label that is given."),
            (each, "One map a picture: that of its label."),
        ]
        on = f"pictures of {size} by {size + 2}, {c} maps and {classes} classes"
        answer.gives(want, net, x, labels, on=on, mistakes=mistakes)


@exercise(
    "nin.killed",
    kind="investigate",
    goal="see classes die of one step, and before the first",
    minutes=30,
    first="Count the dead classes of the net as it is: that is the rate 0. Then make"
    " one step on a copy.",
)
def killed(answer: Answer) -> None:
    """Its form: on a small net in which one class begins dead and others die."""
    conv = nn.Conv2d(2, 6, 1)
    weight, bias = (each.detach() for each in conv.parameters())
    weight.uniform_(0.0, 0.1)
    weight[5] = 4.0  # above zero for bright pictures only
    bias.copy_(torch.tensor([1.0, 0.5, 0.1, -1.0, 2.0, -2.0]))
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    bright = torch.linspace(0.1, 1.0, 12)[:, None, None, None]
    x, y = bright * torch.rand(12, 2, 3, 4), torch.arange(12) % 2
    rates = [0.0, 30.0, 0.5, 4.0]
    zeros = [_after(net, x, y, rate) == 0 for rate in rates]
    uphill = [_after(net, x, y, -rate) == 0 for rate in rates]
    # The gradient taken once is the gradient of a sum of steps.
    once = [_after(net, x, y, sum(rates[: i + 1])) == 0 for i in range(len(rates))]
    anew = [_after(net, x, y, *rates[: i + 1]) == 0 for i in range(len(rates))]
    runs = (zeros, uphill, once, anew)
    counts, *others = ([int(zero.all(0).sum()) for zero in run] for run in runs)
    copies = "Every rate begins with the net as it was: make the step on a copy."
    every = "A class is dead if its logit is zero for every picture."
    answer.gives(
        counts,
        *(net, x, y, rates),
        on="a small net with six classes",
        mistakes=[
            ([int(zero.sum()) for zero in zeros], "Count classes, not logits."),
            ([int(zero.any(0).sum()) for zero in zeros], every),
            (others[0], "Downhill is against the gradient."),
            *((other, copies) for other in others[1:]),
            ([6 - count for count in counts], "Count the dead, not the living."),
            (counts[:1] * len(rates), "Count after the step, not before it."),
        ],
    )


def _after(net: nn.Module, x: Tensor, y: Tensor, *rates: float) -> Tensor:
    """The logits after one step for each rate, without going back between them."""
    moved = copy.deepcopy(net)
    for rate in rates:
        loss = F.cross_entropy(moved(x), y)
        gradients = torch.autograd.grad(loss, list(moved.parameters()))
        for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
            parameter.data -= rate * gradient
    return moved(x).detach()
