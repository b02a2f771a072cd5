"""The exercises on NiN."""

from __future__ import annotations

import copy
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import case
from course_lib.nin import NiN
from course_lib.summary import count_parameters

#: Kernel size, stride and padding.
Geometry: TypeAlias = tuple[int, int, int]


@exercise(
    "nin.without_full_layers",
    kind="predict",
    goal="find out where the parameters are saved, and what it takes",
    minutes=10,
    first_hint="Begin with AlexNet's fc6: how many numbers does one of its units read?",
)
def without_full_layers(answer: Answer) -> None:
    """Counted from the library's nets."""
    with torch.device("meta"):
        old = count_parameters(AlexNet("paper")[5:])
        new = count_parameters(NiN("imagenet")[3])
        full = count_parameters(nn.Linear(1000 * 36, 1000))
        wide = count_parameters(nn.Linear(384 * 36, 1000))
    units = 4096 + 4096 + 1000
    maps = 1024 + 1024 + 1000
    something = "The mean has none, but something has to make the maps of the classes."
    once = "The weights of a convolution are the same at all places."
    answer.expect(
        (old, new, full),
        tolerance=0,
        mistakes=[
            ((old - units, new - maps, full - 1000), "Units and maps have biases."),
            ((old - units, new, full - 1000), "Full layers have biases, too."),
            ((old, new - maps, full), "Convolutions have biases, too."),
            ((old, 0, full), something),
            ((old, new, 1000 * 1001), "A full layer sees every place of every map."),
            ((old, new, 1000 * 37), "A full layer sees all maps, not only its own."),
            ((old, new, wide), "It reads what the mean reads."),
            ((old, 36 * new, full), once),
            ((old, 36 * (new - maps) + maps, full), once),
        ],
    )


@exercise(
    "nin.pointwise",
    kind="implement",
    goal="see a 1x1 convolution as a full layer at each pixel",
    minutes=10,
    first_hint="Compute one pixel of one picture: `weight @ x[0, :, 0, 0] + bias`.",
)
def pointwise(answer: Answer) -> None:
    """Against PyTorch's convolution. First as many columns as maps come out: there a
    wrong line of biases fits.
    """
    for shape, out in (((2, 3, 4, 5), 5), ((3, 4, 3, 6), 2), ((1, 2, 1, 3), 7)):
        x = torch.randn(shape)
        weight = torch.randn(out, shape[1])
        bias = torch.randn(out)
        answer.expect(
            F.conv2d(x, weight[:, :, None, None], bias),
            x,
            weight,
            bias,
            on=f"x of shape {shape} and {out} output channels",
            mistakes=_pointwise_mistakes(x, weight, bias),
        )


def _pointwise_mistakes(x: Tensor, weight: Tensor, bias: Tensor) -> Mistakes:
    pictures, channels, height, width = x.shape
    want = F.conv2d(x, weight[:, :, None, None], bias)
    bare = F.conv2d(x, weight[:, :, None, None])
    across = F.linear(x.reshape(-1, channels), weight, bias)
    moved = F.linear(x.movedim(1, 3).reshape(-1, channels), weight, bias)
    mixed = "Move the channels, do not `reshape` across them: pixels get mixed up."
    mistakes = [
        (bare, "What became of the bias?"),
        (across.reshape(want.shape), mixed),
        (moved.reshape(want.shape), mixed),
        (across.reshape(pictures, height, width, -1).movedim(3, 1), mixed),
        (want.movedim(1, 3), "Channels come second in what comes out, too."),
        (want.flatten(2), "Give the pixels their rows and columns back."),
        (want.relu(), "There is no ReLU in a convolution."),
    ]
    if len(bias) == width:
        hint = "Every map has its own bias, and here every column has one."
        mistakes.append((bare + bias, hint))
    return mistakes


@exercise(
    "nin.block",
    kind="implement",
    goal="build the block from what it does",
    minutes=10,
    first_hint="Build the first convolution alone, and look at the size of its maps.",
)
def block(answer: Answer) -> None:
    """Against the same layers in a row, with more and fewer layers than three."""
    cases: list[tuple[int, tuple[int, ...], int, int]] = [
        (3, (6, 5, 4), 5, 1),
        (2, (4, 4, 4), 3, 2),
        (1, (3, 5, 4, 2), 7, 3),
        (3, (5, 2), 1, 1),
    ]
    for channels, widths, size, stride in cases:
        net = _block(channels, widths, (size, stride, size // 2))
        mistakes = _block_mistakes(net, channels, widths, size, stride)
        got = answer(channels, widths, size, stride)
        x = torch.randn(2, channels, 13, 11)
        with case(f"block({channels}, {widths}, {size}, {stride}): "):
            same_function(got, net, x, mistakes=mistakes)


def _block_mistakes(
    net: nn.Sequential, channels: int, widths: tuple[int, ...], size: int, stride: int
) -> Mistakes:
    half = size // 2
    first = (size, stride, half)
    same = "Only the first convolution sees more than a pixel."
    border = "A kernel of one pixel needs no border: what does padding add there?"
    once = "The first convolution takes the steps; the others stay at their pixel."
    own = "Every layer has its own width."
    between = "Without a ReLU between them, layers are one linear layer."
    return [
        (_block(channels, widths, first, later=(size, 1, half)), same),
        (_block(channels, widths, first, later=first), same),
        (_block(channels, widths, first, later=(1, 1, half)), border),
        (_block(channels, widths, first, later=(1, stride, half)), once),
        (_block(channels, widths, first, later=(1, stride, 0)), once),
        (_block(channels, widths, (size, stride, 0)), "The first convolution pads."),
        (_block(channels, widths[:1] * len(widths), first), own),
        (_block(channels, widths[-1:] * len(widths), first), own),
        (net[:-1], "The last layer of the block has a ReLU, too."),
        (net[::2], between),
        (nn.Sequential(*net[::2], nn.ReLU()), between),
    ]


def _block(
    channels: int, widths: tuple[int, ...], first: Geometry, later: Geometry = (1, 1, 0)
) -> nn.Sequential:
    net = nn.Sequential()
    for width in widths:
        net.extend([nn.Conv2d(channels, width, *first), nn.ReLU()])
        channels = width
        first = later
    he_init(net)
    return net


@exercise(
    "nin.scores",
    kind="repair",
    goal="make one number of each map, whatever its size",
    minutes=5,
    first_hint="Call it with maps of 8 by 8, of 16 by 16 and of 5 by 9, and look at"
    " what comes out.",
)
def scores(answer: Answer) -> None:
    """Against the mean, on maps of several sizes."""
    for height, width in ((8, 8), (16, 16), (5, 9), (1, 1)):
        maps = torch.randn(2, 6, height, width)
        mean = maps.mean((2, 3))
        window = (min(height, 8), min(width, 8))
        one = "One bright place is enough for a maximum. What did the authors take?"
        size = "A larger map gives one number still: the window is all of it."
        answer.expect(
            mean,
            maps,
            on=f"maps of {height} by {width}",
            mistakes=[
                (maps.amax((2, 3)), one),
                (F.max_pool2d(maps, window).flatten(1), one),
                (F.avg_pool2d(maps, window).flatten(1), size),
                (maps.sum((2, 3)), "A sum grows with the size of the map."),
                (maps.sum((2, 3)) / 64, "Not every map has 64 places."),
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
    first_hint="Which values can a logit have? Which can it not have?",
)
def last_stage(answer: Answer) -> None:
    """Against the same layers in a row."""
    for channels, classes in ((12, 6), (9, 10)):
        layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, classes, 1),
        )
        he_init(layers)
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        same_function(
            answer(channels, classes),
            nn.Sequential(*layers, *mean),
            torch.randn(8, channels, 6, 5),
            mistakes=_last_stage_mistakes(layers, mean),
        )


def _last_stage_mistakes(layers: nn.Sequential, mean: nn.Sequential) -> Mistakes:
    maximum = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    behind = "Behind the mean a ReLU does the same harm: nothing is below zero."
    return [
        (
            nn.Sequential(*layers, nn.ReLU(), *mean),
            "No logit is below zero. What cuts them off?",
        ),
        (nn.Sequential(*layers, *mean, nn.ReLU()), behind),
        (
            nn.Sequential(*layers[::2], *mean),
            "The ReLUs between the layers stay.",
        ),
        (
            nn.Sequential(*layers, nn.LeakyReLU(), *mean),
            "No layer is needed in its place.",
        ),
        (
            nn.Sequential(*layers, nn.Sigmoid(), *mean),
            "Logits are not confined to shares.",
        ),
        (
            nn.Sequential(*layers, *mean, nn.Softmax(1)),
            "The loss takes the softmax itself.",
        ),
        (nn.Sequential(*layers, *maximum), "The mean is right."),
    ]


@exercise(
    "nin.evidence",
    kind="implement",
    goal="share out a logit among the places of the picture",
    minutes=15,
    first_hint="Write the logit as a sum over maps and places. In which order may one"
    " add?",
)
def evidence(answer: Answer) -> None:
    """By the sum over maps, for labels that are never those with the largest logit."""
    for channels, classes, size in ((5, 4, 8), (3, 6, 7)):
        body = nn.Sequential(nn.Conv2d(2, channels, 3), nn.ReLU())
        full = nn.Linear(channels, classes)
        net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), full)
        x = torch.randn(6, 2, size, size + 2)
        pictures = torch.arange(6)
        maps = body(x).detach()
        largest = net(x).argmax(1)
        labels = (largest + 1 + pictures % (classes - 1)) % classes
        shares = _shares(maps, full)
        answer.expect(
            shares[pictures, labels],
            net,
            x,
            labels,
            on=f"pictures of {size} by {size + 2}, {channels} maps and {classes}"
            " classes",
            mistakes=[
                *_evidence_mistakes(maps, full, labels),
                (shares[pictures, labels[0]], "Every picture has a label of its own."),
                (shares[pictures, largest], "Ask for the label that is given."),
                (shares, "One map a picture: that of its label."),
            ],
        )


def _shares(maps: Tensor, full: nn.Linear) -> Tensor:
    """What each place says for each class, N K H W: all places together and the bias
    are the logits.
    """
    places = maps[0, 0].numel()
    return torch.einsum("nchw,kc->nkhw", maps, full.weight.detach()) / places


def _evidence_mistakes(maps: Tensor, full: nn.Linear, labels: Tensor) -> Mistakes:
    """Such as ask for the right labels."""
    pictures = torch.arange(len(labels))
    want = _shares(maps, full)[pictures, labels]
    places = want[0].numel()
    bias = full.bias.detach()[labels, None, None]
    logits = full(maps.mean((2, 3))).detach()[pictures, labels]
    logit = logits[:, None, None].expand_as(want)
    low = want.amin((1, 2), keepdim=True)
    high = want.amax((1, 2), keepdim=True)
    added = "The bias is the same whatever the picture shows. Leave it out."
    against = "A place may speak against a class."
    stay = "Leave it as it comes."
    counts = "How much does the class make of each map?"
    return [
        (want * places, "The mean divides by the number of places."),
        (want + bias, added),
        (want * places + bias, added),
        (want + bias / places, added),
        (want.relu(), against),
        (want.abs(), against),
        ((want - low) / (high - low), stay),
        (want / high, stay),
        (logit, "That is the logit itself. Which place says what?"),
        (logit / places, "The places do not all say the same."),
        (maps.mean(1), counts),
        (maps.sum(1) / places, counts),
    ]


@exercise(
    "nin.killed",
    kind="investigate",
    goal="see classes die of one step, and before the first",
    minutes=30,
    first_hint="Count the dead classes of the net as it is: that is the rate 0. Then"
    " make one step on a copy.",
)
def killed(answer: Answer) -> None:
    """Its form: on a small net in which one class begins dead and others die."""
    net = _dying_net()
    bright = torch.linspace(0.1, 1.0, 12)[:, None, None, None]
    x = bright * torch.rand(12, 2, 3, 4)
    y = torch.arange(12) % 2
    rates = [0.0, 30.0, 0.5, 4.0]
    answer.expect(
        _dead([_after(net, x, y, rate) for rate in rates]),
        net,
        x,
        y,
        rates,
        on="a small net with six classes",
        mistakes=_killed_mistakes(net, x, y, rates),
    )


def _killed_mistakes(
    net: nn.Module, x: Tensor, y: Tensor, rates: list[float]
) -> Mistakes:
    zeros = [_after(net, x, y, rate) == 0 for rate in rates]
    counts = _dead([_after(net, x, y, rate) for rate in rates])
    uphill = [_after(net, x, y, -rate) for rate in rates]
    until = [rates[: i + 1] for i in range(len(rates))]
    # The gradient taken once is the gradient of a sum of steps.
    one_gradient = [_after(net, x, y, sum(steps)) for steps in until]
    one_copy = [_after(net, x, y, *steps) for steps in until]
    copies = "Every rate begins with the net as it was: make the step on a copy."
    every = "A class is dead if its logit is zero for every picture."
    return [
        ([int(zero.sum()) for zero in zeros], "Count classes, not logits."),
        ([int(zero.any(0).sum()) for zero in zeros], every),
        (_dead(uphill), "Downhill is against the gradient."),
        (_dead(one_gradient), copies),
        (_dead(one_copy), copies),
        ([6 - count for count in counts], "Count the dead, not the living."),
        (counts[:1] * len(rates), "Count after the step, not before it."),
    ]


def _dying_net() -> nn.Sequential:
    conv = nn.Conv2d(2, 6, 1)
    weight, bias = (each.detach() for each in conv.parameters())
    weight.uniform_(0.0, 0.1)
    weight[5] = 4.0  # above zero for bright pictures only
    bias.copy_(torch.tensor([1.0, 0.5, 0.1, -1.0, 2.0, -2.0]))
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _after(net: nn.Module, x: Tensor, y: Tensor, *rates: float) -> Tensor:
    """The logits after one step for each rate, without going back between them."""
    moved = copy.deepcopy(net)
    for rate in rates:
        loss = F.cross_entropy(moved(x), y)
        gradients = torch.autograd.grad(loss, list(moved.parameters()))
        for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
            parameter.data -= rate * gradient
    return moved(x).detach()


def _dead(runs: list[Tensor]) -> list[int]:
    """How many classes have no logit but zero, in the logits of each run."""
    return [int((logits == 0).all(0).sum()) for logits in runs]
