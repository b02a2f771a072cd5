"""The exercises on ResNet."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import conv_bn
from course_lib.checks.compare import Wrong, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.convolution import receptive_field
from course_lib.resnet import (
    Residual,
    ResNet,
    ZeroPad,
    basic_block,
    bottleneck,
    make_shortcut,
)


@exercise(
    "resnet.depth",
    kind="implement",
    goal="read a net's depth off its table",
    minutes=5,
    first="Multiply what there is in ResNet-34. Which two layers are missing?",
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
    for blocks, each, want in cases:
        both = "The stem has a convolution, and the head a full layer."
        projections = "A projection is on no way that goes through all layers."
        answer.gives(
            want,
            *(blocks, each),
            mistakes=[
                (want - 2, both),
                (want - 1, both),
                (want + len(blocks) - 1, projections),
                (want + len(blocks), projections),
                (2 + 2 * sum(blocks), "How many convolutions has a block?"),
                (2 + each * len(blocks), "A stage has more than one block."),
                (2 * want - 1, "A normalisation is not counted as a layer."),
            ],
        )


@exercise(
    "resnet.bodies",
    kind="predict",
    goal="see where a bottleneck saves",
    minutes=10,
    first="How many weights has one 3x3 convolution from 256 channels to 256?",
)
def bodies(answer: Answer) -> None:
    """Counted from the library's blocks."""
    with torch.device("meta"):
        nets = (
            basic_block(256, 256, 1),
            bottleneck(1024, 256, 1),
            basic_block(1024, 1024, 1),
        )
    basic, narrow, wide = (sum(p.numel() for p in net.parameters()) for net in nets)
    channels = (2 * 256, 2 * 256 + 1024, 2 * 1024)  # that are normalised
    weights = [n - 2 * c for n, c in zip((basic, narrow, wide), channels, strict=True)]

    def times(factor: int) -> tuple[int, ...]:
        return tuple(w + factor * c for w, c in zip(weights, channels, strict=True))

    scale = "A normalisation has a scale and a shift for each of its channels."
    answer.gives(
        times(2),
        tolerance=0,
        mistakes=[
            (times(0), scale),
            (times(1), scale),
            (times(3), "Convolutions in front of a normalisation have no bias."),
            (times(4), "Running averages are kept, but they are no parameters."),
            ((basic, narrow - 2 * 768, wide), "A bottleneck puts out 1024 channels."),
            ((basic, narrow + 16 * 1024 * 256, wide), "Only the middle one is a 3x3."),
            ((basic // 2, narrow, wide // 2), "There are two convolutions in a pair."),
            ((basic, narrow, 16 * basic), "Scales grow with the channels only."),
        ],
    )


@exercise(
    "resnet.ways",
    kind="predict",
    goal="follow the receptive field through bodies and shortcuts",
    minutes=15,
    first="How much does one 3x3 add, and how far apart are the units that it reads?",
)
def ways(answer: Answer) -> None:
    """By the library's function, on the layers of the nets."""

    def layers(
        variant: int, skipped: str, stride_in: str = "3x3"
    ) -> list[tuple[int, int]]:
        with torch.device("meta"):
            net = ResNet(variant, stride_in=stride_in)
        return [
            (int(m.kernel_size[0]), m.stride[0]) if isinstance(m, nn.Conv2d) else (3, 2)
            for name, m in net.named_modules()
            if isinstance(m, nn.Conv2d | nn.MaxPool2d) and skipped not in name
        ]

    def late(row: list[tuple[int, int]]) -> int:
        width, step = 1, 1
        for kernel_size, stride in row:
            step *= stride
            width += (kernel_size - 1) * step
        return width

    rows = layers(34, "shortcut"), layers(50, "shortcut"), layers(34, "body")
    want = tuple(receptive_field(row)[0] for row in rows)
    first = receptive_field(layers(50, "shortcut", "1x1"))[0]
    flat = tuple(1 + sum(k - 1 for k, _ in row) for row in rows)
    bare = tuple(receptive_field([row[0], *row[2:]])[0] for row in rows)
    answer.gives(
        want,
        tolerance=0,
        mistakes=[
            ((want[0], first, want[2]), "The 3x3 strides here, not the first 1x1."),
            (
                tuple(map(late, rows)),
                "A layer's own stride widens what comes after it.",
            ),
            (flat, "Behind a stride, units are further apart."),
            (bare, "What does the pooling add, and what does it skip?"),
            ((*want[:2], 7), "The pooling is in front of all blocks."),
            ((*want[:2], 1), "The stem has no shortcut."),
            (
                (*want[:2], 32),
                "A 1x1 with a stride skips pixels; it does not see them.",
            ),
            ((want[0], want[0], want[2]), "A 1x1 sees no neighbours."),
        ],
    )


Join: TypeAlias = Callable[[nn.Sequential, Tensor], Tensor]


class _Joined(nn.Module):
    """A body of the paper's layers, and a way to use it."""

    def __init__(self, channels: int, join: Join) -> None:
        super().__init__()
        first, second = conv_bn(channels, channels, 3), conv_bn(channels, channels, 3)
        self.body, self.join = nn.Sequential(*first, nn.ReLU(), *second), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.body, x)


@exercise(
    "resnet.block",
    kind="repair",
    goal="put the ReLU where the paper has it",
    minutes=10,
    first="Which signs can the numbers have that the body adds?",
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
#: the convolutions, f[1] and f[4] their normalisations, and f[2] is the ReLU.
JOINS: list[tuple[Join, str]] = [
    (lambda f, x: F.relu(f(x)) + x, "What is never negative cannot take back."),
    (lambda f, x: F.relu(F.relu(f(x)) + x), "One ReLU too many: may a body subtract?"),
    (lambda f, x: f(x) + x, "A ReLU follows the addition."),
    (lambda f, x: F.relu(f(x)), "Where is the addition?"),
    (lambda f, x: F.relu(f[4](f[:4](x) + x)), "The sum itself is not normalised."),
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
    first="Take the pixels first: which slice of the height and the width is it?",
)
def shortcut_a(answer: Answer) -> None:
    """Against the library's, for even and odd sides."""
    for shape, channels, stride in (
        ((2, 4, 6, 8), 8, 2),
        ((1, 3, 7, 5), 6, 2),
        ((2, 2, 4, 4), 5, 1),
        ((2, 3, 7, 8), 3, 3),
    ):
        x, new = torch.randn(shape), channels - shape[1]
        want = ZeroPad(new, stride)(x)
        kept = want[:, : shape[1]]
        copies = torch.cat([kept, kept, kept], dim=1)[:, :channels]
        pooled = "Every second pixel is taken as it is: nothing is averaged."
        ends = "The new channels come behind the old ones."
        answer.gives(
            want,
            *(x, channels, stride),
            mistakes=[
                (_pad(F.avg_pool2d(x, stride, ceil_mode=True), new), pooled),
                (_pad(F.avg_pool2d(x, stride), new), pooled),
                (
                    _pad(F.max_pool2d(x, stride), new),
                    "It is not the largest that counts.",
                ),
                (
                    _pad(x[:, :, 1::stride, 1::stride], new),
                    "Begin with the first pixel.",
                ),
                (_pad(x, new), "What does the stride do?"),
                (_pad(x[:, :, ::stride], new), "The width shrinks, too."),
                (F.pad(kept, (0, 0, 0, 0, new, 0)), ends),
                (F.pad(kept, (0, 0, 0, 0, new // 2, new - new // 2)), ends),
                (copies, "The new channels are zero, not copies."),
                (kept, "Where are the new channels?"),
            ],
        )


def _pad(x: Tensor, channels: int) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, channels))


@exercise(
    "resnet.changing",
    kind="repair",
    goal="change shapes on both ways alike",
    minutes=15,
    first="When has what the body puts out another shape than x?",
)
def changing(answer: Answer) -> None:
    """Against the library's block, with every combination of changes."""
    for c, d, stride in ((3, 5, 2), (4, 4, 2), (4, 4, 1), (3, 5, 1)):
        one = nn.Conv2d(c, d, 1, stride, bias=False)
        late = nn.Sequential(basic_block(c, d, 1)[0], conv_bn(d, d, 3, stride))
        ways = [
            (conv_bn(c, d, 1, stride), "Where no shape changes, nothing is projected."),
            (conv_bn(c, d, 3, stride), "A projection is a 1x1."),
            (one, "A projection is normalised, too."),
            (
                nn.Sequential(nn.Conv2d(c, d, 1, stride), nn.BatchNorm2d(d)),
                "A normalisation follows: the projection needs no bias.",
            ),
            (
                nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), *conv_bn(c, d, 1)),
                "The 1x1 skips pixels itself; nothing is averaged.",
            ),
            (
                ZeroPad(d - c, stride),
                "A new size is a new shape, and B projects there.",
            ),
        ]
        mistakes = [
            (Residual(basic_block(c, d, stride), way), hint) for way, hint in ways
        ]
        shortcut = make_shortcut("B", c, d, stride)
        hint = "It is the first convolution of the body that strides."
        mistakes.append((Residual(late, shortcut), hint))
        want = Residual(basic_block(c, d, stride), shortcut)
        try:
            same_function(
                answer(c, d, stride), want, torch.randn(2, c, 7, 6), mistakes=mistakes
            )
        except Wrong as wrong:
            hint = wrong.hint or "What does the body do to height and width?"
            call = f"with {c} channels, then {d}, and stride {stride}"
            raise Wrong(f"{call}, {wrong.message}", hint) from None
