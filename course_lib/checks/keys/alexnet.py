"""The exercises on AlexNet."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with, refuse, without_each
from course_lib.convolution import output_size
from course_lib.normalization import local_response_norm


@exercise(
    "alexnet.weights_and_macs",
    kind="predict",
    goal="see that the parameters and the MACs are in different layers",
    minutes=5,
    first_hint="How many weights does a kernel of conv1 have, and at how many positions"
    " is it applied?",
)
def weights_and_macs(answer: Answer) -> None:
    """Counted from the layers."""
    with torch.device("meta"):
        conv1 = nn.Conv2d(3, 96, 11, stride=4)
        fc6 = nn.Linear(256 * 6 * 6, 4096)
    positions = output_size(227, 11, stride=4) ** 2
    weights = conv1.weight.numel()
    one = weights + 96
    macs = weights * positions
    sixth = fc6.weight.numel()
    six = sixth + 4096
    unpooled = 4096 * 256 * 13 * 13
    averaged = 4096 * 256
    added = "A bias is added; it is multiplied by nothing."
    answer.expect(
        (one, macs, six, sixth),
        tolerance=0,
        mistakes=[
            ((weights, macs, sixth, sixth), "Channels and units have biases, too."),
            ((one, one * positions, six, sixth), added),
            ((one, macs, six, six), added),
            ((one, one * positions, six, six), added),
            ((one, weights, six, sixth), "A kernel is applied at many positions."),
            (
                (one, weights * 227**2, six, sixth),
                "With a stride of four, a kernel skips most positions.",
            ),
            (
                (weights // 3 + 96, macs // 3, six, sixth),
                "A kernel has weights for all three colors.",
            ),
            (
                (one, macs, unpooled + 4096, unpooled),
                "conv5 is followed by pooling.",
            ),
            (
                (one, macs, averaged + 4096, averaged),
                "The input of fc6 is every value of every feature map.",
            ),
        ],
    )


class _RemembersModes(nn.Module):
    """A network whose logits are its input, most of them zeroed by dropout in training.
    It remembers its copies and the modes in which it was called: an answer gets the
    first copy.
    """

    def __init__(self, copies: list[_RemembersModes], modes: list[bool]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.copies = copies
        self.modes = modes

    def __deepcopy__(self, memo: dict[int, Any]) -> _RemembersModes:
        copy = _RemembersModes(self.copies, self.modes).train(self.training)
        self.copies.append(copy)
        return copy

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        return self.dropout(x)


@exercise(
    "alexnet.accuracy",
    kind="repair",
    goal="evaluate a network in evaluation mode",
    minutes=10,
    first_hint="Which layer makes the outputs of two calls for the same images differ,"
    " and what turns it off?",
)
def accuracy(answer: Answer) -> None:
    """With a network that remembers the modes in which it was called."""
    names = {True: "training", False: "evaluation"}
    for training in (True, False):
        net = _RemembersModes([], []).train(training)
        x = torch.rand(50, 10) + 1
        y = torch.randint(10, (50,))
        x[torch.arange(40), y[:40]] += 5  # the others are right by chance
        share = int((x.argmax(1) == y).sum()) / 50
        got = answer(net, x, y)
        if any(net.modes):
            raise WrongAnswer(
                "it calls the network in training mode",
                "Dropout still sets activations to zero at random. What turns it off?",
            )
        compare(
            got,
            share,
            on="for 50 images",
            tolerance=1e-2,
            mistakes=[
                (50 * share, "It is the share of the images, not their number."),
                (1 - share, "Count what is right."),
            ],
        )
        if net.copies[0].training is not training:
            raise WrongAnswer(
                f"the network was in {names[training]} mode before, and is in"
                f" {names[not training]} mode after",
                "Remember the mode that it was in, and restore it.",
            )


@exercise(
    "alexnet.compete",
    kind="repair",
    goal="tell a sum from a mean",
    minutes=10,
    first_hint="Compare the formula in the documentation of `nn.LocalResponseNorm`"
    " with the paper's.",
)
def compete(answer: Answer) -> None:
    """Against the library's, with the paper's constants and others, on activations that
    are large enough for the sum to matter.
    """
    for n, alpha, beta, k in ((5, 1e-4, 0.75, 2.0), (3, 0.2, 0.5, 1.0)):
        x = torch.randn(2, 8, 6, 5) / alpha**0.5
        answer.expect(
            local_response_norm(x, n, alpha, beta, k),
            x,
            n,
            alpha,
            beta,
            k,
            on=f"n = {n}, alpha = {alpha:g}, beta = {beta}, k = {k}",
            mistakes=_compete_mistakes(x, n, alpha, beta, k),
        )


def _compete_mistakes(
    x: Tensor, n: int, alpha: float, beta: float, k: float
) -> Mistakes:
    squares = x.square()
    everyone = torch.ones(8, 8)
    band = everyone.tril(n // 2).triu(-(n // 2))
    before = everyone.tril().triu(1 - n)
    sums = _mix(band, squares)
    pixels = 9 * F.avg_pool2d(squares, 3, 1, 1)

    def over(sums: Tensor) -> Tensor:
        return x / (k + alpha * sums).abs() ** beta

    centered = "The sum is centered: as many channels after as before."
    return [
        (over(sums / n), "PyTorch has the mean of the squares, the paper their sum."),
        (over(sums / n**2), "A mean is smaller than a sum; is alpha, too?"),
        (over(sums * n), "Over how many channels is the sum?"),
        (
            over(pixels),
            "The sum is over channels, at one position, not over positions.",
        ),
        (
            over(_mix(everyone, squares)),
            "The sum is over neighboring channels, not over all.",
        ),
        (over(_mix(before, squares)), centered),
        (over(_mix(before.T, squares)), centered),
        (over(_mix(band, x)), "It is the squares that are summed."),
        (x / (k + alpha * sums), "What became of beta?"),
    ]


def _mix(weights: Tensor, x: Tensor) -> Tensor:
    """Sums over the channels of `x`, one for each row of `weights`."""
    return F.conv2d(x, weights[:, :, None, None])


@exercise(
    "alexnet.drop",
    kind="implement",
    goal="write dropout, and know what happens when it is off",
    minutes=10,
    first_hint="Begin with evaluation, where nothing happens. Then draw a random number"
    " for each activation: `torch.rand_like(x)`.",
)
def drop(answer: Answer) -> None:
    """By what defines dropout: which activations are zero, and that the mean stays."""
    _drop_in_evaluation(answer, torch.randn(4, 6), p=0.3)
    ones = torch.ones(200, 300)
    p = 0.2
    first = answer(ones, p, True)
    torch.rand(1)  # the check puts random numbers back after each call
    second = answer(ones, p, True)
    if not isinstance(first, Tensor) or first.shape != ones.shape:
        compare(first, ones, on="for ones, in training")
    kept = first != 0
    _drop_mask(kept, second != 0, p)
    compare(
        first,
        kept / (1 - p),
        on=f"for ones, in training with p = {p}",
        mistakes=[
            (kept, "A fifth of the sum is gone. Make up for it in training."),
            (kept / p, "How much of the sum is left, on average?"),
            ((1 - p) * kept, "What is kept becomes larger, not smaller."),
        ],
    )


def _drop_in_evaluation(answer: Answer, x: Tensor, p: float) -> None:
    """Nothing happens there."""
    paper = "The paper scales outputs down here; we scale them up in training instead."
    got = answer(x, p, False)
    left = got != 0 if getattr(got, "shape", None) == x.shape else 0
    compare(
        got,
        x,
        on="in evaluation",
        mistakes=[
            ((1 - p) * x, paper),
            (left * x / (1 - p), "Dropout is off here."),
        ],
    )


def _drop_mask(kept: Tensor, again: Tensor, p: float) -> None:
    """A share of `p` is zero, each activation by itself, and others in the next call.

    Raises: WrongAnswer if that is not so.
    """
    share = 1 - kept.float().mean().item()
    swapped = abs(share - (1 - p)) < 0.02
    training = f"in training with p = {p}"
    own = "Each activation is dropped or kept by itself: the mask has the shape of x."
    refuse(kept.all(), f"{training}, nothing is dropped", "What becomes zero?")
    refuse(
        (kept == kept[:1]).all(),
        f"{training}, the same units are dropped for all images",
        own,
    )
    refuse(
        (kept == kept[:, :1]).all(),
        f"{training}, all units of an image are dropped or none",
        own,
    )
    refuse(
        abs(share - p) > 0.02,
        f"{training}, {share:.0%} of the units are dropped",
        "p is the share that is dropped, not the one that is kept." if swapped else "",
    )
    refuse(
        torch.equal(kept, again),
        f"{training}, the same units are dropped in every call",
        "The mask is drawn anew each time: do not set the seed.",
    )


@exercise(
    "alexnet.merge",
    kind="implement",
    goal="write a grouped convolution as one with zeros",
    minutes=15,
    first_hint="Draw a table for two groups: which outputs depend on which inputs?",
)
def merge(answer: Answer) -> None:
    """Against the definition, with other numbers of inputs and of outputs."""
    for groups, outputs, inputs, size in ((2, 2, 3, 1), (2, 4, 2, 5), (3, 2, 2, 3)):
        weight = torch.randn(groups * outputs, inputs, size, size)
        want = weight.new_zeros(len(weight), groups * inputs, size, size)
        mixed = want.clone()
        for group in range(groups):
            rows = slice(group * outputs, (group + 1) * outputs)
            want[rows, group * inputs : (group + 1) * inputs] = weight[rows]
            mixed[rows, group::groups] = weight[rows]
        everyone = weight.repeat(1, groups, 1, 1)
        first_group = F.pad(weight, (0, 0, 0, 0, 0, inputs * (groups - 1)))
        own = "Every output depends on all groups; it should depend on its own alone."
        answer.expect(
            want,
            weight,
            groups,
            on=f"a weight of shape {tuple(weight.shape)} in {groups} groups",
            mistakes=[
                (everyone, own),
                (everyone / groups, own),
                (first_group, "Now all outputs depend on the first group."),
                (mixed, "The inputs of a group are adjacent."),
                (
                    want.roll(inputs, 1),
                    "The first outputs depend on the first inputs.",
                ),
            ],
        )


@exercise(
    "alexnet.front",
    kind="implement",
    goal="build a network from its description",
    minutes=15,
    first_hint="Begin with conv1 and what follows it: 227 pixels become 55, and then"
    " 27.",
)
def front(answer: Answer) -> None:
    """Against figure 2, with few channels."""
    channels = (4, 6, 8, 10, 12)
    net = _front(channels)
    same_function(
        answer(channels),
        net,
        torch.randn(1, 3, 227, 227),
        mistakes=_front_mistakes(channels, net),
    )


def _front_mistakes(channels: tuple[int, ...], net: nn.Sequential) -> Mistakes:
    grouped = "conv2, conv4 and conv5 are in two groups, the others are not."
    sides = "Convolutions keep the size of feature maps of 27 and of 13 pixels."
    relus = "Each of the five convolutions has a ReLU."
    return [
        (_front(channels, groups=(1, 1, 1, 1)), "Where are the two groups?"),
        (_front(channels, groups=(2, 2, 2, 2)), "conv3 is not in groups."),
        (_front(channels, groups=(2, 1, 1, 1)), grouped),
        (_front(channels, groups=(1, 1, 2, 2)), grouped),
        (_front(channels, groups=(2, 1, 1, 2)), grouped),
        (_front(channels, groups=(2, 1, 2, 1)), grouped),
        (_front(channels, pool_size=2), "The pooling overlaps: 3x3 with stride 2."),
        (_front(channels, first=2), "With 227 pixels, conv1 needs no padding."),
        (_front(channels, padding=(0, 1, 1, 1)), sides),
        (_front(channels, padding=(2, 0, 0, 0)), sides),
        (_front(channels, padding=(0, 0, 0, 0)), sides),
        (_front(channels, padding=(1, 1, 1, 1)), sides),
        (_front(channels, pooled=(1, 2)), "conv5 is followed by pooling, too."),
        *all_with(relus, without_each(net, nn.ReLU)),
    ]


def _front(
    channels: tuple[int, ...],
    *,
    groups: tuple[int, ...] = (2, 1, 2, 2),
    first: int = 0,
    padding: tuple[int, ...] = (2, 1, 1, 1),
    pooled: tuple[int, ...] = (1, 2, 5),
    pool_size: int = 3,
) -> nn.Sequential:
    """Convolutions and pooling; `first` is the padding of conv1, `groups` and `padding`
    are those of the others.
    """
    options = zip((5, 3, 3, 3), padding, groups, strict=True)
    convs = [nn.Conv2d(3, channels[0], 11, stride=4, padding=first)]
    for i, (size, pad, count) in enumerate(options, start=1):
        wide, out = channels[i - 1 : i + 1]
        convs.append(nn.Conv2d(wide, out, size, padding=pad, groups=count))
    net = nn.Sequential()
    for number, conv in enumerate(convs, start=1):
        net.extend([conv, nn.ReLU()])
        if number in pooled:
            net.append(nn.MaxPool2d(pool_size, stride=2))
    he_init(net)
    return net
