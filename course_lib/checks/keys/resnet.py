"""The exercises on ResNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import conv_bn
from course_lib.checks.compare import Mistakes, WrongAnswer, name_of
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.played import counted
from course_lib.checks.shared import refuse
from course_lib.convolution import receptive_field
from course_lib.resnet import (
    Residual,
    ZeroPad,
    basic_block,
    bottleneck,
    make_shortcut,
)
from course_lib.summary import count_parameters


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
    """By the library's function, on the layers along each path."""
    answer.expect(_fields(), tolerance=0, mistakes=_receptive_fields_mistakes())


def _receptive_fields_mistakes() -> Mistakes:
    """Mistakes made on all three paths, and each of them on one path alone."""
    want = _fields()
    pooling = "The pooling comes before all blocks, on every path."
    skipped = "A 1x1 with a stride does not depend on the pixels that it skips."
    everywhere = _systematic_mistakes(want)
    single = [
        (tuple(want[:i] + wrong[i : i + 1] + want[i + 1 :]), hint)
        for wrong, hint in everywhere
        for i in range(3)
        if wrong[i] != want[i]
    ]
    return [
        ((*want[:2], 7), pooling),
        ((*want[:2], 9), "The pooling comes after a stride of 2."),
        ((*want[:2], 1), "The stem has no shortcut: its layers are on every path."),
        ((*want[:2], 32), skipped),
        ((*want[:2], 43), skipped),
        *everywhere,
        *single,
    ]


def _systematic_mistakes(want: tuple[int, ...]) -> list[tuple[tuple[int, ...], str]]:
    """What is found with wrong strides, and by wrong rules."""
    where = "The stride is in the first of the 3x3s"
    return [
        (_fields(at=(0, 0, 0)), f"{where}, not in the first 1x1."),
        (_fields(at=(1, 2, 0)), f"{where}, not in the layer after it."),
        (_fields(at=(None, None, None)), "From the second stage on, what is halved?"),
        (
            _fields(first_strided=0),
            "The blocks of the first stage have no stride: the pooling was before.",
        ),
        (
            _fields(measure=_pooled_by_stride),
            "What does the kernel of the pooling add, besides its stride?",
        ),
        (
            _fields(measure=_widened_at_once),
            "A layer's own stride has an effect on the layers after it only.",
        ),
        (
            _fields(measure=_flat),
            "After a stride, neighboring units are more pixels apart.",
        ),
        (
            _fields(measure=_unpooled),
            "What does the pooling add, and what does its stride do?",
        ),
        (
            (want[0], want[0], want[2]),
            "A 1x1 adds nothing: it depends on one position only.",
        ),
    ]


def _fields(
    measure: Callable[[Path], int] = lambda path: receptive_field(path)[0],
    at: tuple[int | None, ...] = (0, 1, 0),
    first_strided: int = 1,
) -> tuple[int, ...]:
    """Receptive fields along the basic blocks, the bottlenecks, and the shortcuts, with
    the strides `at` these layers of a block, from the stage `first_strided` on.
    """
    kernels = ((3, 3), (1, 3, 1), (1,))
    return tuple(
        measure(_path(sizes, strided, first_strided))
        for sizes, strided in zip(kernels, at, strict=True)
    )


def _path(kernels: tuple[int, ...], strided: int | None, first_strided: int) -> Path:
    """The layers of the stem, and those of all blocks."""
    layers = [(7, 2), (3, 2)]
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            begins = block == 0 and stage >= first_strided
            for index, size in enumerate(kernels):
                stride = 2 if begins and index == strided else 1
                layers.append((size, stride))
    return layers


def _flat(path: Path) -> int:
    """The receptive field as if there were no strides."""
    return 1 + sum(size - 1 for size, _ in path)


def _pooled_by_stride(path: Path) -> int:
    """The receptive field as if the second layer had a kernel of one pixel."""
    return receptive_field([path[0], (1, 2), *path[2:]])[0]


def _unpooled(path: Path) -> int:
    """The receptive field without the second layer."""
    return receptive_field([path[0], *path[2:]])[0]


def _widened_at_once(layers: Path) -> int:
    """The receptive field if a layer's own stride already counted for the layer."""
    width = 1
    step = 1
    for kernel_size, stride in layers:
        step *= stride
        width += (kernel_size - 1) * step
    return width


#: A residual branch, its input, and the output of the shortcut.
Join: TypeAlias = Callable[[nn.Sequential, Tensor, Tensor], Tensor]


class _Joined(nn.Module):
    """A residual branch of the paper's layers, and how it is joined with a shortcut."""

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        join: Join,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        first = conv_bn(channels, out, 3, stride)
        second = conv_bn(out, out, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.shortcut = shortcut or nn.Identity()
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.body, x, self.shortcut(x))


@exercise(
    "resnet.block",
    kind="repair",
    goal="put the ReLU where the paper has it",
    minutes=10,
    first_hint="Which signs can the values have that the residual branch adds?",
    banned=("course_lib.resnet.Residual",),
    instead="Write the block with PyTorch's layers.",
)
def block(answer: Answer) -> None:
    """Against the paper's block; the mistakes have the same layers, or others."""
    for channels in (2, 3):
        joined = [(_Joined(channels, channels, 1, join), hint) for join, hint in JOINS]
        same_function(
            answer(channels),
            Residual(basic_block(channels, channels, 1)),
            torch.randn(2, channels, 5, 6),
            mistakes=[*joined, *_other_layers(channels)],
        )


#: Blocks that are not the paper's. Of a residual branch f, f[0] and f[3] are the
#: convolutions, f[1] and f[4] their normalizations, and f[2] is the ReLU; s is the
#: output of the shortcut.
JOINS: list[tuple[Join, str]] = [
    (
        lambda f, x, s: F.relu(f(x)) + s,
        "A branch that is never negative cannot subtract.",
    ),
    (
        lambda f, x, s: F.relu(F.relu(f(x)) + s),
        "One ReLU too many: can the branch subtract?",
    ),
    (lambda f, x, s: f(x) + s, "A ReLU follows the addition."),
    (lambda f, x, s: F.relu(f(x) + 0 * s), "Where is the addition?"),
    (lambda f, x, s: F.relu(f(x) + 2 * s), "The shortcut is added once."),
    (
        lambda f, x, s: F.relu(f[4](f[:4](x) + s)),
        "The sum itself is not normalized.",
    ),
    (
        lambda f, x, s: F.relu(f[3:](f[:2](x)) + s),
        "There is a ReLU between the two convolutions.",
    ),
    (
        lambda f, x, s: F.relu(f[4](f[0](F.relu(f[1](f[0](x))))) + s),
        "Each of the two convolutions has weights of its own.",
    ),
    (
        lambda f, x, s: f[3](F.relu(f[4](f[0](F.relu(f[1](x)))))) + s,
        "That is the pre-activation block of a later paper.",
    ),
]


def _other_layers(channels: int) -> list[tuple[nn.Module, str]]:
    """Layers of blocks with more or fewer parameters."""

    def layers(*biases: bool, norms: int) -> nn.Module:
        convs = (nn.Conv2d(channels, channels, 3, bias=bias) for bias in biases)
        return nn.ModuleList(
            [*convs, *(nn.BatchNorm2d(channels) for _ in range(norms))]
        )

    bias = "A normalization follows: the convolutions need no bias."
    both = "Two convolutions, and behind each of them a normalization of its own."
    projection = conv_bn(channels, channels, 1)
    return [
        (layers(True, True, norms=2), bias),
        (layers(True, False, norms=2), bias),
        (layers(False, False, norms=1), both),
        (layers(False, False, norms=0), both),
        (layers(False, norms=2), both),
        (layers(False, norms=1), both),
        (layers(False, False, norms=3), "The sum itself is not normalized."),
        (
            nn.ModuleList([layers(False, False, norms=2), projection]),
            "Nothing changes the shape: the shortcut is the identity.",
        ),
        (basic_block(2, 2, 1), "The number of channels is an argument."),
    ]


@exercise(
    "resnet.shortcut_a",
    kind="implement",
    goal="change a shape without parameters",
    minutes=10,
    first_hint="Take the pixels first: which slice of the height and the width is it?",
    banned=("course_lib.resnet.ZeroPad",),
    instead="Write it with slices and `F.pad` or `torch.cat`.",
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
        (_padded(x[:, :, ::2, ::2], new), "The stride is an argument."),
        (_padded(old, channels), "`channels` counts the old ones, too."),
        (_padded(old - 1, new) + 1, "The new channels are zero."),
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
    banned=("course_lib.resnet.Residual",),
    instead="Write the block with PyTorch's layers.",
)
def changing(answer: Answer) -> None:
    """Against the library's block, with every combination of changes."""
    for channels, out, stride in (
        (3, 5, 2),
        (4, 4, 2),
        (4, 4, 1),
        (3, 5, 1),
        (4, 4, 3),
    ):
        shortcut = make_shortcut("B", channels, out, stride)
        named = f"with {channels} channels, then {out}, and stride {stride}, "
        try:
            same_function(
                answer(channels, out, stride),
                Residual(basic_block(channels, out, stride), shortcut),
                torch.randn(2, channels, 7, 6),
                mistakes=_changing_mistakes(channels, out, stride, shortcut),
            )
        except WrongAnswer as wrong:
            differs = (
                "cannot take" in wrong.message or "expected shape" in wrong.message
            )
            hint = "What does the residual branch do to height and width?"
            fallback = hint if differs and stride > 1 else ""
            raise WrongAnswer(
                f"{named}{wrong.message}", wrong.hint or fallback
            ) from None


def _changing_mistakes(
    channels: int, out: int, stride: int, shortcut: nn.Module
) -> list[tuple[nn.Module, str]]:
    late = nn.Sequential(basic_block(channels, out, 1)[0], conv_bn(out, out, 3, stride))
    strides = "The stride is in the first convolution of the residual branch."
    joins = JOINS[:4]
    return [
        *(
            (Residual(basic_block(channels, out, stride), wrong), hint)
            for wrong, hint in _wrong_shortcuts(channels, out, stride)
        ),
        (Residual(late, shortcut), strides),
        *(
            (_Joined(channels, out, stride, join, shortcut), hint)
            for join, hint in joins
        ),
    ]


def _wrong_shortcuts(
    channels: int, out: int, stride: int
) -> list[tuple[nn.Module, str]]:
    bare = nn.Conv2d(channels, out, 1, stride, bias=False)
    biased = nn.Conv2d(channels, out, 1, stride)
    pool = nn.AvgPool2d(stride, ceil_mode=True)
    other = "Another size is" if stride > 1 else "Other channels are"
    return [
        (
            conv_bn(channels, out, 1, stride),
            "Where the shape stays the same, B is the identity.",
        ),
        (
            nn.Sequential(*conv_bn(channels, out, 1, stride), nn.ReLU()),
            "The projection is linear: the only ReLU after it is that of the sum.",
        ),
        (conv_bn(channels, out, 3, stride), "A projection is a 1x1 convolution."),
        (bare, "A projection is normalized, too."),
        (
            nn.Sequential(biased, nn.BatchNorm2d(out)),
            "A normalization follows: the projection needs no bias.",
        ),
        (
            nn.Sequential(pool, *conv_bn(channels, out, 1)),
            "The 1x1 has the stride; nothing is averaged.",
        ),
        (
            ZeroPad(out - channels, stride),
            f"{other} another shape, and B projects there.",
        ),
    ]


@exercise(
    "resnet.controls",
    kind="predict",
    goal="find what an experiment would need before its conclusion holds",
    minutes=15,
    first_hint="Ask of each experiment: what else differs, or varies, but what the"
    " conclusion is about?",
)
def controls(answer: Answer) -> None:
    """Four letters, and a question for each that is wrong."""
    got = answer()
    text = "".join(got) if isinstance(got, list | tuple) and _strings(got) else got
    if not isinstance(text, str):
        raise WrongAnswer(
            f"it returns {name_of(got)}, where a string is wanted",
            'Four letters, such as "ABCD".',
        )
    letters = [each for each in text.upper() if each.isalpha()]
    refuse(
        len(letters) != len(QUESTIONS),
        f"it returns {len(letters)} letters, where {len(QUESTIONS)} are wanted",
        "One for each experiment, in their order.",
    )
    for number, (came, (want, question)) in enumerate(
        zip(letters, QUESTIONS, strict=True), 1
    ):
        hint = ELSEWHERE if came in "DF" else question
        refuse(came != want, f"{came} is not what experiment {number} needs", hint)


def _strings(values: Sequence[object]) -> bool:
    return all(isinstance(each, str) for each in values)


#: For each experiment its control, and what to ask if it is another.
QUESTIONS = (
    ("C", "How many things differ between the two networks?"),
    ("A", "How far apart are two runs of one and the same network?"),
    ("E", "What was done for one of the two networks and not for the other?"),
    ("B", "By which images was the best of the twelve found, and by which reported?"),
)

#: Of controls that ask for more than the conclusion says.
ELSEWHERE = "That asks whether it holds elsewhere. Does it hold here?"


@exercise(
    "resnet.all_together",
    kind="predict",
    goal="measure parts of a network alone and together",
    minutes=10,
    first_hint="Open the page in the state of the link, and measure on 200 images. What"
    " is switched off stands below the answer.",
)
def all_together(answer: Answer) -> None:
    """By the network of the page, in PyTorch."""
    stages = ("conv2_x", "conv3_x", "conv4_x")
    whole = counted("resnet").right
    alone = [counted("resnet", off=(f"{stage}.0.shortcut",)) for stage in stages]
    none = counted("resnet", off=tuple(f"{stage}.0.shortcut" for stage in stages))
    bare = counted("resnet", off=tuple(f"{stage}.0.body" for stage in stages))
    both = tuple(
        f"{stage}.0.{part}" for stage in stages for part in ("shortcut", "body")
    )
    summed = sum(whole - each.right for each in alone)
    fewer = whole - none.right
    lost = sum(each.lost for each in alone)
    answer.expect(
        (summed, fewer, bare.right),
        tolerance=0,
        mistakes=[
            ((summed, summed, bare.right), "Measure all three together."),
            ((lost, fewer, bare.right), "What was gained counts as well."),
            ((lost, none.lost, bare.right), "What was gained counts as well."),
            ((summed, none.right, bare.right), "By how many fewer, not how many."),
            (
                (summed, fewer, whole - bare.right),
                "How many are right, not how many fewer.",
            ),
            (
                (summed, fewer, counted("resnet", off=both).right),
                "Switch the shortcuts on again before the branches go.",
            ),
            (
                (alone[0].lost - alone[0].gained, fewer, bare.right),
                "Sum over all three.",
            ),
        ],
    )
