"""VGG: blocks of 3x3 convolutions, and nothing else, sixteen and nineteen layers deep.

Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image
recognition", arXiv:1409.1556. Table 1 has the configurations A to E. Chapter: VGG.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, he_init, linear_relu_dropout, response_norm


class VGGVariant(NamedTuple):
    """One column of Table 1."""

    #: Number of convolutions and output channels of each block.
    blocks: tuple[tuple[int, int], ...]
    #: Whether the last convolution of each block from the third on is 1x1.
    pointwise: bool = False
    #: Whether local response normalization follows the first convolution.
    lrn: bool = False
    #: Side of the feature maps that the fully connected layers read, in pixels.
    side: int = 7
    #: Units of fc6 and of fc7.
    hidden: int = 4096
    #: The data it was made for, a key of `course_lib.arguments.DATA`.
    data: str = "imagenet"


_A = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
_B = ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512))
_D = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_E = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
_SMALL = ((1, 16), (1, 32), (2, 64), (2, 128))

#: Table 1 by letter and, where torchvision has the network, by depth. "small" is A with
#: a quarter of the channels and without its last block, for 28x28 pixels.
VARIANTS: dict[int | str, VGGVariant] = {
    "A": VGGVariant(_A),
    "A-LRN": VGGVariant(_A, lrn=True),
    "B": VGGVariant(_B),
    "C": VGGVariant(_D, pointwise=True),
    "D": VGGVariant(_D),
    "E": VGGVariant(_E),
    "small": VGGVariant(_SMALL, side=1, hidden=256, data="fashion"),
}
VARIANTS |= {
    depth: VARIANTS[letter]
    for depth, letter in {11: "A", 13: "B", 16: "D", 19: "E"}.items()
}


def vgg_block(
    convs: int,
    in_channels: int,
    out_channels: int,
    *,
    batch_norm: bool = False,
    lrn: bool = False,
    pointwise: bool = False,
) -> nn.Sequential:
    """`convs` times a 3x3 convolution and a ReLU, then 2x2 max pooling: section 2.1.

    `batch_norm` adds batch normalization after each convolution; `lrn` adds local
    response normalization after the first ReLU, as in A-LRN; `pointwise` makes the last
    convolution 1x1, as in C.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H/2, W/2), rounded down.
    Raises: ValueError if `convs` is less than 1.
    """
    if convs < 1:
        raise ValueError(f"convs must be at least 1, got {convs}")
    block = nn.Sequential()
    for number in range(1, convs + 1):
        kernel_size = 1 if pointwise and number == convs else 3
        block.append(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        )
        if batch_norm:
            block.append(nn.BatchNorm2d(out_channels))
        block.append(nn.ReLU(inplace=True))
        if lrn and number == 1:
            block.append(response_norm())
        in_channels = out_channels
    return block.append(nn.MaxPool2d(2))


class VGG(Network):
    """The blocks of Table 1, ``conv1`` ... ``conv5``, and its fully connected layers,
    ``fc6``, ``fc7``, ``fc8``; the last block of the small network is ``conv4``.

    `variant` is a letter of Table 1 or a depth: 11 is A, 13 is B, 16 is D, 19 is E.
    `batch_norm` adds batch normalization after each convolution, as torchvision does in
    its ``_bn`` networks: the paper is older than batch normalization. `dropout` is the
    probability with which a unit of fc6 or fc7 is dropped.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits; H and W are at least 32,
        for ``"small"`` 16, and made for 224 and 28.
    Raises: ValueError for an unknown variant, for less than one class or channel, or a
        `dropout` outside [0, 1].
    Differs from the paper: for images of another size than 224, adaptive average
        pooling makes the 7x7 feature maps that fc6 reads, as in torchvision; the paper
        turns the fully connected layers into convolutions. The initialization is He's;
        the paper draws the weights of A from a normal distribution with a variance of
        0.01 and initializes the deeper networks with layers of the trained A.
    """

    def __init__(
        self,
        variant: int | str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        check_variant("VGG", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        super().__init__()
        for number, (convs, channels) in enumerate(row.blocks, start=1):
            block = vgg_block(
                convs,
                in_channels,
                channels,
                batch_norm=batch_norm,
                lrn=row.lrn and number == 1,
                pointwise=row.pointwise and number >= 3,
            )
            self.add_module(f"conv{number}", block)
            in_channels = channels
        features = in_channels * row.side**2
        full = linear_relu_dropout(features, row.hidden, dropout)
        self.fc6 = nn.Sequential(nn.AdaptiveAvgPool2d(row.side), nn.Flatten(), *full)
        self.fc7 = linear_relu_dropout(row.hidden, row.hidden, dropout)
        self.fc8 = nn.Linear(row.hidden, num_classes)
        he_init(self)
