"""The exercises on GoogLeNet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import case
from course_lib.convolution import receptive_field
from course_lib.googlenet import TABLE_1, Inception, InceptionChannels, Outputs

#: The channels of an Inception module, in the order of Table 1: 1x1, 3x3 reduce, 3x3,
#: 5x5 reduce, 5x5, pool proj. Its convolutions are numbered in this order, from 0.
Widths: TypeAlias = Sequence[int]

#: Options of `_Branches`: what is wrong with it.
Change: TypeAlias = dict[str, Any]


class _Branches(nn.Module):
    """An Inception module that may have mistakes: `linear` are the convolutions that
    lack their ReLU, `tight` is what the padding of the largest kernel lacks.
    """

    def __init__(
        self,
        channels: int,
        widths: Widths,
        *,
        linear: Sequence[int] = (),
        large: int = 5,
        tight: int = 0,
        reduce: bool = True,
        project: bool = True,
        pool: type[nn.MaxPool2d | nn.AvgPool2d] = nn.MaxPool2d,
        order: Sequence[int] = range(4),
    ) -> None:
        super().__init__()

        def conv(number: int, before: int, size: int = 1) -> list[nn.Module]:
            padding = size // 2 - (tight if number == 4 else 0)
            layer = nn.Conv2d(before, widths[number], size, padding=padding)
            return [layer] if number in linear else [layer, nn.ReLU()]

        def reduced(number: int, size: int) -> list[nn.Module]:
            if not reduce:
                return conv(number, channels, size)
            return [
                *conv(number - 1, channels),
                *conv(number, widths[number - 1], size),
            ]

        pooled: list[nn.Module] = [pool(3, 1, padding=1)]
        if project:
            pooled += conv(5, channels)
        branches = [conv(0, channels), reduced(2, 3), reduced(4, large), pooled]
        self.branches = nn.ModuleList(nn.Sequential(*branches[i]) for i in order)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the outputs of the branches."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Asked(NamedTuple):
    """One of the numbers that a prediction consists of."""

    name: str
    number: int
    mistakes: list[tuple[int, str]]


def _each(answer: Answer, asked: list[Asked]) -> None:
    """Check the numbers of a prediction one by one.

    Raises: WrongAnswer if one is not right.
    """
    got = answer()
    want = tuple(each.number for each in asked)
    if not isinstance(got, tuple | list) or len(got) != len(want):
        compare(got, want, secret=True)
    for came, (name, number, mistakes) in zip(got, asked, strict=True):
        with case(f"{name}: "):
            compare(came, number, secret=True, mistakes=mistakes, tolerance=0)


@exercise(
    "googlenet.third_branch",
    kind="repair",
    goal="find a mistake that no shape shows",
    minutes=5,
    first_hint="Put the code beside figure 2(b), layer by layer.",
)
def third_branch(answer: Answer) -> None:
    """Against the branch of a module."""
    large = "What is its largest kernel size, and what is the paper's?"
    relus = "Keep both ReLUs."
    changes: list[tuple[Change, str]] = [
        ({"large": 3}, large),
        ({"large": 7}, large),
        ({"tight": 1}, "A larger kernel needs more padding."),
        ({"reduce": False}, "The 1x1 makes a large kernel affordable: keep it."),
        ({"linear": (3,)}, relus),
        ({"linear": (4,)}, relus),
        ({"linear": (3, 4)}, relus),
    ]
    for channels, reduced, out in ((6, 2, 3), (4, 3, 5)):
        widths = (1, 1, 1, reduced, out, 1)
        x = torch.randn(2, channels, 9, 8)
        want = _Branches(channels, widths).branches[2]
        mistakes = [
            (_Branches(channels, widths, **change).branches[2], hint)
            for change, hint in changes
        ]
        same_function(answer(channels, reduced, out), want, x, mistakes=mistakes)


@exercise(
    "googlenet.cost_of_4a",
    kind="predict",
    goal="see what a 1x1 convolution saves, twice",
    minutes=10,
    first_hint="List the six convolutions: the kernel size, and the input and output"
    " channels of each.",
)
def cost_of_4a(answer: Answer) -> None:
    """Counted from the library's module."""
    with torch.device("meta"):
        module = Inception(480, TABLE_1["4a"])
        bare = [nn.Conv2d(480, out, k) for out, k in ((192, 1), (208, 3), (48, 5))]
    weights = [
        layer.weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    naive = sum(conv.weight.numel() for conv in bare)
    channels = sum(conv.out_channels for conv in bare)
    _each(
        answer,
        [
            Asked(
                "the weights of the module as it is",
                sum(weights),
                _weights_mistakes(*weights),
            ),
            Asked(
                "its MACs",
                sum(weights) * 14**2,
                _macs_mistakes(sum(weights)),
            ),
            Asked(
                "the weights without reductions and projection",
                naive,
                _naive_mistakes(naive, *weights),
            ),
            Asked(
                "its output channels then",
                channels + 480,
                [
                    (channels + 64, "What reduces the pooled channels now?"),
                    (channels, "The max pooling is a branch, too."),
                ],
            ),
        ],
    )


def _weights_mistakes(
    one: int, reduce_3: int, three: int, reduce_5: int, five: int, project: int
) -> list[tuple[int, str]]:
    """Of the weights of the six convolutions."""
    count = one + reduce_3 + three + reduce_5 + five + project
    biases = sum(TABLE_1["4a"])
    reduce = reduce_3 + reduce_5
    ones = "All 1x1 convolutions have weights, too."
    return [
        (count + biases, "Leave the biases out."),
        (count - project, "What follows the max pooling?"),
        (count - reduce, ones),
        (count - reduce - project, ones),
        (three + five, ones),
    ]


def _macs_mistakes(weights: int) -> list[tuple[int, str]]:
    positions = "A weight is used at every position."
    return [
        (weights, positions),
        (weights * 14, positions),
        (weights * 12**2, "With padding, a kernel fits at each pixel."),
        (weights * 14**2 * 2, "A MAC is one multiplication and one addition."),
    ]


def _naive_mistakes(
    naive: int,
    one: int,
    reduce_3: int,
    three: int,
    reduce_5: int,
    five: int,
    project: int,
) -> list[tuple[int, str]]:
    return [
        (naive + project, "The projection is gone, too."),
        (naive + reduce_3 + reduce_5, "The reductions are gone, too."),
        (one + three + five, "Now every kernel has all 480 input channels."),
    ]


@exercise(
    "googlenet.near_and_far",
    kind="predict",
    goal="follow the receptive field along two paths through one network",
    minutes=10,
    first_hint="How wide is the receptive field of a unit in the input of 3a, and how"
    " many pixels apart are those of two neighbors?",
)
def near_and_far(answer: Answer) -> None:
    """By the library's `receptive_field`."""
    _each(
        answer,
        [
            Asked(
                f"{last}, {size} receptive field",
                _field(kernel, last),
                [
                    (_field(kernel, last, strides=False), "What did the strides do?"),
                    (_field(kernel, last, pool=1), "Pooling has a kernel size, too."),
                    (_field(kernel, last, pool=2), "The pooling layers are 3x3."),
                    (_field(3, last), "The two paths lead through 1x1 or through 5x5."),
                    (_field(6 - kernel, last), "Which path has the smaller field?"),
                    (224, "Count as if the image had no borders."),
                ],
            )
            for last in ("3a", "5b")
            for size, kernel in (("smallest", 1), ("largest", 5))
        ],
    )


def _field(kernel: int, last: str, *, strides: bool = True, pool: int = 3) -> int:
    """Of the path through one kernel of each module, up to the last."""
    layers = [(7, 2), (3, 2), (1, 1), (3, 1), (3, 2)]
    modules = list(TABLE_1)
    for name in modules[: modules.index(last) + 1]:
        if name in ("4a", "5a"):
            layers.append((pool, 2))
        layers.append((kernel, 1))
    return receptive_field([(k, s if strides else 1) for k, s in layers])[0]


class _Heads(nn.Module):
    """Three classifiers; in evaluation mode, one. An answer gets the first copy."""

    def __init__(self, modes: list[bool], copies: list[_Heads]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 5) for _ in range(3))
        self.modes = modes
        self.copies = copies

    def __deepcopy__(self, memo: dict[int, Any]) -> _Heads:
        self.copies.append(_Heads(self.modes, self.copies).train(self.training))
        self.copies[-1].load_state_dict(self.state_dict())
        return self.copies[-1]

    def forward(self, x: Tensor) -> Any:
        self.modes.append(self.training)
        logits = [layer(x.flatten(1)) for layer in self.layers]
        return Outputs(*logits) if self.training else logits[0]


@exercise(
    "googlenet.loss_with_heads",
    kind="repair",
    goal="add losses where losses are to be added, and only in training",
    minutes=10,
    first_hint="In which of the two modes does the first line work?",
)
def loss_with_heads(answer: Answer) -> None:
    """With a network of three linear classifiers, in both modes."""
    for training in (True, False):
        net = _Heads([], [])
        mode = "training" if training else "evaluation"
        x, y = _batch_that_tells_heads_apart(net)
        logits, aux2, aux1 = net(x)
        own, two, one = (F.cross_entropy(each, y) for each in (logits, aux2, aux1))
        mixed = F.cross_entropy(logits + 0.3 * (aux2 + aux1), y)
        net.modes.clear()
        got = answer(net.train(training), x, y)
        compare(
            got,
            own + 0.3 * (one + two) if training else own,
            on=f"in {mode} mode",
            mistakes=[
                (mixed, "Add losses, not logits: each classifier has its own loss."),
                *_loss_mistakes(own, two, one),
            ],
        )
        if not got.requires_grad:
            raise WrongAnswer(
                "the loss has no gradient", "What detached it from the network?"
            )
        if set(net.modes) != {training} or net.copies[0].training != training:
            raise WrongAnswer(
                f"it does not leave the network in {mode} mode",
                "`net.training` says which mode it is in.",
            )


def _batch_that_tells_heads_apart(net: _Heads) -> tuple[Tensor, Tensor]:
    """Images and labels for which the heads have different losses: otherwise mistakes
    would look alike.
    """
    two = one = torch.zeros(())
    while abs(one - two) < 0.1:
        x = torch.randn(6, 3, 2, 2)
        y = torch.randint(5, (6,))
        _, two, one = (F.cross_entropy(logits, y) for logits in net(x))
    return x, y


def _loss_mistakes(own: Tensor, two: Tensor, one: Tensor) -> Mistakes:
    weight = "What is the weight of a head's loss?"
    heads = "There are two heads."
    return [
        (own, "In training, the losses of the heads are added."),
        (
            own + 0.3 * (one + two),
            "In evaluation mode, only the network's own loss counts.",
        ),
        (own + one + two, weight),
        ((own + one + two) / 3, weight),
        (own + 0.15 * (one + two), "Each head has the weight 0.3, not both together."),
        (own + 0.3 * one, heads),
        (own + 0.3 * two, heads),
        (0.3 * (own + one + two), "The loss of the network itself has the weight 1."),
    ]


@exercise(
    "googlenet.most_between",
    kind="implement",
    goal="know when two small kernels are cheaper than a large one",
    minutes=10,
    first_hint="How many weights do two 3x3 have with m channels between them?",
)
def most_between(answer: Answer) -> None:
    """By trying every number, on channels of Table 1 and on random ones."""
    cases = [(16, 32), (18, 18), (48, 128), (1, 1)]
    cases += [(random.randint(2, 64), random.randint(2, 64)) for _ in range(10)]
    for before, after in cases:
        large = 25 * before * after  # weights of a 5x5
        each = 9 * (before + after)  # weights of two 3x3 for a channel between them
        most = max(m for m in range(3 * before + 1) if m * each < large)
        answer.expect(
            most,
            before,
            after,
            on=f"{before} channels in and {after} out",
            mistakes=[
                (large // each, "With just as many weights, nothing is saved."),
                (large / each, "A number of channels is a whole number."),
                (most + 1, "With so many between, two 3x3 have more weights."),
                *_most_between_mistakes(before, after),
            ],
        )


def _most_between_mistakes(before: int, after: int) -> Mistakes:
    large = 25 * before * after
    equal = "That is so where input and output have equally many channels."
    both = "The weights of both 3x3 depend on the channels between them."
    return [
        (25 * before // 18, equal),
        (25 * after // 18, equal),
        (large // (9 * before), both),
        (large // (9 * after), both),
        (
            5 * before * after // (3 * (before + after)),
            "A 5x5 kernel has 25 weights per input channel, a 3x3 has 9.",
        ),
    ]


@exercise(
    "googlenet.inception",
    kind="implement",
    goal="build a block that forks and joins",
    minutes=20,
    first_hint="Write one branch after the other; each keeps height and width. Then"
    " concatenate.",
)
def inception(answer: Answer) -> None:
    """Against the library's module, with channels that are all different."""
    for channels, widths in ((5, (2, 3, 4, 6, 7, 8)), (3, (9, 8, 7, 4, 6, 5))):
        want = Inception(channels, InceptionChannels(*widths))
        x = torch.randn(2, channels, 6, 7)
        mistakes = [
            (_Branches(channels, widths, **change), hint)
            for change, hint in _inception_changes()
        ]
        try:
            same_function(answer(channels, widths), want, x, mistakes=mistakes)
        except WrongAnswer as wrong:
            hint = wrong.hint
            if "cannot take" in wrong.message or "expected shape" in wrong.message:
                hint = "Each branch keeps height and width; concatenate channels."
            elif "values" in wrong.message and not hint:
                hint = "The second index is a channel: of which branch?"
            raise WrongAnswer(wrong.message, hint) from None


def _inception_changes() -> list[tuple[Change, str]]:
    ones = "Where are the 1x1 before the large kernels and after the pooling?"
    relu = "Each of the six convolutions is followed by a ReLU."
    order = "Concatenate in the order of Table 1: 1x1, 3x3, 5x5, pooling."
    return [
        ({"pool": nn.AvgPool2d}, "Use max pooling, not average pooling."),
        ({"large": 3}, "One of the kernels is 5x5."),
        ({"reduce": False}, ones),
        ({"project": False}, ones),
        ({"reduce": False, "project": False}, ones),
        ({"linear": (1, 3)}, relu),
        ({"linear": (0, 2, 4, 5)}, relu),
        ({"linear": (5,)}, relu),
        ({"linear": range(6)}, relu),
        *(({"order": each}, order) for each in permutations(range(4))),
    ]
