"""ResNet: blocks that learn what to add to their input (a residual).

He, Zhang, Ren and Sun (2015), "Deep residual learning for image recognition",
arXiv:1512.03385. Table 1 has the five ImageNet networks, section 4.2 the family
for CIFAR-10, section 4.1 the plain networks and the shortcuts A, B and C. Chapter:
ResNet.

Three later papers changed one thing in its bottleneck: ResNeXt divides the 3x3
convolution into groups (Xie et al. 2017, arXiv:1611.05431), Wide ResNet makes it wider
(Zagoruyko and Komodakis 2016, arXiv:1605.07146), and SENet weights the channels that it
adds (Hu et al. 2018, arXiv:1709.01507).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import check_one_of, check_variant, data_shape, whole
from course_lib.blocks import Network, conv_bn, conv_bn_relu, he_init

#: Section 3.3 and 4.1: the kinds of shortcut (skip) connection. "none" makes the
#: paper's plain networks.
SHORTCUTS = ("A", "B", "C", "none")

#: Which convolution of a bottleneck has the stride: the paper's choice, torchvision's.
STRIDES_IN = ("1x1", "3x3")


def basic_block(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions: figure 5, left.

    Shape: (N, in_channels, H, W) -> (N, channels, ceil(H/stride), ceil(W/stride)).
    """
    return nn.Sequential(
        conv_bn_relu(in_channels, channels, 3, stride), conv_bn(channels, channels, 3)
    )


def bottleneck(
    in_channels: int,
    channels: int,
    stride: int,
    stride_in: str = "3x3",
    *,
    groups: int = 1,
    width_per_group: int = 64,
    reduction: int | None = None,
) -> nn.Sequential:
    """1x1 to reduce, 3x3, and 1x1 to restore: figure 5, right.

    The stride is in the first 1x1 in the paper, and in the 3x3 in torchvision, which
    is a little more accurate: `stride_in`. The 3x3 convolution has `channels`, divided
    into `groups` that have `width_per_group` channels each where `channels` are 64, as
    ResNeXt and Wide ResNet count. With a `reduction`, `SqueezeExcitation` comes last.

    Shape: (N, in_channels, H, W) -> (N, 4 * channels, ceil(H/stride), ceil(W/stride)).
    Raises: ValueError for an unknown `stride_in`, and for less than one group or
        channel in it.
    """
    check_one_of(STRIDES_IN, stride_in=stride_in)
    groups = whole("groups", groups, 1)
    width = channels * whole("width_per_group", width_per_group, 1) // 64 * groups
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    body = nn.Sequential(
        conv_bn_relu(in_channels, width, 1, first),
        conv_bn_relu(width, width, 3, second, groups=groups),
        conv_bn(width, 4 * channels, 1),
    )
    if reduction is not None:
        body.append(SqueezeExcitation(4 * channels, reduction))
    return body


class SqueezeExcitation(nn.Module):
    """Each channel is multiplied by a number between 0 and 1 that is computed from the
    means of all channels: Hu et al. (2018), equations 2 to 4.

    A fully connected layer reduces the C means to C / `reduction`, and another restores
    them.

    Shape: (N, channels, H, W) -> the same.
    Raises: ValueError if less than one channel would be left.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"reduction must be from 1 to the number of channels, {channels}; got"
                f" {reduction}"
            )
        squeezed = channels // reduction
        self.scales = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, squeezed),
            nn.ReLU(inplace=True),
            nn.Linear(squeezed, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x`."""
        scales: Tensor = self.scales(x)
        return x * scales[:, :, None, None]


class ResNetVariant(NamedTuple):
    """One network of the family."""

    #: What builds the residual branch of a block: `basic_block` or `bottleneck`.
    block: Callable[..., nn.Sequential]
    #: Number of blocks in each stage.
    blocks: tuple[int, ...]
    #: Channels of the first stage, inside its blocks; each further stage has twice as
    #: many.
    channels: int
    #: The paper's choice for this network, one of `SHORTCUTS`.
    shortcut: str
    #: What it was made for, a key of `course_lib.arguments.DATA`.
    data: str
    #: ResNeXt's cardinality: groups of the 3x3 convolution of a bottleneck.
    groups: int = 1
    #: Channels of a group where a block has 64; Wide ResNet has one group of 128.
    width_per_group: int = 64
    #: SENet's reduction ratio, where it weights channels.
    reduction: int | None = None

    def branch(self, stride_in: str) -> tuple[Callable[..., nn.Sequential], int]:
        """What builds a residual branch, and how many times its channels come out."""
        if self.block is not bottleneck:
            return self.block, 1
        build = partial(
            bottleneck,
            stride_in=stride_in,
            groups=self.groups,
            width_per_group=self.width_per_group,
            reduction=self.reduction,
        )
        return build, 4


def _six_n_plus_two(depth: int, data: str) -> ResNetVariant:
    """Section 4.2: three stages of n blocks of two layers, one layer before them and
    one after.
    """
    blocks = (depth // 6,) * 3
    return ResNetVariant(basic_block, blocks, 16, shortcut="A", data=data)


#: Table 1 by depth; the networks of section 4.2; networks for 28x28 pixels on a laptop,
#: with a stride in the stem; and later networks, by torchvision's names.
VARIANTS: dict[int | str, ResNetVariant] = {
    18: ResNetVariant(basic_block, (2, 2, 2, 2), 64, shortcut="B", data="imagenet"),
    34: ResNetVariant(basic_block, (3, 4, 6, 3), 64, shortcut="B", data="imagenet"),
    50: ResNetVariant(bottleneck, (3, 4, 6, 3), 64, shortcut="B", data="imagenet"),
    101: ResNetVariant(bottleneck, (3, 4, 23, 3), 64, shortcut="B", data="imagenet"),
    152: ResNetVariant(bottleneck, (3, 8, 36, 3), 64, shortcut="B", data="imagenet"),
    **{
        f"cifar-{depth}": _six_n_plus_two(depth, "cifar")
        for depth in (20, 32, 44, 56, 110)
    },
    "small": ResNetVariant(basic_block, (1, 1, 1), 32, shortcut="B", data="fashion"),
    **{
        f"small-{depth}": _six_n_plus_two(depth, "fashion")
        for depth in (20, 32, 44, 56)
    },
}
VARIANTS |= {
    "resnext50_32x4d": VARIANTS[50]._replace(groups=32, width_per_group=4),
    "resnext101_32x8d": VARIANTS[101]._replace(groups=32, width_per_group=8),
    "wide_resnet50_2": VARIANTS[50]._replace(width_per_group=128),
    "se_resnet50": VARIANTS[50]._replace(reduction=16),
    "small-bottleneck": VARIANTS["small"]._replace(block=bottleneck, channels=24),
}
VARIANTS |= {
    "small-resnext": VARIANTS["small-bottleneck"]._replace(
        groups=16, width_per_group=8
    ),
    "small-se": VARIANTS["small-bottleneck"]._replace(reduction=16),
}

#: Data set -> kernel size and stride of the first convolution.
STEMS = {"imagenet": (7, 2), "cifar": (3, 1), "fashion": (3, 2)}


class ZeroPad(nn.Module):
    """Shortcut A: every `stride`-th pixel, and zeros for the channels that are new. It
    has no parameters.

    Shape: (N, C, H, W) -> (N, C + new_channels, ceil(H/stride), ceil(W/stride)).
    Raises: ValueError for less than no new channel, or a `stride` of less than 1.
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        if new_channels < 0:
            raise ValueError(
                f"new_channels must be at least 0, got {new_channels}: channels of"
                " zeros can be added, and no channel removed"
            )
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad `x`."""
        return F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels)
        )


class Residual(nn.Module):
    """``relu(body(x) + shortcut(x))``: equations 1 and 2 of the paper.

    `body` is the residual branch, F; `shortcut` is the skip connection.

    Shape: that of `body`.
    Raises: ValueError, in the forward pass, if `body` and `shortcut` disagree in shape;
        PyTorch would broadcast some of them without a word.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Add the outputs of the residual branch and of the shortcut."""
        change, same = self.body(x), self.shortcut(x)
        if change.shape != same.shape:
            raise ValueError(
                f"the residual branch outputs {tuple(change.shape)} and the shortcut"
                f" {tuple(same.shape)}; where one changes the number of channels or the"
                " size, the other must, too"
            )
        return F.relu(change + same, inplace=True)


def make_shortcut(
    kind: str, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """Shortcut `kind` for a residual branch from `in_channels` to `out_channels` that
    has this `stride`.

    "A" and "B" are the identity where the shape stays the same; where it changes, "A"
    pads with zeros and "B" projects with a 1x1 convolution. "C" projects everywhere.

    Shape: (N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)).
    Raises: ValueError for another `kind`, or if "A" would have to remove channels.
    """
    check_one_of(SHORTCUTS[:-1], kind=kind)
    if kind == "A" and out_channels < in_channels:
        raise ValueError(
            f"shortcut 'A' cannot make {out_channels} channels of {in_channels}: it"
            " pads with zeros, and removes nothing"
        )
    changes = stride != 1 or in_channels != out_channels
    if kind == "C" or (kind == "B" and changes):
        return conv_bn(in_channels, out_channels, 1, stride)
    return ZeroPad(out_channels - in_channels, stride) if changes else nn.Identity()


def residual_stage(
    block: Callable[..., nn.Sequential],
    blocks: int,
    in_channels: int,
    out_channels: int,
    stride: int,
    shortcut: str,
) -> nn.Sequential:
    """`blocks` residual blocks, of which the first changes channels and size; with the
    `shortcut` "none", the same layers one after the other, without additions.

    ``block(in_channels, stride=stride)`` is a residual branch with `out_channels`.

    Shape: (N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)).
    Raises: ValueError for an unknown `shortcut`, and as `make_shortcut` does.
    """
    check_one_of(SHORTCUTS, shortcut=shortcut)
    stage = nn.Sequential()
    for _ in range(blocks):
        body = block(in_channels, stride=stride)
        if shortcut == "none":
            stage.append(nn.Sequential(*body, nn.ReLU(inplace=True)))
        else:
            around = make_shortcut(shortcut, in_channels, out_channels, stride)
            stage.append(Residual(body, around))
        in_channels, stride = out_channels, 1
    return stage


class ResNet(Network):
    """The stages of Table 1 by name: ``stem``, ``conv2_x`` ... ``conv5_x``, ``head``;
    CIFAR networks end with ``conv4_x``.

    `num_classes` and `in_channels` are by default those of the data the network was
    made for: ImageNet, CIFAR-10, or Fashion-MNIST for the small ones. `shortcut` is
    "A", "B", "C", or "none" for the plain network of the same depth; by default the
    paper's choice for that network. `stride_in` says which convolution has the stride:
    "3x3" as in torchvision, or "1x1" as in the paper.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits.
    Raises: ValueError for an unknown variant, `shortcut` or `stride_in`, and for less
        than one class or channel.
    """

    def __init__(
        self,
        variant: int | str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        shortcut: str | None = None,
        stride_in: str = "3x3",
    ) -> None:
        check_variant("ResNet", variant, VARIANTS)
        row = VARIANTS[variant]
        shortcut = row.shortcut if shortcut is None else shortcut
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        check_one_of(SHORTCUTS, shortcut=shortcut)
        check_one_of(STRIDES_IN, stride_in=stride_in)
        super().__init__()
        self.stem = conv_bn_relu(in_channels, row.channels, *STEMS[row.data])
        block, expansion = row.branch(stride_in)
        width = row.channels
        for number, blocks in enumerate(row.blocks):
            channels = row.channels * 2**number
            stride = 1 if number == 0 else 2
            body, out = partial(block, channels=channels), channels * expansion
            stage = residual_stage(body, blocks, width, out, stride, shortcut)
            if row.data == "imagenet" and number == 0:
                stage.insert(0, nn.MaxPool2d(3, 2, padding=1))
            self.add_module(f"conv{number + 2}_x", stage)
            width = out
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        )
        he_init(self)
