"""MobileNetV2: blocks that are narrow at their ends and wide inside, where their only
3x3 convolution is depthwise.

Sandler et al. (2018), "MobileNetV2: inverted residuals and linear bottlenecks",
arXiv:1801.04381. Table 1 has the block, table 2 the network. Chapter: After ResNet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, conv_bn, he_init


class MobileNetStage(NamedTuple):
    """A row of Table 2: blocks of one width."""

    #: By what the first 1x1 convolution of a block multiplies the channels, t.
    expansion: int
    #: Output channels of each block, c.
    channels: int
    #: Number of blocks, n.
    blocks: int
    #: Stride of the first block, s; that of the others is 1.
    stride: int


#: Table 2, the bottlenecks.
VARIANTS = {
    "v2": (
        MobileNetStage(expansion=1, channels=16, blocks=1, stride=1),
        MobileNetStage(expansion=6, channels=24, blocks=2, stride=2),
        MobileNetStage(expansion=6, channels=32, blocks=3, stride=2),
        MobileNetStage(expansion=6, channels=64, blocks=4, stride=2),
        MobileNetStage(expansion=6, channels=96, blocks=3, stride=1),
        MobileNetStage(expansion=6, channels=160, blocks=3, stride=2),
        MobileNetStage(expansion=6, channels=320, blocks=1, stride=1),
    ),
}

#: Output channels of the stem, and of the last convolution.
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """``x + body(x)``: the skip connection joins narrow ends, while the inside of
    `body` is wide (Sandler et al. 2018, arXiv:1801.04381, figure 3). No activation
    function follows the sum.

    Shape: that of `body`, which keeps the shape of its input.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Add the input."""
        return x + self.body(x)


def inverted_residual(
    in_channels: int,
    out_channels: int,
    stride: int,
    expansion: int,
    *,
    kernel_size: int = 3,
    conv: Callable[..., nn.Sequential] = conv_bn,
) -> nn.Module:
    """1x1 to expand, a depthwise convolution, and 1x1 to project, without an activation
    function at the end: Table 1. Where input and output have the same shape, the input
    is added. `conv` makes a convolution and its normalization, as `conv_bn` does.

    Shape: (N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)).
    """
    wide = expansion * in_channels
    expand = [conv(in_channels, wide, 1), nn.ReLU6()] if expansion > 1 else []
    body = nn.Sequential(
        *expand,
        conv(wide, wide, kernel_size, stride, groups=wide),
        nn.ReLU6(),
        conv(wide, out_channels, 1),
    )
    joined = stride == 1 and in_channels == out_channels
    return InvertedResidual(body) if joined else body


class MobileNet(Network):
    """The rows of Table 2 by name: ``stem``, ``stage1`` ... ``stage7``, ``conv``,
    ``head``.

    `num_classes` and `in_channels` are by default those of ImageNet. Dropout of 0.2
    stands in front of the classifier, as in torchvision.

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
        check_variant("MobileNet", variant, VARIANTS)
        num_classes, in_channels = data_shape("imagenet", num_classes, in_channels)
        super().__init__()
        self.stem = conv_bn(in_channels, STEM, 3, 2).append(nn.ReLU6())
        width = STEM
        for number, row in enumerate(VARIANTS[variant], start=1):
            stage = nn.Sequential()
            for stride in (row.stride, *[1] * (row.blocks - 1)):
                block = inverted_residual(width, row.channels, stride, row.expansion)
                stage.append(block)
                width = row.channels
            self.add_module(f"stage{number}", stage)
        self.conv = conv_bn(width, LAST, 1).append(nn.ReLU6())
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(LAST, num_classes),
        )
        he_init(self)
