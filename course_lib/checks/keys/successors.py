"""The exercises on what came after ResNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import conv_bn
from course_lib.checks.compare import Mistakes, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.shared import Number, combined, refuse
from course_lib.resnet import SqueezeExcitation
from course_lib.summary import count_parameters


@exercise(
    "successors.grouped_weights",
    kind="predict",
    goal="count what groups save, and what it takes to mix the channels again",
    minutes=5,
    first_hint="How many input channels does one output channel read?",
)
def grouped_weights(answer: Answer) -> None:
    """Counted from PyTorch's layers."""
    with torch.device("meta"):
        full, grouped, depthwise = (
            count_parameters(nn.Conv2d(256, 256, 3, groups=groups, bias=False))
            for groups in (1, 32, 256)
        )
        pointwise = count_parameters(nn.Conv2d(256, 256, 1, bias=False))
    answer.expect(
        (full, grouped, depthwise, depthwise + pointwise),
        tolerance=0,
        mistakes=combined(
            _full_numbers(full),
            _grouped_numbers(grouped),
            _depthwise_numbers(depthwise),
            _separable_numbers(depthwise, pointwise),
        ),
    )


#: Of numbers that count too little of a kernel.
AREA = "A kernel has nine weights for each channel that it reads."
BIAS = "There are no biases here."


def _full_numbers(count: int) -> Number:
    return [
        (count, ""),
        (count // 9, AREA),
        (count // 256, "Each output channel has a kernel of its own."),
        (count + 256, BIAS),
    ]


def _grouped_numbers(count: int) -> Number:
    within = "Within one group, both the inputs and the outputs are fewer."
    return [
        (count, ""),
        (count // 9, AREA),
        (count // 32, f"{within} And how many groups are there?"),
        (32 * count, f"{within} So is an output channel reading all of them?"),
        (count + 256, BIAS),
    ]


def _depthwise_numbers(count: int) -> Number:
    return [
        (count, ""),
        (count // 9, AREA),
        (9, "Each channel has a kernel of its own."),
        (256 * count, "A channel reads itself only."),
        (count + 256, BIAS),
    ]


def _separable_numbers(depthwise: int, pointwise: int) -> Number:
    return [
        (depthwise + pointwise, ""),
        (pointwise, "Both convolutions count."),
        (depthwise + 9 * pointwise, "A 1x1 kernel has one weight for each channel."),
        (depthwise + 256, "The 1x1 reads all channels."),
        (depthwise * pointwise, "One comes after the other: their weights add up."),
        (depthwise + pointwise + 512, BIAS),
    ]


@exercise(
    "successors.dense_channels",
    kind="implement",
    goal="follow the number of channels through a network that concatenates",
    minutes=5,
    first_hint="How many channels does one layer append?",
)
def dense_channels(answer: Answer) -> None:
    """By the same rule, for DenseNet-121, 161 and networks that are none."""
    for start, growth, blocks in (
        (64, 32, [6, 12, 24, 16]),
        (96, 48, [6, 12, 36, 24]),
        (5, 3, [2, 1, 4]),
        (8, 4, [3]),
    ):
        want = _channels(start, growth, blocks)
        mistakes = _channels_mistakes(start, growth, blocks)
        answer.expect(want, start, growth, blocks, mistakes=mistakes, tolerance=0)


def _channels(start: int, growth: int, blocks: Sequence[int]) -> list[int]:
    found = []
    for layers in blocks:
        start += layers * growth
        found.append(start)
        start //= 2
    return found


def _channels_mistakes(start: int, growth: int, blocks: Sequence[int]) -> Mistakes:
    entering = [start, *(each // 2 for each in _channels(start, growth, blocks)[:-1])]
    added = []
    total = start
    for layers in blocks:
        total += layers * growth
        added.append(total)
    want = _channels(start, growth, blocks)
    bottleneck = "The 4k channels are inside a layer: which ones are appended?"
    return [
        (added, "What does a transition do to the channels?"),
        ([each // 2 for each in want], "Asked is what leaves a block, before halving."),
        (entering, "Asked is what leaves a block, with what its layers appended."),
        ([layers * growth for layers in blocks], "What entered a block stays in it."),
        (_channels(start, 4 * growth, blocks), bottleneck),
        (_channels(start, growth, [1] * len(blocks)), "Every layer appends channels."),
        (want[-1:], "Return a number for each block."),
    ]


class _Excited(nn.Module):
    """Squeeze and excitation of other means, with or without its ReLU."""

    def __init__(
        self,
        channels: int,
        reduction: int,
        over: tuple[int, ...] = (2, 3),
        *,
        relu: bool = True,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(channels, channels // reduction)
        self.second = nn.Linear(channels // reduction, channels)
        self.over = over
        self.relu = relu
        self.gate = gate or nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(self.over, keepdim=True).flatten(1)
        hidden = self.first(means)
        scales = self.gate(self.second(F.relu(hidden) if self.relu else hidden))
        return x * scales[:, :, None, None]


@exercise(
    "successors.excitation",
    kind="repair",
    goal="an image of a batch must not depend on the others",
    minutes=15,
    first_hint="Over which dimensions is the mean taken, and over which should it be?",
    banned=("course_lib.resnet.SqueezeExcitation",),
    instead="Write it with PyTorch's layers.",
)
def excitation(answer: Answer) -> None:
    """Against the library's block; the mistakes have the same layers, or others."""
    batch = "Does an image come out the same alone and among others?"
    between = "Without a nonlinearity between them, two layers are one."
    for channels, reduction in ((8, 2), (6, 3)):
        sizes = (channels, reduction)
        same_function(
            answer(*sizes),
            SqueezeExcitation(*sizes),
            torch.randn(3, channels, 4, 5) * 3,
            mistakes=[
                (_Excited(*sizes, (0, 2, 3), relu=False), batch),
                (_Excited(*sizes, (0, 2, 3)), batch),
                (_Excited(*sizes, relu=False), between),
                (_Excited(*sizes, gate=nn.Softmax(1)), ALONE),
                (_Excited(*sizes, gate=nn.Identity()), "Weights are from 0 to 1."),
                (nn.Linear(channels, channels), "Two layers, with fewer between."),
                (_Excited(channels, 1), "The first layer reduces the channels."),
                (conv_bn(channels, channels, 1), "There is no normalization in it."),
            ],
        )


#: Of weights that compete.
ALONE = "A channel's weight does not have to be taken from the others: which gate?"


@exercise(
    "successors.mixup",
    kind="implement",
    goal="mix images, and what is asked of them",
    minutes=15,
    first_hint="Make probabilities of the labels first, with `F.one_hot`.",
)
def mixup(answer: Answer) -> None:
    """Images and probabilities, for shares on both sides of a half."""
    for images, share in ((4, 0.3), (5, 0.8), (3, 1.0)):
        x = torch.randn(images, 1, 3, 4)
        y = torch.randint(6, (images,))
        order = torch.arange(images).roll(1)
        got = answer(x, y, share, order)
        parts = list(got) if isinstance(got, tuple | list) else []
        refuse(
            len(parts) != 2,
            "images and probabilities are wanted",
            "Return two tensors, in this order.",
        )
        on = f"with share {share}"
        compare(
            parts[0],
            _mixed(x, share, order),
            on=f"for the images, {on}",
            mistakes=_image_mistakes(x, share, order),
        )
        sure = F.one_hot(y, 10).float()
        compare(
            parts[1],
            _mixed(sure, share, order),
            on=f"for the labels, {on}",
            mistakes=_label_mistakes(y, sure, share, order),
        )


def _mixed(x: Tensor, share: float, order: Tensor) -> Tensor:
    return share * x + (1 - share) * x[order]


def _image_mistakes(x: Tensor, share: float, order: Tensor) -> Mistakes:
    other = "`share` belongs to the images as they came."
    return [
        (_mixed(x, 1 - share, order), other),
        ((1 - share) * x + share * x[order], other),
        (x + x[order], "The two shares add up to one."),
        ((x + x[order]) / 2, "The shares are not always one half."),
        (x, "The images are mixed, too."),
        (_mixed(x, share, order.argsort()), "Image i is mixed with image order[i]."),
    ]


def _label_mistakes(y: Tensor, sure: Tensor, share: float, order: Tensor) -> Mistakes:
    shares = "Labels are mixed in the shares of the images."
    classes = "A mean of two labels is a third class: mix probabilities."
    return [
        (sure, "An image that is part shirt and part bag has what label?"),
        (sure[order], "An image that is part shirt and part bag has what label?"),
        (y, "Return probabilities: ten for each image."),
        (_mixed(y.float(), share, order), classes),
        (
            _mixed(sure, 1 - share, order),
            "Labels are mixed in the shares of the images.",
        ),
        ((sure + sure[order]) / 2, shares),
        (_mixed(sure, share, order.argsort()), "Image i is mixed with image order[i]."),
        ((sure + sure[order]).clamp(max=1), "Probabilities add up to one."),
    ]


@exercise(
    "successors.separated",
    kind="implement",
    goal="find the depthwise separable convolution that is closest to an ordinary one",
    minutes=60,
    first_hint="Take one input channel: its kernels to all outputs are a matrix. Which"
    " matrices can a depthwise and a 1x1 convolution make of it?",
)
def separated(answer: Answer) -> None:
    """By what the two convolutions are together, whatever the sign and size of each."""
    for out, channels, size in ((4, 3, 3), (2, 5, 5), (6, 2, 1)):
        weight = torch.randn(out, channels, size, size)
        got = answer(weight)
        parts = list(got) if isinstance(got, tuple | list) else []
        refuse(
            len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts),
            "two weights are wanted",
            "Return that of the depthwise convolution, then that of the 1x1.",
        )
        depthwise, pointwise = parts
        shapes = (channels, 1, size, size), (out, channels, 1, 1)
        refuse(
            (tuple(depthwise.shape), tuple(pointwise.shape)) != shapes,
            f"the weights have shapes {tuple(depthwise.shape)} and"
            f" {tuple(pointwise.shape)}, where {shapes[0]} and {shapes[1]} are wanted",
            "They are weights of `nn.Conv2d`: outputs first.",
        )
        compare(
            pointwise.detach() * depthwise.detach()[None, :, 0],
            _closest(weight),
            on=f"for both together, and a weight of shape {tuple(weight.shape)}",
            mistakes=_separated_mistakes(weight),
            tolerance=1e-3,
        )


def _closest(weight: Tensor) -> Tensor:
    """Of each input channel the matrix of rank one that is closest."""
    out, channels, *size = weight.shape
    u, s, v = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2))
    rank_one = s[:, 0, None, None] * u[:, :, :1] @ v[:, :1]
    return rank_one.view(channels, out, *size).transpose(0, 1)


def _separated_mistakes(weight: Tensor) -> Mistakes:
    """Other products of a kernel for each channel and a number for each pair."""
    mean = weight.mean(0, keepdim=True)
    number = weight.mean((2, 3), keepdim=True)
    along = (weight * mean).sum((2, 3), keepdim=True)
    project = along / mean.square().sum((2, 3), keepdim=True)
    u, s, v = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2))
    unscaled = (u[:, :, :1] @ v[:, :1]).view(*weight.transpose(0, 1).shape)
    unscaled = unscaled.transpose(0, 1)
    twice = s[:, 0].square().view(1, -1, 1, 1) * unscaled
    best = "That is a start. Is there a kernel that suits all outputs better?"
    return [
        (mean.expand_as(weight), "Each output has a number of its own for a channel."),
        (number * mean, best),
        (project * mean, best),
        (unscaled, "Where is the size? The singular value belongs to one of the two."),
        (twice, "The singular value belongs to one of the two, not to both."),
        (weight, "A depthwise convolution has one kernel for each channel."),
    ]
