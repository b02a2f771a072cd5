"""The exercises on NiN."""

from __future__ import annotations

import copy
import random
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.checks.compare import Mistakes
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.shared import Number, all_with, case, combined, init_all
from course_lib.nin import NiN
from course_lib.summary import count_parameters

#: Kernel size, stride and padding.
Geometry: TypeAlias = tuple[int, int, int]


@exercise(
    "nin.without_fc_layers",
    kind="predict",
    goal="find out where the parameters are saved, and what it takes",
    minutes=10,
    first_hint="Begin with AlexNet's fc6: how many inputs does one of its units have?",
)
def without_fc_layers(answer: Answer) -> None:
    """Counted from the library's networks."""
    with torch.device("meta"):
        old = AlexNet("paper")[5:]
        new = NiN("imagenet")[3]
        single = nn.Linear(1000 * 36, 1000)
    answer.expect(
        tuple(count_parameters(each) for each in (old, new, single)),
        tolerance=0,
        mistakes=combined(
            _old_numbers(count_parameters(old)),
            _new_numbers(count_parameters(new)),
            _single_numbers(count_parameters(single)),
        ),
    )


def _old_numbers(count: int) -> Number:
    """Of AlexNet's three FC layers."""
    biases = 4096 + 4096 + 1000
    every = "fc6 reads every position of all 256 feature maps."
    three = "There are three FC layers, and all have weights."
    last = 4097 * 1000
    middle = 4097 * 4096
    return [
        (count, ""),
        (count - biases, "Units of FC layers have biases, too."),
        (count / 1e6, "Write the whole number, not millions."),
        (257 * 4096 + middle + last, every),
        ((256 * 6 + 1) * 4096 + middle + last, every),
        (count - middle, three),
        (count - last, three),
        (count - middle - last, three),
    ]


def _new_numbers(count: int) -> Number:
    """Of NiN's convolutions behind its last pooling."""
    channels = 1024 + 1024 + 1000
    something = (
        "The pooling has none, but something computes the classes' feature maps."
    )
    once = "The weights of a convolution are the same at all positions."
    nine = "The first of them has kernels of 3x3, and the others of 1x1."
    three = "There are three convolutions behind the last pooling."
    first = (384 * 9 + 1) * 1024
    middle = 1025 * 1024
    last = 1025 * 1000
    return [
        (count, ""),
        (count - channels, "The output channels of convolutions have biases, too."),
        (count / 1e6, "Write the whole number, not millions."),
        (0, something),
        (36 * count, once),
        (36 * (count - channels) + channels, once),
        (385 * 1024 + middle + last, nine),
        (first + (9 * 1024 + 1) * (1024 + 1000), nine),
        (count - first, three),
        (count - middle, three),
        (first, three),
    ]


def _single_numbers(count: int) -> Number:
    """Of one FC layer in place of the pooling."""
    flat = "An FC layer reads every position of every feature map."
    inputs = (
        "It has the inputs of the average pooling: how many feature maps does it have?"
    )
    return [
        (count, ""),
        (count - 1000, "Units of an FC layer have biases, too."),
        (count / 1e6, "Write the whole number, not millions."),
        (1000 * 1001, flat),
        (1000 * 1000, flat),
        (
            1000 * 37,
            "Each unit of an FC layer reads all feature maps, not only its own.",
        ),
        (
            1000 * 36,
            "Each unit of an FC layer reads all feature maps, not only its own.",
        ),
        ((384 * 36 + 1) * 1000, inputs),
        ((1024 * 36 + 1) * 1000, inputs),
        ((256 * 36 + 1) * 1000, inputs),
    ]


@exercise(
    "nin.pointwise",
    kind="implement",
    goal="see a 1x1 convolution as a fully connected layer at each pixel",
    minutes=10,
    first_hint="Compute one pixel of one image: `weight @ x[0, :, 0, 0] + bias`.",
    banned=("convolution",),
    instead="Write it with `torch.einsum`, `F.linear` or `@`.",
)
def pointwise(answer: Answer) -> None:
    """Against PyTorch's convolution. First with as many rows, columns and channels as
    output channels: there the biases fit along a wrong dimension, and so do the
    weights, transposed.
    """
    for shape, out in (((2, 4, 4, 4), 4), ((3, 4, 3, 6), 2), ((1, 2, 1, 3), 7)):
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
    images, channels, height, width = x.shape
    want = F.conv2d(x, weight[:, :, None, None], bias)
    bare = F.conv2d(x, weight[:, :, None, None])
    across = F.linear(x.reshape(-1, channels), weight, bias)
    moved = F.linear(x.movedim(1, 3).reshape(-1, channels), weight, bias)
    mixed = "Move the channels, do not `reshape` across them: pixels get mixed up."
    images_only = "There are several images, and each has its outputs."
    mistakes = [
        (bare, "What became of the bias?"),
        (want + bias[:, None, None], "The bias is added twice."),
        (want.movedim(1, 3), "In the output, too, channels are the second dimension."),
        (across.reshape(want.shape), mixed),
        (moved.reshape(want.shape), mixed),
        (across.reshape(images, height, width, -1).movedim(3, 1), mixed),
        (want.mT, "Rows and columns are exchanged."),
        (want.flatten(2), "Give the pixels their rows and columns back."),
        (want.relu(), "There is no ReLU in a convolution."),
        (want[:1], images_only),
        (want[0], images_only),
    ]
    if len(bias) == channels == height == width:
        own = "Every output channel has its own bias, and here every"
        turned = F.conv2d(x, weight.T[:, :, None, None], bias)
        mistakes += [
            (bare + bias, f"{own} column has one."),
            (bare + bias[:, None], f"{own} row has one."),
            (turned, "A row of `weight` is for one output channel, and not a column."),
        ]
    return mistakes


@exercise(
    "nin.block",
    kind="implement",
    goal="build the block from what it does",
    minutes=10,
    first_hint="Build the first convolution alone, and look at its output's shape.",
)
def block(answer: Answer) -> None:
    """Against the same layers in a row, with more and fewer layers than three."""
    cases: list[tuple[int, list[int], int, int]] = [
        (3, [6, 5, 4], 5, 1),
        (2, [4, 4, 4], 3, 2),
        (1, [3, 5, 4, 2], 7, 3),
        (3, [5, 2], 1, 1),
    ]
    for channels, widths, size, stride in cases:
        net = _block(channels, widths, (size, stride, size // 2))
        mistakes = _block_mistakes(net, channels, widths, size, stride)
        got = answer(channels, widths, size, stride)
        x = torch.randn(2, channels, 13, 11)
        with case(f"block({channels}, {widths}, {size}, {stride}): "):
            same_function(got, net, x, mistakes=mistakes)


def _block_mistakes(
    net: nn.Sequential, channels: int, widths: list[int], size: int, stride: int
) -> Mistakes:
    half = size // 2
    first = (size, stride, half)
    same = "Only the first convolution reads more than a pixel."
    border = "A 1x1 kernel needs no border: what does padding add there?"
    once = "Only the first convolution has the stride; the others have a stride of 1."
    own = "Every layer has its own width."
    between = "Without a ReLU between them, layers are one linear layer."
    half_of_it = "The first convolution pads by half its kernel size, whatever that is."
    all_widths = "There are as many layers as `widths`, and not always three."
    batch_norm = [nn.BatchNorm2d(width) for width in widths]
    return [
        (_block(channels, widths, first, later=(size, 1, half)), same),
        (_block(channels, widths, first, later=first), same),
        (_block(channels, widths, first, later=(1, 1, half)), border),
        (_block(channels, widths, first, later=(1, stride, half)), once),
        (_block(channels, widths, first, later=(1, stride, 0)), once),
        (_block(channels, widths, (size, stride, 0)), "The first convolution pads."),
        (_block(channels, widths, (size, stride, 1)), half_of_it),
        (_block(channels, widths, (size, stride, 2)), half_of_it),
        (_block(channels, widths, (size, 1, half)), "The first layer has the stride."),
        (_block(channels, widths[:3], first), all_widths),
        (_block(channels, widths[:2], first), all_widths),
        (nn.Sequential(*net, *batch_norm), "There is no normalization in the block."),
        (_without_biases(net), "Every unit of the perceptron has a bias."),
        (_block(channels, widths[:1] * len(widths), first), own),
        (_block(channels, widths[-1:] * len(widths), first), own),
        (net[:-1], "The last layer of the block has a ReLU, too."),
        (net[::2], between),
        (nn.Sequential(*net[::2], nn.ReLU()), between),
    ]


def _block(
    channels: int, widths: list[int], first: Geometry, later: Geometry = (1, 1, 0)
) -> nn.Sequential:
    net = nn.Sequential()
    for width in widths:
        net.extend([nn.Conv2d(channels, width, *first), nn.ReLU()])
        channels = width
        first = later
    init_all(net)
    return net


def _without_biases(net: nn.Sequential) -> nn.Sequential:
    """A copy whose convolutions have none."""
    made = copy.deepcopy(net)
    for layer in made:
        if isinstance(layer, nn.Conv2d):
            layer.register_parameter("bias", None)
    return made


@exercise(
    "nin.scores",
    kind="repair",
    goal="reduce each feature map to one value, whatever its size",
    minutes=5,
    first_hint="Call it with feature maps of 8 by 8, 16 by 16 and 5 by 9, and look at"
    " the outputs.",
)
def scores(answer: Answer) -> None:
    """Against the mean, on feature maps of several sizes."""
    for height, width in ((8, 8), (16, 16), (5, 9), (9, 5), (1, 1)):
        maps = torch.randn(2, 6, height, width)
        answer.expect(
            maps.mean((2, 3)),
            maps,
            on=f"feature maps of {height} by {width}",
            mistakes=_scores_mistakes(maps),
        )


def _scores_mistakes(maps: Tensor) -> Mistakes:
    height, width = maps.shape[2:]
    side = min(height, width)
    eight = (min(height, 8), min(width, 8))
    mean = maps.mean((2, 3))
    one = "One large activation is enough for max pooling. What did the authors take?"
    size = "A larger feature map gives one value still: pool over all of it."
    over = "The mean runs over positions, not over classes or images."
    loss = "The loss takes the softmax: give it logits."
    return [
        (maps.amax((2, 3)), one),
        (F.max_pool2d(maps, eight).flatten(1), one),
        (F.avg_pool2d(maps, eight).flatten(1), size),
        (
            maps[..., :side, :side].mean((2, 3)),
            "A feature map may be wider than high: its height is not its width.",
        ),
        (maps.sum((2, 3)), "A sum grows with the size of the feature map."),
        (maps.sum((2, 3)) / 64, "Not every feature map has 64 positions."),
        (mean[..., None, None], "Two dimensions are left over, of size one."),
        *all_with(over, (maps.mean(1), maps.mean((0, 2, 3)), maps.mean((1, 2, 3)))),
        *all_with(loss, (mean.softmax(1), mean.log_softmax(1))),
        (mean.relu(), "The mean may be negative, and should stay so."),
        (maps.relu().mean((2, 3)), "The maps may be negative: keep their values."),
        (maps.flatten(2).median(2)[0], "It is called average pooling: no median."),
    ]


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
        init_all(layers)
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        same_function(
            answer(channels, classes),
            nn.Sequential(*layers, *mean),
            torch.randn(8, channels, 6, 5),
            mistakes=_last_stage_mistakes(layers, mean),
        )


def _last_stage_mistakes(layers: nn.Sequential, mean: nn.Sequential) -> Mistakes:
    max_pooling = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    classes = len([*layers.parameters()][-1])
    free = "Then a logit cannot have any value: no layer is needed there."
    place = "No layer is needed in its place."
    behind = "Behind the pooling a ReLU does the same harm: no logit is below zero."
    stay = "The ReLUs between the layers stay."
    pooled = "Average pooling is right, and stays: one value for each class."
    softmax = "The loss takes the softmax itself."
    return [
        (
            nn.Sequential(*layers, nn.ReLU(), *mean),
            "No logit is below zero. Which layer causes that?",
        ),
        (nn.Sequential(*layers, *mean, nn.ReLU()), behind),
        (nn.Sequential(*layers[::2], *mean), stay),
        (nn.Sequential(*layers[:1], *layers[2:], *mean), stay),
        (nn.Sequential(*layers[:3], *layers[4:], *mean), stay),
        (nn.Sequential(*layers, nn.LeakyReLU(), *mean), place),
        (nn.Sequential(*layers, nn.GELU(), *mean), place),
        (nn.Sequential(*layers, nn.BatchNorm2d(classes), *mean), place),
        (nn.Sequential(*layers, nn.Sigmoid(), *mean), free),
        (nn.Sequential(*layers, nn.Tanh(), *mean), free),
        (nn.Sequential(*layers, *mean, nn.Softmax(1)), softmax),
        (nn.Sequential(*layers, *mean, nn.LogSoftmax(1)), softmax),
        (nn.Sequential(*layers, *max_pooling), pooled),
        (nn.Sequential(*layers), pooled),
        (nn.Sequential(*layers, nn.Flatten()), pooled),
        (nn.Sequential(*layers, mean[0]), "The logits have two dimensions: flatten."),
        (nn.Sequential(*layers[:3], *mean), "All three convolutions stay."),
        (
            nn.Sequential(*layers[:2], *layers[4:], *mean),
            "All three convolutions stay.",
        ),
    ]


@exercise(
    "nin.evidence",
    kind="implement",
    goal="divide a logit among the positions of the image",
    minutes=15,
    first_hint="Write the logit as a sum over channels and positions. In which order"
    " can it be added?",
)
def evidence(answer: Answer) -> None:
    """By the sum over channels, for labels whose logit is never the largest."""
    for channels, classes, size in ((5, 4, 8), (3, 6, 7)):
        convs = nn.Sequential(nn.Conv2d(2, channels, 3), nn.ReLU())
        fc = nn.Linear(channels, classes)
        fc.bias.data[0] = 10.0  # so that the largest logit is that of class 0
        net = nn.Sequential(convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
        x = torch.randn(6, 2, size, size + 2)
        images = torch.arange(6)
        maps = convs(x).detach()
        largest = net(x).argmax(1)
        labels = 1 + images % (classes - 1)
        shares = _shares(maps, fc)
        answer.expect(
            shares[images, labels],
            net,
            x,
            labels,
            on=f"images of {size} by {size + 2}, {channels} channels and {classes}"
            " classes",
            mistakes=[
                *_evidence_mistakes(maps, fc, labels, x.shape[2:]),
                (shares[images, labels[0]], "Every image has a label of its own."),
                (shares[images, largest], "Ask for the label that is given."),
                (shares, "One map per image: that of its label."),
            ],
        )


def _shares(maps: Tensor, fc: nn.Linear) -> Tensor:
    """What each position adds to each logit, (N, K, H, W): their sum and the bias are
    the logits.
    """
    positions = maps[0, 0].numel()
    return torch.einsum("nchw,kc->nkhw", maps, fc.weight.detach()) / positions


def _evidence_mistakes(
    maps: Tensor, fc: nn.Linear, labels: Tensor, size: torch.Size
) -> Mistakes:
    """Those that take the right labels, for images of this size."""
    images = torch.arange(len(labels))
    want = _shares(maps, fc)[images, labels]
    positions = want[0].numel()
    bias = fc.bias.detach()[labels, None, None]
    logits = fc(maps.mean((2, 3))).detach()[images, labels]
    logit = logits[:, None, None].expand_as(want)
    low = want.amin((1, 2), keepdim=True)
    high = want.amax((1, 2), keepdim=True)
    added = "The bias does not depend on the image. Leave it out."
    against = "A position may lower the logit of a class."
    stay = "Do not rescale it."
    counts = "Which weight does the class give to each channel?"
    return [
        (want * positions, "The mean divides by the number of positions."),
        (want + bias, added),
        (want * positions + bias, added),
        (want + bias / positions, added),
        (want.relu(), against),
        (want.abs(), against),
        ((want - low) / (high - low), stay),
        (want / high, stay),
        (logit, "That is the logit itself. What does each position add to it?"),
        (logit / positions, "The positions do not all add the same."),
        (maps.mean(1), counts),
        (maps.sum(1) / positions, counts),
        (want.flatten(1).softmax(1).view_as(want), stay),
        (want.sigmoid(), stay),
        (want[:, None], "One map per image: no dimension for channels is left."),
        (want.flatten(1), "A map has rows and columns: give them back."),
        *(
            (
                F.interpolate(want[:, None], size=size, mode=mode).view(-1, *size),
                "As large as the last feature maps: do not enlarge it.",
            )
            for mode in ("nearest", "bilinear", "bicubic")
        ),
    ]


@exercise(
    "nin.killed",
    kind="investigate",
    goal="see classes die in one step, and before the first",
    minutes=30,
    first_hint="Count the dead classes of the network as it is: that is a learning rate"
    " of zero. Then take one step on a copy.",
)
def killed(answer: Answer) -> None:
    """On a small network in which one class is dead already and others die: for fixed
    learning rates and for others.
    """
    drawn = random.sample([0.0, 30.0, 0.5, 4.0], 4)
    for rates in ([0.0, 2.0, 0.4, 3.0, 8.0], drawn):
        net = _dying_net()
        bright = torch.linspace(0.1, 1.0, 12)[:, None, None, None]
        x = bright * torch.rand(12, 2, 3, 4)
        y = torch.arange(12) % 2
        answer.expect(
            _dead([_after(net, x, y, rate) for rate in rates]),
            net,
            x,
            y,
            rates,
            on=f"a small network with six classes, and rates {rates}",
            mistakes=_killed_mistakes(net, x, y, rates),
        )


def _killed_mistakes(
    net: nn.Module, x: Tensor, y: Tensor, rates: list[float]
) -> Mistakes:
    after = [_after(net, x, y, rate) for rate in rates]
    zeros = [logits == 0 for logits in after]
    counts = _dead(after)
    uphill = [_after(net, x, y, -rate) for rate in rates]
    until = [rates[: i + 1] for i in range(len(rates))]
    # The gradient taken once is the gradient of a sum of steps.
    one_gradient = [_after(net, x, y, sum(steps)) for steps in until]
    one_copy = [_after(net, x, y, *steps) for steps in until]
    added_up = [_after(net, x, y, i * rate) for i, rate in enumerate(rates, 1)]
    summed = [_after(net, x, y, len(x) * rate) for rate in rates]
    copies = (
        "Every learning rate starts from the same weights: take the step on a copy."
    )
    every = "A class is dead if its logit is zero for every image."
    return [
        ([int(zero.sum()) for zero in zeros], "Count classes, not logits."),
        ([int(zero.any(0).sum()) for zero in zeros], every),
        (_dead(uphill), "Descent goes against the gradient."),
        (_dead(one_gradient), copies),
        (_dead(one_copy), copies),
        (
            _dead(added_up),
            "`backward` adds to the gradients of before: set them to zero, or to None.",
        ),
        (_dead(summed), "The cross-entropy is a mean over the images, not a sum."),
        ([6 - count for count in counts], "Count the dead, not the living."),
        (counts[:1] * len(rates), "Count after the step, not before it."),
        (
            [6 - len(logits.argmax(1).unique()) for logits in after],
            "A class that is never the largest is not dead yet: look for zeros.",
        ),
    ]


def _dying_net() -> nn.Sequential:
    first = nn.Conv2d(2, 3, 1)
    conv = nn.Conv2d(3, 6, 1)
    weight, bias = (each.detach() for each in first.parameters())
    weight.uniform_(0.2, 0.6)
    bias.fill_(0.1)
    weight, bias = (each.detach() for each in conv.parameters())
    weight.uniform_(0.0, 0.1)
    weight[5] = 3.0  # positive for bright images only
    bias.copy_(torch.tensor([1.0, 0.5, 0.1, -1.0, 2.0, -2.0]))
    layers = [first, nn.ReLU(), conv, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


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
