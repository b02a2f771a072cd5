"""RegNet: a ResNet with groups, whose depths and widths follow from four numbers.

Radosavovic et al. (2020), "Designing network design spaces", arXiv:2003.13678.
Equations 2 to 4 are the rule; kind Y is kind X with squeeze and excitation. Chapter:
After ResNet.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import NamedTuple

from torch import nn

from course_lib.arguments import check_variant, data_shape, whole
from course_lib.blocks import Network, conv_bn, conv_bn_relu, he_init
from course_lib.resnet import SqueezeExcitation, residual_stage


class RegNetVariant(NamedTuple):
    """One network of the family."""

    #: Number of blocks in all stages together, d.
    depth: int
    #: Width of the first block before rounding, w_0, in channels.
    initial_width: int
    #: By how many channels the width grows from block to block, w_a.
    slope: float
    #: Factor between the widths of neighboring stages, w_m.
    factor: float
    #: Channels of each group of the 3x3 convolutions.
    group_width: int
    #: Of kind Y: squeeze and excitation reduces to this share of the channels that
    #: enter the block. Kind X has none.
    squeeze: float | None = None


#: The networks by torchvision's names, which say the kind, and for how many million or
#: billion MACs they are meant. (Its "y_8gf" is not here: the first stage is wider than
#: the rule says.)
VARIANTS = {
    "x_400mf": RegNetVariant(22, 24, 24.48, factor=2.54, group_width=16),
    "x_800mf": RegNetVariant(16, 56, 35.73, factor=2.28, group_width=16),
    "x_1_6gf": RegNetVariant(18, 80, 34.01, factor=2.25, group_width=24),
    "x_3_2gf": RegNetVariant(25, 88, 26.31, factor=2.25, group_width=48),
    "x_8gf": RegNetVariant(23, 80, 49.56, factor=2.88, group_width=120),
    "y_400mf": RegNetVariant(16, 48, 27.89, factor=2.09, group_width=8, squeeze=0.25),
    "y_800mf": RegNetVariant(14, 56, 38.84, factor=2.4, group_width=16, squeeze=0.25),
    "y_1_6gf": RegNetVariant(27, 48, 20.71, factor=2.65, group_width=24, squeeze=0.25),
    "y_3_2gf": RegNetVariant(21, 80, 42.63, factor=2.66, group_width=24, squeeze=0.25),
}

#: Channels that leave the stem.
STEM = 32


def quantized_widths(
    depth: int, initial_width: int, slope: float, factor: float
) -> list[int]:
    """The width of each block: the line ``initial_width + slope * block``, rounded to
    the nearest ``initial_width * factor**n`` for a whole number n, equations 2 to 4 of
    the paper, and then to a multiple of eight.

    Raises: ValueError for no block, no channel, a negative slope, or a `factor` that is
        not above 1.
    """
    whole("depth", depth, 1)
    whole("initial_width", initial_width, 1)
    if slope < 0:
        raise ValueError(f"slope must be at least 0, got {slope}")
    if factor <= 1:
        raise ValueError(f"factor must be above 1, got {factor}")
    widths = []
    for block in range(depth):
        wanted = initial_width + slope * block
        exponent = round(math.log(wanted / initial_width) / math.log(factor))
        widths.append(8 * round(initial_width * factor**exponent / 8))
    return widths


def stages(variant: RegNetVariant) -> list[tuple[int, int]]:
    """The number of blocks and the width of each stage: blocks of equal width are one,
    and a width is rounded to a multiple of the group width, if it is not below that.
    """
    depth, initial_width, slope, factor, group_width, _ = variant
    widths = quantized_widths(depth, initial_width, slope, factor)
    found = []
    for width, blocks in Counter(widths).items():
        group = min(group_width, width)
        found.append((blocks, group * math.floor(width / group + 0.5)))
    return found


def squeeze_to(squeezed: int, channels: int) -> SqueezeExcitation:
    """`SqueezeExcitation` that reduces the means of `channels` to `squeezed` numbers,
    whether or not one divides the other.

    Shape: (N, channels, H, W) -> the same.
    """
    gate = SqueezeExcitation(channels, reduction=1)
    gate.scales[2] = nn.Linear(channels, squeezed)
    gate.scales[4] = nn.Linear(squeezed, channels)
    return gate


def regnet_branch(
    in_channels: int,
    channels: int,
    stride: int,
    group_width: int,
    squeeze: float | None = None,
) -> nn.Sequential:
    """The residual branch of a block: a 1x1, a grouped 3x3 and a 1x1 convolution, all
    of one width. With a `squeeze`, `SqueezeExcitation` follows the 3x3.

    Shape: (N, in_channels, H, W) -> (N, channels, ceil(H/stride), ceil(W/stride)).
    """
    groups = channels // min(group_width, channels)
    body = nn.Sequential(
        conv_bn_relu(in_channels, channels, 1),
        conv_bn_relu(channels, channels, 3, stride, groups=groups),
    )
    if squeeze:
        body.append(squeeze_to(round(squeeze * in_channels), channels))
    return body.append(conv_bn(channels, channels, 1))


class RegNet(Network):
    """A stem, four stages ``stage1`` ... ``stage4``, and a head.

    `num_classes` and `in_channels` are by default those of ImageNet.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits.
    Raises: ValueError for an unknown variant, and for less than one class or channel.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        check_variant("RegNet", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape("imagenet", num_classes, in_channels)
        super().__init__()
        self.stem = conv_bn_relu(in_channels, STEM, 3, 2)
        width = STEM
        for number, (blocks, channels) in enumerate(stages(row), start=1):
            branch = partial(
                regnet_branch,
                channels=channels,
                group_width=row.group_width,
                squeeze=row.squeeze,
            )
            stage = residual_stage(branch, blocks, width, channels, 2, shortcut="B")
            self.add_module(f"stage{number}", stage)
            width = channels
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        )
        he_init(self)
