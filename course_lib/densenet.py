"""DenseNet: each layer reads what all layers before it in its block computed.

Huang, Liu, van der Maaten and Weinberger (2017), "Densely connected convolutional
networks", arXiv:1608.06993. Table 1 has the networks for ImageNet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, conv_bn_relu, he_init


class DenseNetVariant(NamedTuple):
    """One column of Table 1."""

    #: Number of layers in each dense block.
    blocks: tuple[int, ...]
    #: Growth rate k: the channels that each layer adds.
    growth: int
    #: Channels that leave the stem.
    channels: int
    #: The data it was made for, a key of `course_lib.arguments.DATA`.
    data: str = "imagenet"


#: Table 1 by depth, with the widths of the authors' published networks; and a network
#: for 28x28 pixels on a laptop.
VARIANTS: dict[int | str, DenseNetVariant] = {
    121: DenseNetVariant((6, 12, 24, 16), growth=32, channels=64),
    161: DenseNetVariant((6, 12, 36, 24), growth=48, channels=96),
    169: DenseNetVariant((6, 12, 32, 32), growth=32, channels=64),
    201: DenseNetVariant((6, 12, 48, 32), growth=32, channels=64),
    "small": DenseNetVariant((3, 6, 6), growth=14, channels=28, data="fashion"),
}

#: Data set -> kernel size and stride of the first convolution.
STEMS = {"imagenet": (7, 2), "fashion": (3, 2)}


def bn_relu_conv(
    in_channels: int, out_channels: int, kernel_size: int
) -> nn.Sequential:
    """The order of section 3, which is that of the pre-activated ResNet.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H, W), for odd kernels.
    """
    padding = kernel_size // 2
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False),
    )


class Concatenated(nn.Module):
    """``cat((x, body(x)))`` along the channels: equation 2 of the paper, in which each
    layer adds to what the layers before it found.

    Shape: (N, C, H, W) -> (N, C + channels of `body`, H, W).
    Raises: ValueError, in the forward pass, if `body` changes the size.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Append what is new to `x`."""
        new: Tensor = self.body(x)
        if new.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"the body outputs {tuple(new.shape)} for {tuple(x.shape)}; channels"
                " are joined only if height and width are the same"
            )
        return torch.cat((x, new), dim=1)


def dense_block(layers: int, in_channels: int, growth: int) -> nn.Sequential:
    """`layers` times a 1x1 convolution to four times the `growth`, the bottleneck of
    DenseNet-B, and a 3x3 convolution to `growth` channels, which are appended.

    Shape: (N, in_channels, H, W) -> (N, in_channels + layers * growth, H, W).
    """
    block = nn.Sequential()
    for _ in range(layers):
        body = nn.Sequential(
            *bn_relu_conv(in_channels, 4 * growth, 1),
            *bn_relu_conv(4 * growth, growth, 3),
        )
        block.append(Concatenated(body))
        in_channels += growth
    return block


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """Between two dense blocks: a 1x1 convolution, to half the channels in DenseNet-C,
    and 2x2 average pooling.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H/2, W/2), rounded down.
    """
    return bn_relu_conv(in_channels, out_channels, 1).append(nn.AvgPool2d(2))


class DenseNet(Network):
    """The blocks of Table 1 by name: ``stem``, ``dense1``, ``transition1`` ...
    ``dense4``, ``head``; the small network ends with ``dense3``.

    `num_classes` and `in_channels` are by default those of the data that the network
    was made for.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits.
    Raises: ValueError for an unknown variant, and for less than one class or channel.
    """

    def __init__(
        self,
        variant: int | str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        check_variant("DenseNet", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        super().__init__()
        width = row.channels
        self.stem = conv_bn_relu(in_channels, width, *STEMS[row.data])
        if row.data == "imagenet":
            self.stem.append(nn.MaxPool2d(3, 2, padding=1))
        for number, layers in enumerate(row.blocks, start=1):
            self.add_module(f"dense{number}", dense_block(layers, width, row.growth))
            width += layers * row.growth
            if number < len(row.blocks):
                self.add_module(f"transition{number}", transition(width, width // 2))
                width //= 2
        self.head = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, num_classes),
        )
        he_init(self, "fan_in")
