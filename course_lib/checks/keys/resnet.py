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
    goal="compute a network's depth from its table",
    minutes=5,
    first_hint="Count the convolutions of ResNet-34's blocks. What is missing?",
)
def depth(answer: Answer) -> None:
    """Against the names of Table 1 and of section 4.2, and for random networks."""
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
    both = "The stem has a convolution, and the head a fully connected layer."
    projections = "Projections are not counted: they lie beside the layers."
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
                (2 + 2 * sum(blocks), "How many convolutions does a block have?"),
                (2 + each * len(blocks), "A stage has more than one block."),
                (2 * want - 1, "A normalization is not counted as a layer."),
            ],
        )


@exercise(
    "resnet.branch_parameters",
    kind="predict",
    goal="count where a bottleneck saves parameters",
    minutes=10,
    first_hint="How many weights does a 3x3 convolution from 256 to 256 channels have?",
)
def branch_parameters(answer: Answer) -> None:
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
            (times(4), "Running averages are buffers, not parameters."),
            ((basic, narrow - 2 * 768, wide), "A bottleneck has 1024 output channels."),
            ((basic, narrow + 16 * 1024 * 256, wide), "Only the middle one is a 3x3."),
            ((basic // 2, narrow, wide // 2), "There are two convolutions in a pair."),
            (
                (basic, narrow, 16 * basic),
                "A normalization has 2C parameters, a 3x3 has 9C^2.",
            ),
        ],
    )


#: The layers along a path, each a kernel size and a stride.
Path: TypeAlias = list[tuple[int, int]]


@exercise(
    "resnet.receptive_fields",
    kind="predict",
    goal="compute receptive fields along residual branches and along shortcuts",
    minutes=15,
    first_hint="How much does one 3x3 add, and how many pixels lie between its inputs?",
)
def receptive_fields(answer: Answer) -> None:
    """By the library's function, on the layers of the networks."""
    branches_34 = _layers(34, skipped="shortcut")
    branches_50 = _layers(50, skipped="shortcut")
    shortcuts_34 = _layers(34, skipped="body")
    paths = [branches_34, branches_50, shortcuts_34]
    want = tuple(receptive_field(path)[0] for path in paths)
    answer.expect(want, tolerance=0, mistakes=_receptive_fields_mistakes(paths, want))


def _receptive_fields_mistakes(paths: list[Path], want: tuple[int, ...]) -> Mistakes:
    basic, bottlenecks, shortcuts = want
    first_strides = receptive_field(_layers(50, skipped="shortcut", stride_in="1x1"))[0]
    flat = tuple(1 + sum(size - 1 for size, _ in path) for path in paths)
    unpooled = tuple(receptive_field([path[0], *path[2:]])[0] for path in paths)
    return [
        (
            (basic, first_strides, shortcuts),
            "The stride is in the 3x3 here, not in the first 1x1.",
        ),
        (
            tuple(map(_widened_at_once, paths)),
            "A layer's own stride has an effect on the layers after it only.",
        ),
        (flat, "After a stride, neighboring units are more pixels apart."),
        (unpooled, "What does the pooling add, and what does its stride do?"),
        (
            (basic, bottlenecks, 7),
            "The pooling comes before all blocks, on every path.",
        ),
        (
            (basic, bottlenecks, 1),
            "The stem has no shortcut: its layers are on every path.",
        ),
        (
            (basic, bottlenecks, 32),
            "A 1x1 with a stride does not depend on the pixels that it skips.",
        ),
        (
            (basic, basic, shortcuts),
            "A 1x1 adds nothing: it depends on one position only.",
        ),
    ]


def _layers(variant: int, *, skipped: str, stride_in: str = "3x3") -> Path:
    """The convolutions and poolings of a network, without those with `skipped` in their
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


def _widened_at_once(layers: Path) -> int:
    """The receptive field if a layer's own stride already counted for the layer."""
    width = 1
    step = 1
    for kernel_size, stride in layers:
        step *= stride
        width += (kernel_size - 1) * step
    return width


Join: TypeAlias = Callable[[nn.Sequential, Tensor], Tensor]


class _Joined(nn.Module):
    """A residual branch of the paper's layers, and how it is joined with x."""

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
    first_hint="Which signs can the values have that the residual branch adds?",
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


#: Blocks that are not the paper's. Of a residual branch f, f[0] and f[3] are the
#: convolutions, f[1] and f[4] their normalizations, and f[2] is the ReLU.
JOINS: list[tuple[Join, str]] = [
    (lambda f, x: F.relu(f(x)) + x, "A branch that is never negative cannot subtract."),
    (
        lambda f, x: F.relu(F.relu(f(x)) + x),
        "One ReLU too many: can the branch subtract?",
    ),
    (lambda f, x: f(x) + x, "A ReLU follows the addition."),
    (lambda f, x: F.relu(f(x)), "Where is the addition?"),
    (lambda f, x: F.relu(f[4](f[:4](x) + x)), "The sum itself is not normalized."),
    (
        lambda f, x: F.relu(f[3:](f[:2](x)) + x),
        "There is a ReLU between the two convolutions.",
    ),
    (
        lambda f, x: f[3](F.relu(f[4](f[0](F.relu(f[1](x)))))) + x,
        "That is the pre-activation block of a later paper.",
    ),
]


@exercise(
    "resnet.shortcut_a",
    kind="implement",
    goal="change a shape without parameters",
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
    old = want[:, : x.shape[1]]
    copies = torch.cat([old, old, old], dim=1)[:, :channels]
    averaged = "Every second pixel is taken as it is: nothing is averaged."
    ends = "The new channels come after the old ones."
    return [
        (_padded(F.avg_pool2d(x, stride, ceil_mode=True), new), averaged),
        (_padded(F.avg_pool2d(x, stride), new), averaged),
        (
            _padded(F.max_pool2d(x, stride), new),
            "Every second pixel is taken: there is no max pooling.",
        ),
        (
            _padded(x[:, :, 1::stride, 1::stride], new),
            "Begin with the first pixel.",
        ),
        (_padded(x, new), "What does the stride do?"),
        (_padded(x[:, :, ::stride], new), "The stride is for the width, too."),
        (_padded(old, 0, before=new), ends),
        (_padded(old, new - new // 2, before=new // 2), ends),
        (copies, "The new channels are zero, not copies."),
        (old, "Where are the new channels?"),
    ]


def _padded(x: Tensor, behind: int, *, before: int = 0) -> Tensor:
    """`x` with that many channels of zeros after it, and before it."""
    return F.pad(x, (0, 0, 0, 0, before, behind))


@exercise(
    "resnet.changing",
    kind="repair",
    goal="make both branches change the shape in the same way",
    minutes=15,
    first_hint="In which cases does the output of the residual branch have another"
    " shape than x?",
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
        strides = "The stride is in the first convolution of the residual branch."
        mistakes.append((Residual(late, shortcut), strides))
        want = Residual(basic_block(channels, out, stride), shortcut)
        named = f"with {channels} channels, then {out}, and stride {stride}, "
        with case(named, hint="What does the residual branch do to height and width?"):
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
            "Where the shape stays the same, B is the identity.",
        ),
        (conv_bn(channels, out, 3, stride), "A projection is a 1x1 convolution."),
        (bare, "A projection is normalized, too."),
        (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out)),
            "A normalization follows: the projection needs no bias.",
        ),
        (
            nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), *conv_bn(channels, out, 1)
            ),
            "The 1x1 has the stride; nothing is averaged.",
        ),
        (
            ZeroPad(out - channels, stride),
            "Another size is another shape, and B projects there.",
        ),
    ]
