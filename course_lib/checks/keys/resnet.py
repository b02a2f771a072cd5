"""The exercises on ResNet."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import conv_bn
from course_lib.checks.compare import Mistakes, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import case
from course_lib.convolution import receptive_field
from course_lib.resnet import (
    Residual,
    ResNet,
    ZeroPad,
    basic_block,
    bottleneck,
    make_shortcut,
)
from course_lib.summary import count_parameters


@exercise(
    "resnet.depth",
    kind="implement",
    goal="read a net's depth off its table",
    minutes=5,
    first_hint="Multiply what there is in ResNet-34. Which two layers are missing?",
)
def depth(answer: Answer) -> None:
    """Against the names of Table 1 and of section 4.2, and for drawn nets."""
    cases = [
        ((3, 4, 6, 3), 2, 34),
        ((3, 4, 6, 3), 3, 50),
        ((3, 8, 36, 3), 3, 152),
        ((18, 18, 18), 2, 110),
    ]
    draw = random.Random()
    for _ in range(5):
        stages = tuple(draw.randint(2, 30) for _ in range(draw.randint(1, 5)))
        convolutions = draw.randint(2, 3)
        cases.append((stages, convolutions, 2 + convolutions * sum(stages)))
    both = "The stem has a convolution, and the head a full layer."
    projections = "A projection is on no way that goes through all layers."
    for blocks, each, want in cases:
        answer.expect(
            want,
            blocks,
            each,
            mistakes=[
                (want - 2, both),
                (want - 1, both),
                (want + len(blocks) - 1, projections),
                (want + len(blocks), projections),
                (2 + 2 * sum(blocks), "How many convolutions has a block?"),
                (2 + each * len(blocks), "A stage has more than one block."),
                (2 * want - 1, "A normalization is not counted as a layer."),
            ],
        )


@exercise(
    "resnet.bodies",
    kind="predict",
    goal="see where a bottleneck saves",
    minutes=10,
    first_hint="How many weights has one 3x3 convolution from 256 channels to 256?",
)
def bodies(answer: Answer) -> None:
    """Counted from the library's blocks."""
    with torch.device("meta"):
        basic = count_parameters(basic_block(256, 256, 1))
        narrow = count_parameters(bottleneck(1024, 256, 1))
        wide = count_parameters(basic_block(1024, 1024, 1))
    channels = (2 * 256, 2 * 256 + 1024, 2 * 1024)  # that are normalized

    def times(factor: int) -> tuple[int, ...]:
        """With `factor` parameters for each channel that is normalized."""
        return tuple(
            size + (factor - 2) * normalized
            for size, normalized in zip((basic, narrow, wide), channels, strict=True)
        )

    scale = "A normalization has a scale and a shift for each of its channels."
    answer.expect(
        (basic, narrow, wide),
        tolerance=0,
        mistakes=[
            (times(0), scale),
            (times(1), scale),
            (times(3), "Convolutions in front of a normalization have no bias."),
            (times(4), "Running averages are kept, but they are no parameters."),
            ((basic, narrow - 2 * 768, wide), "A bottleneck puts out 1024 channels."),
            ((basic, narrow + 16 * 1024 * 256, wide), "Only the middle one is a 3x3."),
            ((basic // 2, narrow, wide // 2), "There are two convolutions in a pair."),
            ((basic, narrow, 16 * basic), "Scales grow with the channels only."),
        ],
    )


#: Layers in a row, each a kernel size and a stride.
Way: TypeAlias = list[tuple[int, int]]


@exercise(
    "resnet.ways",
    kind="predict",
    goal="follow the receptive field through bodies and shortcuts",
    minutes=15,
    first_hint="How much does one 3x3 add, and how far apart are the units that it"
    " reads?",
)
def ways(answer: Answer) -> None:
    """By the library's function, on the layers of the nets."""
    bodies_34 = _layers(34, skipped="shortcut")
    bodies_50 = _layers(50, skipped="shortcut")
    shortcuts_34 = _layers(34, skipped="body")
    ways = [bodies_34, bodies_50, shortcuts_34]
    want = tuple(receptive_field(way)[0] for way in ways)
    answer.expect(want, tolerance=0, mistakes=_ways_mistakes(ways, want))


def _ways_mistakes(ways: list[Way], want: tuple[int, ...]) -> Mistakes:
    basic, bottlenecks, shortcuts = want
    first_strides = receptive_field(_layers(50, skipped="shortcut", stride_in="1x1"))[0]
    flat = tuple(1 + sum(size - 1 for size, _ in way) for way in ways)
    unpooled = tuple(receptive_field([way[0], *way[2:]])[0] for way in ways)
    return [
        (
            (basic, first_strides, shortcuts),
            "The 3x3 strides here, not the first 1x1.",
        ),
        (
            tuple(map(_widened_at_once, ways)),
            "A layer's own stride widens what comes after it.",
        ),
        (flat, "Behind a stride, units are further apart."),
        (unpooled, "What does the pooling add, and what does it skip?"),
        ((basic, bottlenecks, 7), "The pooling is in front of all blocks."),
        ((basic, bottlenecks, 1), "The stem has no shortcut."),
        (
            (basic, bottlenecks, 32),
            "A 1x1 with a stride skips pixels; it does not see them.",
        ),
        ((basic, basic, shortcuts), "A 1x1 sees no neighbors."),
    ]


def _layers(variant: int, *, skipped: str, stride_in: str = "3x3") -> Way:
    """The convolutions and poolings of a net, without those with `skipped` in their
    names.
    """
    with torch.device("meta"):
        net = ResNet(variant, stride_in=stride_in)
    return [
        (int(layer.kernel_size[0]), layer.stride[0])
        if isinstance(layer, nn.Conv2d)
        else (3, 2)
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and skipped not in name
    ]


def _widened_at_once(layers: Way) -> int:
    """The field if a layer's own stride widened what it sees itself."""
    width = 1
    step = 1
    for kernel_size, stride in layers:
        step *= stride
        width += (kernel_size - 1) * step
    return width


Join: TypeAlias = Callable[[nn.Sequential, Tensor], Tensor]


class _Joined(nn.Module):
    """A body of the paper's layers, and a way to use it."""

    def __init__(self, channels: int, join: Join) -> None:
        super().__init__()
        first = conv_bn(channels, channels, 3)
        second = conv_bn(channels, channels, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.body, x)


@exercise(
    "resnet.block",
    kind="repair",
    goal="put the ReLU where the paper has it",
    minutes=10,
    first_hint="Which signs can the numbers have that the body adds?",
)
def block(answer: Answer) -> None:
    """Against the paper's block; the mistakes have the same layers."""
    for channels in (2, 3):
        same_function(
            answer(channels),
            Residual(basic_block(channels, channels, 1)),
            torch.randn(2, channels, 5, 6),
            mistakes=[(_Joined(channels, join), hint) for join, hint in JOINS],
        )


#: Ways to put a block together that are not the paper's. Of a body f, f[0] and f[3] are
#: the convolutions, f[1] and f[4] their normalizations, and f[2] is the ReLU.
JOINS: list[tuple[Join, str]] = [
    (lambda f, x: F.relu(f(x)) + x, "What is never negative cannot take back."),
    (lambda f, x: F.relu(F.relu(f(x)) + x), "One ReLU too many: may a body subtract?"),
    (lambda f, x: f(x) + x, "A ReLU follows the addition."),
    (lambda f, x: F.relu(f(x)), "Where is the addition?"),
    (lambda f, x: F.relu(f[4](f[:4](x) + x)), "The sum itself is not normalized."),
    (lambda f, x: F.relu(f[3:](f[:2](x)) + x), "A body has a ReLU in its middle."),
    (
        lambda f, x: f[3](F.relu(f[4](f[0](F.relu(f[1](x)))))) + x,
        "That is the block of a later paper, with the ReLU in front.",
    ),
]


@exercise(
    "resnet.shortcut_a",
    kind="implement",
    goal="change shapes without a parameter",
    minutes=10,
    first_hint="Take the pixels first: which slice of the height and the width is it?",
)
def shortcut_a(answer: Answer) -> None:
    """Against the library's, for even and odd sides."""
    for shape, channels, stride in (
        ((2, 4, 6, 8), 8, 2),
        ((1, 3, 7, 5), 6, 2),
        ((2, 2, 4, 4), 5, 1),
        ((2, 3, 7, 8), 3, 3),
    ):
        x = torch.randn(shape)
        want = ZeroPad(channels - shape[1], stride)(x)
        answer.expect(
            want,
            x,
            channels,
            stride,
            mistakes=_shortcut_a_mistakes(x, want, stride),
        )


def _shortcut_a_mistakes(x: Tensor, want: Tensor, stride: int) -> Mistakes:
    channels = want.shape[1]
    new = channels - x.shape[1]
    kept = want[:, : x.shape[1]]
    copies = torch.cat([kept, kept, kept], dim=1)[:, :channels]
    averaged = "Every second pixel is taken as it is: nothing is averaged."
    ends = "The new channels come behind the old ones."
    return [
        (_padded(F.avg_pool2d(x, stride, ceil_mode=True), new), averaged),
        (_padded(F.avg_pool2d(x, stride), new), averaged),
        (
            _padded(F.max_pool2d(x, stride), new),
            "It is not the largest that counts.",
        ),
        (
            _padded(x[:, :, 1::stride, 1::stride], new),
            "Begin with the first pixel.",
        ),
        (_padded(x, new), "What does the stride do?"),
        (_padded(x[:, :, ::stride], new), "The width shrinks, too."),
        (_padded(kept, 0, before=new), ends),
        (_padded(kept, new - new // 2, before=new // 2), ends),
        (copies, "The new channels are zero, not copies."),
        (kept, "Where are the new channels?"),
    ]


def _padded(x: Tensor, behind: int, *, before: int = 0) -> Tensor:
    """With so many new channels of zeros."""
    return F.pad(x, (0, 0, 0, 0, before, behind))


@exercise(
    "resnet.changing",
    kind="repair",
    goal="change shapes on both ways alike",
    minutes=15,
    first_hint="When has what the body puts out another shape than x?",
)
def changing(answer: Answer) -> None:
    """Against the library's block, with every combination of changes."""
    for channels, out, stride in ((3, 5, 2), (4, 4, 2), (4, 4, 1), (3, 5, 1)):
        bare = nn.Conv2d(channels, out, 1, stride, bias=False)
        late = nn.Sequential(
            basic_block(channels, out, 1)[0], conv_bn(out, out, 3, stride)
        )
        mistakes = [
            (Residual(basic_block(channels, out, stride), shortcut), hint)
            for shortcut, hint in _wrong_shortcuts(bare, channels, out, stride)
        ]
        shortcut = make_shortcut("B", channels, out, stride)
        strides = "It is the first convolution of the body that strides."
        mistakes.append((Residual(late, shortcut), strides))
        want = Residual(basic_block(channels, out, stride), shortcut)
        named = f"with {channels} channels, then {out}, and stride {stride}, "
        with case(named, hint="What does the body do to height and width?"):
            same_function(
                answer(channels, out, stride),
                want,
                torch.randn(2, channels, 7, 6),
                mistakes=mistakes,
            )


def _wrong_shortcuts(
    bare: nn.Conv2d, channels: int, out: int, stride: int
) -> list[tuple[nn.Module, str]]:
    """`bare` is the projection without its normalization."""
    return [
        (
            conv_bn(channels, out, 1, stride),
            "Where no shape changes, nothing is projected.",
        ),
        (conv_bn(channels, out, 3, stride), "A projection is a 1x1."),
        (bare, "A projection is normalized, too."),
        (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out)),
            "A normalization follows: the projection needs no bias.",
        ),
        (
            nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), *conv_bn(channels, out, 1)
            ),
            "The 1x1 skips pixels itself; nothing is averaged.",
        ),
        (
            ZeroPad(out - channels, stride),
            "A new size is a new shape, and B projects there.",
        ),
    ]
